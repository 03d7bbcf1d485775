"""A gradient that gives way, by hand; in a step it changes what the update is, and says how often."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import FinetuneConfig, MLPConfig
from gan_jax.train.extension import Extension
from gan_jax.train.optim import project_conflict
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.method import Method
from tests.lanes import default_rows
from tests.train.games import PLAIN_SGD, gradients
from tests.transfer.methods import conformance as ask

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(6,), d_widths=(6,))


def test_what_points_against_the_main_gradient_is_taken_out():
    main = {"a": jnp.asarray([2.0, 0.0]), "b": jnp.asarray([1.0, 1.0]), "c": jnp.zeros(2)}
    other = {"a": jnp.asarray([-3.0, 5.0]), "b": jnp.asarray([1.0, 2.0]), "c": jnp.asarray([1.0, -1.0])}
    out, share = project_conflict(other, main)
    assert_array_equal(out["a"], [0.0, 5.0])
    assert_array_equal(out["b"], other["b"])
    assert_array_equal(out["c"], other["c"])
    assert_allclose(share, 1 / 3)
    assert_allclose([jnp.vdot(out[k], main[k]) for k in "ab"], [0.0, 3.0], atol=1e-6)


def method(projected, sign):
    """A term that pulls G's output bias one way with ten times the game's force."""

    def value(ctx):
        return sign * 10 * ctx.g["params"]["to_rgb"]["bias"].sum(), {}

    return Method(
        starts=("g", "d"), extension=Extension(regularisers=(Regulariser("pull", "g", value, projected=projected),))
    )


@pytest.mark.parametrize("sign", default_rows([1.0, -1.0], [-1.0]))
def test_in_a_step_only_the_harmless_part_is_added(sign):
    config = dataclasses.replace(ask.make_config(FinetuneConfig(), NET), optim=PLAIN_SGD)
    moved = {}
    for name, made in (
        ("none", Method(starts=("g", "d"))),
        ("projected", method(True, sign)),
    ):
        begun = ask.begin(config, made, optimizer=gradients)
        after, metrics = begun.after(1)
        moved[name] = {p: -(after[p] - begun.before[p]) for p in after if p.startswith("g/params/")}
        if name == "projected":
            conflict = metrics["pull_conflict"]
    bias = "g/params/to_rgb/bias"
    game, pull = moved["none"][bias], np.full_like(moved["none"][bias], 10 * sign)
    inner = float((game * pull).sum())
    kept = pull - min(inner, 0.0) / float((game**2).sum()) * game
    assert_allclose(moved["projected"][bias], game + kept, rtol=1e-3, atol=1e-5)
    leaves = len(moved["none"])
    assert_allclose(conflict, (inner < 0) / leaves, atol=1e-6)
    for path in moved["none"]:
        if path != bias:
            assert_allclose(moved["projected"][path], moved["none"][path], rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.slow
def test_every_compiler_gives_way_alike():
    ask.assert_same_everywhere(ask.make_config(FinetuneConfig(), NET), method(True, 1.0))
