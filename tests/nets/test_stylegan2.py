"""Resampling against zero insertion and plain sums; the cost of synthesis; noise, mixing and the average of w."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import StyleGAN2Config
from gan_jax.nets import build
from gan_jax.nets.resample import conv_down3, conv_up3, downsample, upsample
from gan_jax.nets.stylegan2 import Mapping, _noise, dtype_at, minibatch_stddev, num_ws, widths
from gan_jax.train.trainer import lowered_flops
from tests.nets.families import drawn

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
SMALL = StyleGAN2Config(resolution=16, z_dim=5, w_dim=6, mapping_layers=2, channel_base=64, channel_max=8)


def filtered(x, taps, pad, up=1, down=1, gain=1.0):
    """The definition: zeros after every sample, padding, the filter as a true convolution, every down-th sample."""
    from scipy.signal import convolve

    taps = np.outer(taps, taps) / np.sum(taps) ** 2 * gain
    n, h, w, c = x.shape
    filled = np.zeros((n, h * up, w * up, c))
    filled[:, ::up, ::up] = x
    filled = np.pad(filled, ((0, 0), pad, pad, (0, 0)))
    return convolve(filled, taps[None, :, :, None], mode="valid")[:, ::down, ::down]


def correlated(x, w, stride=1, flip=False):
    from scipy.signal import convolve

    w = w[::-1, ::-1] if flip else w
    out = [convolve(x, w[::-1, ::-1, ::-1, o][None], mode="valid")[..., 0] for o in range(w.shape[-1])]
    return np.stack(out, axis=-1)[:, ::stride, ::stride]


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 1)], ids=str)
def test_resampling_is_its_definition(taps):
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype("f4")
    n = len(taps)
    up = filtered(x, taps, ((n + 1) // 2, (n - 2) // 2), up=2, gain=4)
    np.testing.assert_allclose(jax.jit(lambda x: upsample(x, taps))(x), up, atol=1e-5)
    down = filtered(x, taps, ((n - 1) // 2, (n - 2) // 2), down=2)
    np.testing.assert_allclose(jax.jit(lambda x: downsample(x, taps))(x), down, atol=1e-5)


def test_convolutions_that_resample_are_their_definition():
    rng, taps = np.random.default_rng(0), (1, 3, 3, 1)
    x, w = rng.standard_normal((2, 6, 8, 3)).astype("f4"), rng.standard_normal((3, 3, 3, 4)).astype("f4")
    up = correlated(filtered(x, taps, (3, 2), up=2, gain=4), w, flip=True)
    np.testing.assert_allclose(jax.jit(conv_up3)(x, w), up, atol=1e-4)
    down = correlated(filtered(x, taps, (2, 2)), w, stride=2)
    np.testing.assert_allclose(jax.jit(conv_down3)(x, w), down, atol=1e-4)


def test_synthesis_costs_what_it_has_to():
    """No kernel for each example, and an up-sampling layer costs 9 products for each input pixel."""
    config = dataclasses.replace(SMALL, resolution=64, w_dim=32, channel_base=4096, channel_max=128)
    pair, n = build(config), 4
    ws = jax.ShapeDtypeStruct((n, num_ws(config), config.w_dim), jnp.float32)
    flops = lowered_flops(pair.g.parts["synthesise"], pair.g.specs(), ws)
    products, before = 0, 0
    for r, c in widths(config).items():
        products += 9 * c * c * r * r + 3 * c * r * r + (9 * before * c * (r // 2) ** 2 if before else 0)
        products += 32 * (2 * c + (before or 0))  # styles
        before = c
    assert flops == pytest.approx(2 * n * products, rel=0.05)


def test_half_precision_is_of_the_highest_resolutions_and_never_of_4_px():
    config = dataclasses.replace(SMALL, dtype="bfloat16")
    assert [dtype_at(config, r) for r in (4, 8, 16)] == ["float32", "bfloat16", "bfloat16"]
    assert dtype_at(dataclasses.replace(config, low_precision=1), 8) == "float32"
    seen = jax.eval_shape(build(config).g.activations, build(config).g.specs(), jnp.zeros((2, 5)))
    assert seen["synthesis/b4/conv1"].dtype == jnp.float32 and seen["synthesis/b8/conv0"].dtype == jnp.bfloat16


def test_noise_and_mixing_are_drawn_by_example():
    small = dataclasses.replace(SMALL, resolution=8)
    pair, mixed, plain = build(small), *(build(dataclasses.replace(small, style_mixing=p)) for p in (1.0, 0.0))
    variables, key = drawn(pair.g, equalised=True), jax.random.key(0)
    z, keys = jax.random.normal(key, (4, 5)), jax.random.split(key, 4)
    some = jnp.array([True, False, False, True])

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(z, keys, others):
        train = lambda pair, z, keys, **options: pair.g.apply(variables, z, None, True, keys, **options)[0]
        return {
            "images": train(pair, z, keys),
            "other noise": train(pair, z, others),
            "half": train(pair, z[2:], keys[2:]),
            "mixed": train(mixed, z, keys),
            "alone": train(plain, z, keys),
            "some": train(mixed, z, keys, mixing=some),
            "evaluated": [pair.g.apply(variables, z, None, False, k)[0] for k in (keys, others)],
        }

    made = run(z, keys, jax.random.split(jax.random.key(1), 4))
    assert np.abs(made["images"] - made["other noise"]).max() > 1e-2
    np.testing.assert_allclose(made["half"], made["images"][2:], rtol=1e-5, atol=1e-5)  # however the batch is cut
    np.testing.assert_array_equal(*made["evaluated"])
    assert (np.abs(made["mixed"] - made["alone"]).max((1, 2, 3)) > 1e-4).all()
    wanted = np.where(some[:, None, None, None], made["mixed"], made["alone"])
    np.testing.assert_allclose(made["some"], wanted, rtol=1e-5, atol=1e-5)


def test_the_average_of_w_follows_training_only():
    pair = build(dataclasses.replace(SMALL, resolution=8))
    variables, average = drawn(pair.g, equalised=True), np.arange(6, dtype="f4")  # towards which truncation draws
    variables["moving"] = jax.tree.map(np.zeros_like, variables["moving"])
    z = jax.random.normal(jax.random.key(1), (8, 5))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(variables):
        known = {**variables, "moving": {"mapping": {"w_avg": jnp.asarray(average)}}}
        moved, kept = (pair.g.apply(variables, z, None, train)[1] for train in (True, False))
        return moved, kept, pair.g.parts["map"](variables, z)[:, 0], pair.g.parts["map"](known, z, psi=0.75)

    moved, kept, w, truncated = run(variables)
    np.testing.assert_allclose(moved["moving"]["mapping"]["w_avg"], 0.005 * w.mean(0), rtol=1e-4)
    assert not np.asarray(kept["moving"]["mapping"]["w_avg"]).any()
    wanted = 0.25 * average + 0.75 * np.asarray(w)
    np.testing.assert_allclose(truncated, np.broadcast_to(wanted[:, None], truncated.shape), rtol=1e-5, atol=1e-6)


def test_averages_and_groups_are_of_all_devices():
    """Two devices of four examples; the axis is one of `vmap`, whose collectives are the same."""
    z, plain = jax.random.normal(jax.random.key(0), (8, 5)), Mapping(6, 2)
    variables = jax.jit(lambda key: plain.init(key, z, None))(jax.random.key(1))
    moved = lambda mapping, z: mapping.apply(variables, z, None, True, mutable=["moving"])[1]["moving"]["w_avg"]
    over = lambda of: jax.jit(jax.vmap(of, axis_name="devices"))
    split = over(lambda z: moved(Mapping(6, 2, axis_name="devices"), z))(z.reshape(2, 4, 5))
    np.testing.assert_allclose(split, np.stack([jax.jit(lambda z: moved(plain, z))(z)] * 2), rtol=1e-5)
    x = jax.random.normal(jax.random.key(2), (8, 4, 4, 3))
    parts = over(lambda x: minibatch_stddev(x, 4, "devices"))(x.reshape(2, 4, 4, 4, 3))
    np.testing.assert_allclose(parts.reshape(8, 4, 4, 1), jax.jit(lambda x: minibatch_stddev(x, 4))(x), rtol=1e-6)


def test_every_layer_has_noise_of_its_own():
    keys = jax.random.split(jax.random.key(0), 2)
    first, second = (np.asarray(_noise(keys, layer, 8, True)) for layer in (1, 2))
    assert first.shape == (2, 8, 8) and np.abs(first - second).mean() > 0.5


def test_minibatch_stddev():
    x = jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
    value = minibatch_stddev(x, 4)
    group = np.asarray(x)[[1, 3, 5, 7]]  # 8 examples are 2 groups, i and i + 2 together
    np.testing.assert_allclose(value[1, 0, 0, 0], np.sqrt(group.var(0) + 1e-8).mean(), rtol=1e-5)
    assert value.shape == (8, 4, 4, 1)
    with pytest.raises(ValueError, match="a batch of 6 does not fall into groups of 4; change train.batch"):
        minibatch_stddev(x[:6], 4)
