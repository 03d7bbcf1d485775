"""Fronts: the miner begins as the identity, keeps lengths where it is told to, and mines StyleGAN2's constant cheaply."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import Config, ConfigError, StyleGAN2Config
from gan_jax.nets import build
from gan_jax.nets.fronts import Styled, init_miner, mine, mine_constant, with_front
from gan_jax.tasks import image_task

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
TINY = StyleGAN2Config(
    resolution=8, channels=1, z_dim=4, w_dim=6, mapping_layers=1, channel_base=64, channel_max=8, mbstd_group=0
)
SAID = {"kind": "miner", "moment": "prior", "semantic": True}


def latents(n=64, z_dim=4):
    return jax.random.normal(jax.random.key(2), (n, z_dim))


@pytest.mark.parametrize("moment", ["none", "prior"])
@pytest.mark.parametrize("width", [8, 13])
def test_a_miner_begins_as_the_identity_to_the_bit(moment, width):
    params, u = init_miner(jax.random.key(0), 4, width), latents()
    assert_array_equal(jax.jit(lambda u: mine(params, u, moment))(u), u)
    assert (np.asarray(params["fc0"]["kernel"])[:, 8:] != 0).all()  # what is beyond the identity is not dead


def test_mined_latents_by_hand_and_by_their_lengths():
    shaken = lambda x: x + 0.3 * np.random.default_rng(x.size).standard_normal(x.shape).astype("f4")
    params = jax.tree.map(shaken, init_miner(jax.random.key(0), 4, 10))
    u, p = latents(), jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    hidden = np.maximum(np.asarray(u, np.float64) @ p["fc0"]["kernel"] + p["fc0"]["bias"], 0)
    z = hidden @ p["fc1"]["kernel"] + p["fc1"]["bias"]
    compiled = jax.jit(mine, static_argnums=2)
    assert_allclose(compiled(params, u, "none"), z, rtol=1e-4, atol=1e-5)
    lengths = np.linalg.norm(u, axis=1)
    kept = compiled(params, u, "prior")
    assert_allclose(kept, z * (lengths / np.linalg.norm(z, axis=1))[:, None], rtol=1e-4, atol=1e-5)
    assert_allclose(np.linalg.norm(kept, axis=1), lengths, rtol=1e-5)
    assert_array_equal(compiled(params, u.at[3:].multiply(-2), "prior")[:3], kept[:3])  # an example is mined by itself
    slope = jax.jit(jax.grad(lambda u: mine(params, u).sum()))(jnp.zeros((1, 4)))
    assert np.isfinite(slope).all()


def test_a_miner_too_narrow_is_refused():
    with pytest.raises(ValueError, match="7 hidden units cannot begin as the identity of 4"):
        init_miner(jax.random.key(0), 4, 7)


@pytest.fixture(scope="module")
def styled():
    pair, draw = build(TINY), np.random.default_rng(0)
    plain = jax.tree.map(lambda spec: jnp.asarray(draw.standard_normal(spec.shape), jnp.float32), pair.g.specs())
    miner = init_miner(jax.random.key(1), 4, 8, channels=8)
    return pair, plain, {**plain, "params": {**plain["params"], "graft": {"miner": miner}}}


def changed(variables):
    last = variables["params"]["graft"]["miner"]["semantic"]["conv2"]
    kernel = 0.1 * jax.random.normal(jax.random.key(9), last["kernel"].shape)
    miner = variables["params"]["graft"]["miner"]
    miner = {**miner, "semantic": {**miner["semantic"], "conv2": {**last, "kernel": kernel}}}
    return {**variables, "params": {**variables["params"], "graft": {"miner": miner}}}


def test_a_semantic_miner_begins_as_the_constant(styled):
    pair, plain, variables = styled
    mined, u = with_front(pair, SAID), latents(5)
    assert not np.asarray(mine_constant(variables["params"]["graft"]["miner"]["semantic"], u)).any()
    drawn: dict[str, Any] = {"keys": jax.random.split(jax.random.key(3), 5), "mixing": jnp.zeros(5, bool)}

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(plain, variables):
        evaluated = mined.g.apply(variables, u)[0], pair.g.apply(plain, u)[0]
        return evaluated, [net.apply(v, u, train=True, **drawn) for net, v in ((pair.g, plain), (mined.g, variables))]

    evaluated, ((want, collections), (got, same)) = run(plain, variables)
    assert_allclose(*evaluated, rtol=1e-5, atol=1e-5)  # compiled into other loops
    assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert jax.tree.structure(same) == jax.tree.structure(collections)  # nothing of a batch stays


def test_a_mined_constant_is_each_images_own(styled):
    pair, plain, variables = styled
    mined, u, other = with_front(pair, SAID), latents(3), changed(styled[2])
    const = plain["params"]["synthesis"]["b4"]["const"]
    added = mine_constant(other["params"]["graft"]["miner"]["semantic"], u)
    images, generate = jax.jit(lambda v: mined.g.apply(v, u)[0])(other), jax.jit(lambda v, u: pair.g.apply(v, u)[0])
    for i in range(3):
        own = {**plain["params"]["synthesis"]["b4"], "const": const + added[i]}
        params = {**plain["params"], "synthesis": {**plain["params"]["synthesis"], "b4": own}}
        assert_allclose(images[i], generate({**plain, "params": params}, u[i : i + 1])[0], rtol=1e-4, atol=1e-5)
    ws = jax.jit(lambda v: mined.g.parts["map"](v, u, None, 1.0))(other)
    assert isinstance(ws, Styled)
    assert_allclose(jax.jit(mined.g.parts["synthesise"])(other, ws), images, rtol=1e-4, atol=1e-5)
    assert np.abs(images[:1] - generate(plain, u[:1])).max() > 1e-3


@pytest.mark.slow
def test_path_lengths_are_of_styles_alone(styled):
    pair, plain, variables = styled
    keys, noise = (jax.random.split(jax.random.key(i), 4) for i in (0, 1))
    still = build(dataclasses.replace(TINY, style_mixing=0.0))
    lengths = lambda pair, v: jax.jit(cast(Any, image_task(pair, Config(net=TINY)).path_lengths))(v, {}, keys, noise)
    assert_allclose(lengths(with_front(pair, SAID), variables), lengths(still, plain), rtol=1e-5)


def test_the_mined_constant_costs_no_grouped_convolution(styled):
    """Operations of a step's gradient: what the miner itself costs, and nothing more."""
    pair, plain, variables = styled
    mined, u = with_front(pair, SAID), latents(16)

    def lowered(net, variables) -> Any:
        loss = lambda v: jnp.square(net.apply(v, u)[0]).mean()
        return jax.jit(jax.grad(loss)).lower(variables)

    with_miner, without = lowered(mined.g, changed(variables)), lowered(pair.g, plain)
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", with_miner.as_text())
    assert groups and set(groups) == {"1"}
    weights = sum(x.size for x in jax.tree.leaves(variables["params"]["graft"])) * 16 * 16  # at each of 4 x 4 pixels
    more = with_miner.cost_analysis()["flops"] - without.cost_analysis()["flops"]
    assert 0 < more < 8 * weights


def test_weights_with_an_unknown_front_are_refused():
    with pytest.raises(ConfigError, match="need a 'mirror' before G; the known ones are miner"):
        with_front(build(TINY), {"kind": "mirror"})
    assert with_front(build(TINY), None).g.parts.keys() == build(TINY).g.parts.keys()
