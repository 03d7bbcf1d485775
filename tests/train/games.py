"""One dispatch of one state under any compiler, for comparing what they compute."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.testing import assert_allclose

from gan_jax.config import AugmentConfig, Config, LossConfig, OptimConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.tasks import image_task
from gan_jax.train import step as update
from gan_jax.train.compile import COMPILERS, compile_population
from gan_jax.train.feed import resident_feed
from gan_jax.train.step import init_state, make_step
from gan_jax.trees import flatten
from tests.train.toy import NET, images

ALL = (lambda path: True, lambda path: True)
HINGE = LossConfig()


def make_config(loss=HINGE, policy=(), classes=0, net=NET, **train) -> Config:
    return Config(
        net=dataclasses.replace(net, num_classes=classes) if classes else net,
        loss=loss,
        augment=AugmentConfig(policy=policy),
        train=TrainConfig(**{"batch": 8, "steps_per_dispatch": 1, "kimg": 1.0, **train}),
    )


def make_state(config, trains=ALL, seed=0):
    pair = build(config.net)
    init = lambda key: init_state(
        image_task(pair), config, jax.random.fold_in(key, 2), pair.g.init(jax.random.fold_in(key, 0)),
        pair.d.init(jax.random.fold_in(key, 1)), trains,
    )  # fmt: skip
    return jax.jit(init)(jax.random.key(seed))


def make_feed(config):
    classes = getattr(config.net, "num_classes", 0)
    x, y = images(classes=classes)
    return resident_feed(x, y if classes else None, mirror=True)


def make_program(config, compiler, devices, trains=ALL, phase="both"):
    feed = make_feed(config)

    def make(axis_name, devices):
        task = image_task(build(config.net, axis_name), config.augment)
        return make_step(task, config, feed.draw, trains, axis_name=axis_name, devices=devices, phase=phase)

    k = config.train.steps_per_dispatch
    if compiler == "population":
        return compile_population(make, k, jax.devices()[:devices]), feed
    return COMPILERS[compiler](make, k, jax.devices()[:devices], True), feed


def copy(tree):
    return jax.tree_util.tree_map(jnp.copy, tree)


def host(tree):
    return {
        path: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for path, x in flatten(tree).items()
    }


def dispatch(config, compiler, devices, state, trains=ALL, phase="both", times=1):
    program, feed = make_program(config, compiler, devices, trains, phase)
    placed, data, metrics = program.put(copy(state)), program.put_data(feed.resident), None
    for _ in range(times):
        placed, metrics = program.run(placed, data)
    return host(program.get(placed)), {k: np.asarray(v) for k, v in metrics.items()}


def assert_parity(config, runs, monkeypatch, atol=2e-6):
    """A step by `jit` on one device gives what each (compiler, devices) of `runs` gives.

    Plain SGD with step size 1, so that the change of a parameter is its gradient.
    """
    monkeypatch.setattr(update, "make_adam", lambda *_: optax.identity())
    config = dataclasses.replace(config, optim=OptimConfig(lr=1.0))
    state = make_state(config)
    before = host(state)
    want, metrics = dispatch(config, "jit", 1, state)
    params = [path for path in want if path[:9] in ("g/params/", "d/params/")]
    moved = [path for path in params if np.abs(want[path] - before[path]).max() > 1e-6]
    assert len(moved) >= 0.7 * len(params), "a test of gradients that vanish tests nothing"
    for compiler, devices in runs:
        got, other = dispatch(config, compiler, devices, state)
        for path, value in want.items():
            assert_allclose(got[path], value, rtol=2e-4, atol=atol, err_msg=f"{compiler} on {devices}: {path}")
        for key, value in metrics.items():
            assert_allclose(other[key], value, rtol=2e-4, atol=atol, err_msg=key)
