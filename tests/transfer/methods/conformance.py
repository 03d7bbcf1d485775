"""What every method must keep, asked of each on a pair that compiles in a second."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import optax
from gan_jax.train.step import init_state, make_step
from gan_jax.transfer.preparation import PrepareContext
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import Config, LossConfig, OptimConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.tasks import image_task
from gan_jax.train import step as update
from gan_jax.train.compile import COMPILERS, compile_population
from gan_jax.train.feed import resident_feed
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import Start, make_prepared
from tests.train.games import copy, host
from tests.train.toy import NET, images

EVERYWHERE = [("jit", 2), ("pmap", 2), ("population", 1)]


def make_config(transfer, net=NET, **train) -> Config:
    return Config(
        net=net,
        transfer=transfer,
        loss=LossConfig(name="non_saturating"),  # hinge has no gradient for the last bias while nobody is sure
        optim=OptimConfig(lr=1e-2),
        train=TrainConfig(**{"batch": 8, "steps_per_dispatch": 1, "kimg": 1.0, "devices": 1, **train}),
    )


def begin(config: Config, method: Method | None = None):
    """`(method, state at the start, feed)` of a configuration whose source is the pair of seed 0."""
    bare = build(config.net)
    made = method or make_method(config.transfer, bare)
    feed, key = resident_feed(images()[0], None, mirror=False), jax.random.key(7)
    start = Start(jax.jit(bare.g.init)(jax.random.key(0)), jax.jit(bare.d.init)(jax.random.key(1)))
    ready = make_prepared(PrepareContext(config, feed, key, made.wrap), start, made)
    task, trains = image_task(made.wrap(bare), config.augment), (made.trains("g"), made.trains("d"))
    make = lambda g, d, kept: init_state(task, config, key, g, d, trains, made.extension, kept)
    return made, jax.jit(make)(ready.g, ready.d, ready.kept), feed, start


def dispatch(config: Config, made: Method, state, feed, compiler="jit", devices=1, times=1):
    """The state after some dispatches, by path, and the metrics of the last."""
    trains = made.trains("g"), made.trains("d")

    def make(axis_name, devices):
        task = image_task(made.wrap(build(config.net, axis_name)), config.augment)
        return make_step(
            task, config, feed.draw, trains, axis_name=axis_name, devices=devices, extension=made.extension
        )

    k, here = config.train.steps_per_dispatch, jax.devices()[:devices]
    population = compiler == "population"
    program = compile_population(make, k, here) if population else COMPILERS[compiler](make, k, here, True)
    state = copy(state)
    placed = program.put(jax.tree_util.tree_map(lambda x: x[None], state) if population else state)
    data, metrics = program.put_data(feed.resident), None
    for _ in range(times):
        placed, metrics = program.run(placed, data)
    after = host(program.get(placed))
    metrics = {name: np.asarray(value) for name, value in metrics.items()}
    return ({k: v[0] for k, v in after.items()}, {k: v[0] for k, v in metrics.items()}) if population else (
        after, metrics
    )  # fmt: skip


def assert_identity(config: Config, method: Method | None = None) -> None:
    """Before the first step both networks compute what the source's do, to the bit; so do the plain ones."""
    made, state, _, start = begin(config, method)
    pair, bare = made.wrap(build(config.net)), build(config.net)
    z = jax.random.normal(jax.random.key(3), (4, config.net.z_dim))
    x = jax.random.normal(jax.random.key(4), (4, config.net.resolution, config.net.resolution, config.net.channels))
    for name, given in (("g", z), ("d", x)):
        want = getattr(bare, name).apply(getattr(start, name), given)[0]
        now = getattr(state, name)
        assert_array_equal(getattr(pair, name).apply(now, given)[0], want)
        assert_array_equal(getattr(bare, name).apply(made.plain(name, now), given)[0], want)


def assert_only(config: Config, moves, method: Method | None = None, times: int = 5) -> None:
    """Leaves move if and only if `moves(path of g/params/.. or d/params/..)`: parameters, average and moments.

    All others are equal to the bit; frozen leaves have no moments at all.
    """
    made, state, feed, _ = begin(config, method)
    before, (after, _) = host(state), dispatch(config, made, state, feed, times=times)
    paths = [path for path in before if path.startswith(("g/params/", "d/params/"))]
    assert any(moves(path) for path in paths), "a method that trains nothing tests nothing"
    for path in paths:
        name, _, tail = path.partition("/params/")
        assert (before[path] != after[path]).any() == moves(path), path
        if name == "g":
            average = f"g_ema/params/{tail}"
            assert (before[average] != after[average]).any() == moves(path), average
        moments = [p for p in before if p.startswith(f"opt_{name}/") and p.endswith(f"/{tail}")]
        assert bool(moments) == moves(path), f"moments of {path}"


def assert_baked(config: Config, method: Method | None = None, times: int = 5) -> None:
    """After some training the plain networks compute what the grafted ones do."""
    made, state, feed, _ = begin(config, method)
    after, _ = dispatch(config, made, state, feed, times=times)
    like = jax.tree_util.tree_structure(state)
    state = jax.tree_util.tree_unflatten(
        like, [after[p] if "key" != p else state.key for p in host(state)]
    )  # host() keeps the order of leaves
    pair, bare = made.wrap(build(config.net)), build(config.net)
    z = jax.random.normal(jax.random.key(3), (4, config.net.z_dim))
    x = jax.random.normal(jax.random.key(4), (4, config.net.resolution, config.net.resolution, config.net.channels))
    for net, carried, variables, given in (
        (bare.g, pair.g, state.ema["g"], z),
        (bare.d, pair.d, state.nets["d"], x),
    ):
        plain = made.plain("g" if net is bare.g else "d", variables)
        assert_allclose(net.apply(plain, given)[0], carried.apply(variables, given)[0], rtol=1e-5, atol=1e-6)
        assert set(plain["params"]) == set(net.specs()["params"])


def assert_same_everywhere(
    config: Config, monkeypatch, method: Method | None = None, runs=EVERYWHERE, atol=2e-6
) -> None:
    """A step by `jit` on one device gives what the other compilers give. Plain SGD, so that changes are gradients."""
    monkeypatch.setattr(update, "make_adam", lambda *_: optax.identity())
    config = dataclasses.replace(config, optim=OptimConfig(lr=1.0))
    made, state, feed, _ = begin(config, method)
    want, metrics = dispatch(config, made, state, feed)
    for compiler, devices in runs:
        got, other = dispatch(config, made, state, feed, compiler, devices)
        for path, value in want.items():
            assert_allclose(got[path], value, rtol=2e-4, atol=atol, err_msg=f"{compiler} on {devices}: {path}")
        for key, value in metrics.items():
            assert_allclose(other[key], value, rtol=2e-4, atol=atol, err_msg=key)
