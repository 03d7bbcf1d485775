"""Dispatches of one state under any compiler, for comparing what they compute."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.testing import assert_allclose

from gan_jax.config import AugmentConfig, Config, LossConfig, OptimConfig, TrainConfig
from gan_jax.tasks import task_of
from gan_jax.train.compile import COMPILERS, Program, compile_population
from gan_jax.train.feed import resident_feed
from gan_jax.train.trainer import Trainer
from gan_jax.trees import flatten
from tests.train.toy import NET, images

HINGE = LossConfig()
PLAIN_SGD = OptimConfig(lr=1.0)  # with `gradients`: the change of a parameter is its gradient


def gradients(*_):
    """An optimiser whose updates are gradients, in place of Adam."""
    return optax.identity()


def make_config(loss=HINGE, policy=(), classes=0, net=NET, **train) -> Config:
    return Config(
        net=dataclasses.replace(net, num_classes=classes) if classes else net,
        loss=loss,
        augment=AugmentConfig(policy=policy),
        train=TrainConfig(**{"batch": 8, "steps_per_dispatch": 1, "kimg": 1.0, **train}),
    )


def make_trainer(config: Config, **parts) -> Trainer:
    classes = config.net.num_classes
    x, y = images(classes=classes)
    return Trainer(config, task_of(), resident_feed(x, y if classes else None, mirror=True), **parts)


def make_state(trainer: Trainer, seed=0):
    begin = lambda key: trainer.init(trainer.init_networks(key), jax.random.fold_in(key, 2))
    return jax.jit(begin)(jax.random.key(seed))


def make_program(trainer: Trainer, compiler="jit", devices=1, phases=None) -> Program:
    """A program of these phases; None = of those in which a run ends."""
    phases = trainer.task.active(math.inf) if phases is None else phases
    make, steps = functools.partial(trainer.step, phases=phases), trainer.config.train.steps_per_dispatch
    if compiler == "population":
        return compile_population(make, steps, jax.devices()[:devices])
    return COMPILERS[compiler](make, steps, jax.devices()[:devices], True, trainer.extension.sharding)


def copy(tree):
    return jax.tree_util.tree_map(jnp.copy, tree)


def members(*trees):
    """Trees of one structure on a leading axis."""
    return jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *trees)


def host(tree):
    """Leaves by path, copied: what is on the device may be donated."""
    key = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return {path: np.array(key(x)) for path, x in flatten(tree).items()}


def dispatches(trainer: Trainer, state, compiler="jit", devices=1, phases=None):
    """After each dispatch the leaves by path, and the metrics; without an end."""
    program, population = make_program(trainer, compiler, devices, phases), compiler == "population"  # of one member
    state, data = copy(state), trainer.feed.resident
    if population:
        state, data = members(state), members(data)
    placed, data = program.put(state), program.put_data(data)
    own = lambda rows: {name: np.asarray(x)[0] if population else np.asarray(x) for name, x in rows.items()}
    while True:
        placed, metrics = program.run(placed, data)
        yield own(host(program.get(placed))), own(metrics)


def dispatch(trainer: Trainer, state, compiler="jit", devices=1, times=1, phases=None):
    """The leaves by path after some dispatches, and the metrics of the last."""
    rows = dispatches(trainer, state, compiler, devices, phases)
    return [next(rows) for _ in range(times)][-1]


def assert_same_everywhere(trainer: Trainer, state, runs, atol=2e-6):
    """A step by `jit` on one device gives what each (compiler, devices) of `runs` gives. Returns its leaves by path."""
    want, metrics = dispatch(trainer, state)
    for compiler, devices in runs:
        got, other = dispatch(trainer, state, compiler, devices)
        for path, value in want.items():
            assert_allclose(got[path], value, rtol=2e-4, atol=atol, err_msg=f"{compiler} on {devices}: {path}")
        for key, value in metrics.items():
            assert_allclose(other[key], value, rtol=2e-4, atol=atol, err_msg=key)
    return want


def assert_parity(config: Config, runs, atol=2e-6):
    """Every compiler computes the same gradients of fresh networks, and most of these are not 0."""
    trainer = make_trainer(dataclasses.replace(config, optim=PLAIN_SGD), optimizer=gradients)
    state = make_state(trainer)
    before, after = host(state), assert_same_everywhere(trainer, state, runs, atol)
    params = [path for path in after if path[:9] in ("g/params/", "d/params/")]
    moved = [path for path in params if np.abs(after[path] - before[path]).max() > 1e-6]
    assert len(moved) >= 0.7 * len(params), "a test of gradients that vanish tests nothing"
