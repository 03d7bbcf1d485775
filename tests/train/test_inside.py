"""What a method may see inside D, in the very pass that the game makes, and what it may play the game with instead."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import FinetuneConfig, ResNetConfig
from gan_jax.losses.adversarial import non_saturating
from gan_jax.nets.build import NETS, build
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.method import Method
from tests.train.toy import NET, build_toy
from tests.transfer.methods import conformance as ask


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(NETS, ResNetConfig, build_toy)


CONFIG = ask.make_config(FinetuneConfig())


@pytest.mark.parametrize("train", [False, True])
def test_looking_changes_nothing(train):
    """One pass gives what `apply` and `activations` give, and the same updated collections."""
    pair = build(NET)
    for net, shape in ((pair.g, (4, NET.z_dim)), (pair.d, (4, 16, 16, 1))):
        variables = net.init(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), shape)
        out, collections, inside = net.look(variables, x, train=train)
        expected = net.apply(variables, x, train=train)
        found, wanted = (jax.tree_util.tree_leaves(tree) for tree in ((out, collections), expected))
        for a, b in zip(found, wanted, strict=True):
            assert_array_equal(a, b)
        seen = net.activations(variables, x, train=train)
        assert set(seen) == set(inside)
        for path, value in seen.items():
            assert_array_equal(inside[path], value)


def _inner(ctx, judged):
    """Patches, as it were: every unit of a layer is a logit."""
    assert set(judged.inside) == {"b4"}
    return judged.inside["b4"]


def test_the_game_is_played_with_a_verdict_on_what_is_inside():
    """Terms that work the losses out from the same pass come to the same."""
    of_d = lambda ctx: (non_saturating(*(side["b4"] for side in ctx.intermediates))[0].mean(), {})
    of_g = lambda ctx: (non_saturating(*[ctx.intermediates[1]["b4"]] * 2)[1].mean(), {})
    terms = Regulariser("again_d", "d", of_d), Regulariser("again_g", "g", of_g)
    made, state, feed, _ = ask.begin(
        CONFIG, Method(extension=Extension(capture=("b4",), logits_fn=_inner, terms=terms))
    )
    before, (after, metrics) = ask.host(state), ask.dispatch(CONFIG, made, state, feed)
    assert_allclose(metrics["loss_d"], metrics["again_d"], rtol=1e-6)
    assert_allclose(metrics["loss_g"], metrics["again_g"], rtol=1e-6)
    assert_array_equal(after["d/params/head/kernel"], before["d/params/head/kernel"])  # it judges nobody
    assert (after["d/params/b4/kernel"] != before["d/params/b4/kernel"]).any()


def test_a_step_is_the_same_for_every_update_in_it_and_everywhere(monkeypatch):
    """In every second step latents are zeros; D has two updates in each."""

    def deal(ctx):
        z = jax.vmap(lambda key: jax.random.normal(key, (4,)))(ctx.latent_keys)
        z = jnp.where(ctx.step % 2 == 0, jnp.zeros_like(z), z)
        return dataclasses.replace(ctx, batch={**ctx.batch, "z": z})

    config = ask.make_config(FinetuneConfig(), d_steps=2)
    game = Extension(transform=deal, capture=("b4",), logits_fn=_inner)
    made, state, feed, _ = ask.begin(config, Method(extension=game))
    before = ask.host(state)
    first, _ = ask.dispatch(config, made, state, feed)
    second, _ = ask.dispatch(config, made, state, feed, times=2)
    kernel = "g/params/stem/kernel"
    assert_array_equal(first[kernel], before[kernel])
    assert (second[kernel] != first[kernel]).any()
    ask.assert_same_everywhere(config, monkeypatch, made)


def test_a_module_that_d_lacks_is_named():
    made, state, feed, _ = ask.begin(CONFIG, Method(extension=Extension(capture=("b64",))))
    with pytest.raises(ValueError, match="D has no module 'b64' to look at; it has b4, from_rgb, head"):
        ask.dispatch(CONFIG, made, state, feed)
