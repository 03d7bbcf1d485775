"""The one step body: the same game under every compiler, nothing happens to frozen leaves, D warms up alone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import AugmentConfig, Config, LossConfig, OptimConfig, TrainConfig
from gan_jax.tasks import image_task
from gan_jax.train import steps as steps_module
from gan_jax.train.compile import COMPILERS, compile_population
from gan_jax.train.feed import resident_feed
from gan_jax.train.steps import guard_names, init_state, make_step
from gan_jax.trees import flatten, match
from tests.train.toy import NET, build_toy, images

ALL = (lambda path: True, lambda path: True)


HINGE = LossConfig()


def make_config(loss=HINGE, policy=(), classes=0, **train) -> Config:
    return Config(
        net=dataclasses.replace(NET, num_classes=classes),
        loss=loss,
        augment=AugmentConfig(policy=policy),
        train=TrainConfig(**{"batch": 8, "steps_per_dispatch": 1, "kimg": 1.0, **train}),
    )


def make_state(config, trains=ALL, seed=0):
    pair = build_toy(config.net)
    init = lambda key: init_state(
        image_task(pair), config, jax.random.fold_in(key, 2), pair.g.init(jax.random.fold_in(key, 0)),
        pair.d.init(jax.random.fold_in(key, 1)), trains,
    )  # fmt: skip
    return jax.jit(init)(jax.random.key(seed))


def make_feed(config):
    x, y = images(classes=config.net.num_classes)
    return resident_feed(x, y if config.net.num_classes else None, mirror=True)


def make_program(config, compiler, devices, trains=ALL, phase="both"):
    feed = make_feed(config)

    def make(axis_name, devices):
        task = image_task(build_toy(config.net, axis_name), config.augment)
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


GAMES = {
    "hinge": make_config(),
    "non_saturating+r1+diffaugment": make_config(
        LossConfig("non_saturating", r1_gamma=2.0), ("color", "translation", "cutout")
    ),
    "relativistic+r1+r2": make_config(LossConfig("relativistic", r1_gamma=1.0, r2_gamma=3.0)),
    "wasserstein+gp, 2 d_steps": make_config(LossConfig("wasserstein", gp_lambda=10.0), d_steps=2),
    "lazy r1, conditional": make_config(LossConfig("hinge", r1_gamma=5.0, penalty_interval=2), (), 3),
    "least_squares, conditional": make_config(LossConfig("least_squares"), ("translation",), 3),
}


@pytest.mark.parametrize(
    "name", [name if i in (0, 4) else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(GAMES)]
)
def test_every_compiler_computes_the_same_gradients(name, monkeypatch):
    """Plain SGD with step size 1, so that the change of a parameter is its gradient."""
    monkeypatch.setattr(steps_module, "make_adam", lambda *_: optax.identity())
    config = dataclasses.replace(GAMES[name], optim=OptimConfig(lr=1.0))
    state = make_state(config)
    before = host(state)
    want, metrics = dispatch(config, "jit", 1, state)
    params = [path for path in want if path[:9] in ("g/params/", "d/params/")]
    moved = [path for path in params if np.abs(want[path] - before[path]).max() > 1e-6]
    assert len(moved) >= 0.7 * len(params), "a test of gradients that vanish tests nothing"
    for compiler, devices in (("jit", 2), ("jit", 8), ("pmap", 8)) if name == "hinge" else (("jit", 8), ("pmap", 2)):
        got, other = dispatch(config, compiler, devices, state)
        for path, value in want.items():
            assert_allclose(got[path], value, rtol=2e-4, atol=2e-6, err_msg=f"{compiler} on {devices}: {path}")
        for key, value in metrics.items():
            assert_allclose(other[key], value, rtol=2e-4, atol=2e-6, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 1])
def test_a_population_of_seeds_is_its_members(devices):
    config = make_config(steps_per_dispatch=2)
    states = [make_state(config, seed=seed) for seed in range(4)]
    program, feed = make_program(config, "population", devices)
    stacked = jax.tree_util.tree_map(lambda *x: jnp.stack(x), *states)
    together, metrics = program.run(program.put(stacked), program.put_data(feed.resident))
    assert metrics["finite"].shape[:2] == (4, 2)
    together = host(program.get(together))
    for i, state in enumerate(states):
        alone, rows = dispatch(config, "jit", 1, state)
        for path, value in alone.items():
            assert_allclose(together[path][i], value, rtol=2e-4, atol=2e-6, err_msg=path)
        assert_allclose(metrics["loss_d"][i], rows["loss_d"], rtol=1e-4)


# -- frozen leaves -------------------------------------------------------------------------------------------


def freeze(*patterns):
    trains = lambda net: lambda path: not any(match(p, f"{net}/params/{path}") for p in patterns)
    return trains("g"), trains("d")


@pytest.mark.parametrize(("compiler", "devices"), [("jit", 2), ("pmap", 2)])
@pytest.mark.parametrize("patterns", [("d/params/from_rgb/**",), ("d/params/{from_rgb,b4}/kernel", "g/params/stem/*")])
def test_frozen_means_frozen(compiler, devices, patterns):
    config = make_config(LossConfig(r1_gamma=1.0), steps_per_dispatch=3)
    trains = freeze(*patterns)
    state = make_state(config, trains)
    before = host(state)
    after, _ = dispatch(config, compiler, devices, state, trains, times=2)
    frozen = [path for path in before if any(match(p, path) for p in patterns)]
    assert len(frozen) >= 2
    for path in frozen:
        assert after[path].tobytes() == before[path].tobytes(), path
        if path.startswith("g/"):
            ema = path.replace("g/", "g_ema/", 1)
            assert after[ema].tobytes() == before[ema].tobytes(), ema
        moments = [p for p in after if p.startswith(f"opt_{path[0]}/") and p.endswith(path.split("/", 2)[2])]
        assert moments == []
    trained = [p for p in before if p[1:9] == "/params/" and p not in frozen]
    # Biases whose gradient cancels (under the hinge loss, before batch norm) may stay.
    assert np.mean([(after[p] != before[p]).any() for p in trained]) > 0.5
    assert guard_names(state, trains) == sorted(p for p in trained if p[0] == "d") + sorted(
        p for p in trained if p[0] == "g"
    )


# -- D alone -------------------------------------------------------------------------------------------------


def test_g_is_untouched_to_the_bit_while_d_warms_up():
    config = make_config(steps_per_dispatch=2)
    state = make_state(config)
    before = host(state)
    after, metrics = dispatch(config, "jit", 2, state, phase="d", times=2)
    for path in before:
        same = after[path].tobytes() == before[path].tobytes()
        if path.split("/")[0] in ("g", "g_ema", "opt_g", "key"):
            assert same, path
        elif path.startswith("d/params/") and path.endswith("kernel"):  # the hinge's two sides cancel in D's last bias
            assert not same, path
    assert after["step"] == 4 and after["images"] == 32
    assert "loss_g" not in metrics


def test_lazy_penalties_come_in_every_kth_update():
    config = make_config(LossConfig(r1_gamma=5.0, penalty_interval=3))
    state = make_state(config)
    program, feed = make_program(config, "jit", 1)
    placed, data, seen = program.put(copy(state)), program.put_data(feed.resident), []
    for _ in range(6):
        placed, metrics = program.run(placed, data)
        seen.append(float(metrics["penalty"]) > 0)
    assert seen == [True, False, False] * 2


def test_counters_count_images_shown_to_d():
    config = make_config(d_steps=3, steps_per_dispatch=2)
    after, _ = dispatch(config, "jit", 1, make_state(config))
    assert after["step"] == 2 and after["images"] == 8 * 3 * 2
    assert after["opt_d/count"] == 6 and after["opt_g/count"] == 2
