"""What a method may capture inside D, in the very pass of the loss, and other logits that it may put into the loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import FinetuneConfig
from gan_jax.losses.adversarial import non_saturating
from gan_jax.nets.build import build
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.method import Method
from tests.train.toy import NET, build_toy
from tests.transfer.methods import conformance as ask


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


CONFIG = ask.make_config(FinetuneConfig())


@pytest.mark.parametrize("train", [False, True])
def test_looking_changes_nothing(train):
    """One pass gives what `apply` and `activations` give, and the same updated collections."""
    pair = build(NET)
    for net, shape in ((pair.g, (4, NET.z_dim)), (pair.d, (4, 16, 16, 1))):
        variables = jax.jit(net.init)(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), shape)
        out, collections, inside = jax.jit(lambda v, x, net=net: net.apply_with_intermediates(v, x, train=train))(
            variables, x
        )
        expected = jax.jit(lambda v, x, net=net: net.apply(v, x, train=train))(variables, x)
        found, wanted = (jax.tree_util.tree_leaves(tree) for tree in ((out, collections), expected))
        for a, b in zip(found, wanted, strict=True):
            assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        seen = jax.jit(lambda v, x, net=net: net.activations(v, x, train=train))(variables, x)
        assert set(seen) == set(inside)
        for path, value in seen.items():
            assert_allclose(inside[path], value, rtol=1e-6, atol=1e-7)


def _inner(ctx, output):
    """Patches, as it were: every unit of a layer is a logit."""
    assert set(output.intermediates) == {"b4"}
    return output.intermediates["b4"]


def test_the_loss_is_of_the_logits_that_a_method_makes_of_what_is_inside():
    """Terms that work the losses out from the same pass come to the same."""
    of_d = lambda ctx: (non_saturating(*(side["b4"] for side in ctx.intermediates))[0].mean(), {})
    of_g = lambda ctx: (non_saturating(*[ctx.intermediates[1]["b4"]] * 2)[1].mean(), {})
    terms = Regulariser("again_d", "d", of_d), Regulariser("again_g", "g", of_g)
    extension = Extension(capture=("b4",), logits_fn=_inner, regularisers=terms)
    begun = ask.begin(CONFIG, Method(extension=extension))
    before, (after, metrics) = begun.before, begun.after(1)
    assert_allclose(metrics["loss_d"], metrics["again_d"], rtol=1e-6)
    assert_allclose(metrics["loss_g"], metrics["again_g"], rtol=1e-6)
    assert_array_equal(after["d/params/head/kernel"], before["d/params/head/kernel"])  # it judges nobody
    assert (after["d/params/b4/kernel"] != before["d/params/b4/kernel"]).any()


def test_a_step_is_the_same_for_every_update_in_it():
    """In every second step latents are zeros; D has two updates in each."""

    def transform(ctx):
        z = jax.vmap(lambda key: jax.random.normal(key, (4,)))(ctx.latent_keys)
        z = jnp.where(ctx.step % 2 == 0, jnp.zeros_like(z), z)
        return ctx.replace(batch={**ctx.batch, "z": z})

    config = ask.make_config(FinetuneConfig(), d_steps=2)
    method = Method(extension=Extension(transform=transform, capture=("b4",), logits_fn=_inner))
    begun, kernel = ask.begin(config, method), "g/params/stem/kernel"
    first, second = begun.after(1)[0], begun.after(2)[0]
    assert_array_equal(first[kernel], begun.before[kernel])
    assert (second[kernel] != first[kernel]).any()


def test_a_module_that_d_lacks_is_named():
    begun = ask.begin(CONFIG, Method(extension=Extension(capture=("b64",))))
    with pytest.raises(ValueError, match="D has no module 'b64' to capture; it has b4, from_rgb, head"):
        begun.after(1)
