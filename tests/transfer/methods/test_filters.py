"""How AdAM and RICK tell filters apart: shares of groups, gates of some filters, information, all by hand in float64."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import LossConfig, StyleGAN2Config
from gan_jax.nets.build import build
from gan_jax.transfer.adapters import kml_where
from gan_jax.transfer.fisher import adversarial_fisher, bias_of, choose, filter_groups, lowest, moment_of
from gan_jax.transfer.methods.adam import _gate_fisher


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64():
        yield


def test_the_least_important_share_of_each_group_alone():
    importance = {"a": jnp.array([5.0, 1.0, 3.0]), "b": jnp.array([2.0, 4.0]), "c": jnp.array([0.1, 0.2])}
    groups = {"one": ["a", "b"], "two": ["c"]}
    masks = lowest(importance, groups, 40)  # 2 of 5, and 0 of 2: 0.8 rounds down
    assert [masks[path].tolist() for path in "abc"] == [[False, True, False], [True, False], [False, False]]
    assert not any(mask.any() for mask in lowest(importance, groups, 0).values())
    assert all(mask.all() for mask in lowest(importance, groups, 100).values())
    equal = lowest({"a": jnp.array([1.0, 1.0, 2.0])}, {"one": ["a"]}, 34)
    assert equal["a"].tolist() == [True, True, False]  # equals of the last one are too


def test_groups_leave_the_head_and_the_mapping_out():
    pair = build(StyleGAN2Config(resolution=8, z_dim=4, w_dim=4, channel_max=4, mapping_layers=1))
    g, d = filter_groups(pair, "g"), filter_groups(pair, "d", ("**/from_rgb/**",))
    assert "synthesis/b8/conv0/affine/kernel" in g["styles"] and "synthesis/b8/conv0/kernel" in g["convolutions"]
    every = [path for group in (g, d) for paths in group.values() for path in paths]
    assert not any("mapping" in path or "b4/out" in path or "from_rgb" in path for path in every)
    leaves = {"fc/kernel": np.ones((2, 3)), "fc/bias": np.ones(3), "conv/kernel": np.ones((3, 3, 2, 3)), "conv/bias": 0}
    assert bias_of("fc/kernel", leaves) == "fc/bias" and bias_of("conv/kernel", leaves) is None
    assert moment_of("0/mu/b4/conv/kernel") == "b4/conv/kernel" and moment_of("0/count") is None


def test_a_choice_is_one_of_filters():
    yes, no = jnp.ones((2, 3)), jnp.zeros((2, 3))
    assert_array_equal(choose(jnp.array([True, False, True]), yes, no), [[1, 0, 1], [1, 0, 1]])


def test_a_kept_filter_has_a_gate_and_no_gradient_and_a_trained_one_the_other_way_round():
    draw = np.random.default_rng(0)
    kernel, u, v = (draw.normal(size=shape) for shape in ((3, 3, 2, 3), 2, 3))
    mask, adapter = np.array([True, False, True]), kml_where()
    arrays = {"u": jnp.asarray(u), "v": jnp.asarray(v), "mask": jnp.asarray(mask)}
    by_hand = np.where(mask, kernel * (1 + np.outer(u, v)), kernel)
    assert_allclose(adapter.apply(jnp.asarray(kernel), arrays), by_hand, rtol=1e-12)
    value = lambda kernel, u, v: (adapter.apply(kernel, {**arrays, "u": u, "v": v}) ** 2).sum() / 2
    slopes = jax.grad(value, (0, 1, 2))(jnp.asarray(kernel), arrays["u"], arrays["v"])
    of_kernel, of_u, of_v = slopes
    assert_allclose(of_kernel, np.where(mask, 0.0, kernel), rtol=1e-12)
    slope = (by_hand * kernel * mask).sum((0, 1))  # of each entry of the gate 1 + u v
    assert_allclose(of_u, slope @ v, rtol=1e-12)
    assert_allclose(of_v, u @ slope, rtol=1e-12)


class Line:
    """D is the row w on a point, G the matrix m on latents; in a game that is to be differentiated by hand."""

    d_group = 1

    def generate(self, g, batch, latents, train):
        return latents @ g["params"]["to_rgb"]["kernel"], None

    def discriminate(self, d, sample, batch, train):
        return (sample @ d["params"]["b4"]["kernel"])[:, 0], None

    def augment(self, key, sample, p):
        return sample

    def real(self, batch):
        return batch["image"]


def test_information_is_the_mean_square_of_each_examples_slope():
    draw = np.random.default_rng(1)
    x, z, m, w = (draw.normal(size=shape) for shape in ((5, 2), (5, 3), (3, 2), (2, 1)))
    sigmoid = lambda t: 1 / (1 + np.exp(-t))
    g, d = ({"params": {name: {"kernel": jnp.asarray(array)}}} for name, array in (("to_rgb", m), ("b4", w)))
    ctx = SimpleNamespace(
        task=Line(), loss=LossConfig("non_saturating"), augment_p=0.0, batch={"image": jnp.asarray(x)},
        latent_keys=jnp.asarray(z), keys=lambda purpose: jax.random.split(jax.random.key(int(purpose)), 5), sync=None,
        constants={"g": g, "d": d},
    )  # fmt: skip
    whole = lambda leaves, params: params
    # G pays softplus(-D(zm)): its slope in m is -sigmoid(-z m w) z w.
    outer = z[:, :, None] * w[:, 0][None, None]
    of_g = -sigmoid(-(z @ m @ w))[:, :, None] * outer
    fisher = adversarial_fisher(ctx, "g", g, d, {"to_rgb/kernel": jnp.asarray(m)}, whole)["to_rgb/kernel"]
    assert_allclose(fisher, (of_g**2).mean(0), rtol=1e-12)
    assert np.abs(fisher - of_g.mean(0) ** 2).max() > 0.01  # which the square of the mean slope is not
    # D pays softplus(-D(x)) + softplus(D(zm)).
    of_d = -sigmoid(-(x @ w)) * x + sigmoid(z @ m @ w) * (z @ m)
    fisher = adversarial_fisher(ctx, "d", g, d, {"b4/kernel": jnp.asarray(w)}, whole)["b4/kernel"]
    assert_allclose(fisher[:, 0], (of_d**2).mean(0), rtol=1e-12)
    # Of a gate's entry [in, out] the slope is the kernel's times the kernel; filters have the mean over what they read.
    assert_allclose(_gate_fisher(ctx, "g", ["to_rgb/kernel"])["to_rgb/kernel"], ((of_g * m) ** 2).mean(0).mean(0))
