"""Points in a plane: a source and a target mixture of Gaussians, and a pair that goes from one to the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config, EMAConfig, LossConfig, MLPConfig, OptimConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.tasks import image_task
from gan_jax.tasks.image import draw_latents
from gan_jax.train.compile import choose_devices, compile_population
from gan_jax.train.feed import resident_feed
from gan_jax.train.steps import init_state, make_step

Mixture = Literal["grid", "pair", "ring"]
POINTS = 4096  # in a training set
SCORED = 512  # points that are matched one to one
STD = 0.08  # of every Gaussian


def centres(mixture: Mixture) -> np.ndarray:
    """`[K, 2]`: 25 on a grid and 2 close together are sources, 8 on a ring are the target."""
    if mixture == "grid":
        ticks = np.linspace(-1.6, 1.6, 5)
        return np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    if mixture == "pair":
        return np.array([[1.3, 0.4], [1.3, -0.4]])
    angles = 2 * np.pi * np.arange(8) / 8
    return 1.5 * np.stack([np.cos(angles), np.sin(angles)], -1)


def draw(mixture: Mixture, n: int, seed: int) -> np.ndarray:
    """Points `[n, 1, 1, 2]` float32: images of one pixel with two channels."""
    rng, means = np.random.default_rng(seed), centres(mixture)
    points = means[rng.integers(0, len(means), n)] + STD * rng.normal(size=(n, 2))
    return points.astype(np.float32).reshape(n, 1, 1, 2)


def config(steps: int = 5000, dispatch: int = 500) -> Config:
    """The paper's: width 64, Adam of 2e-4 with betas 0.5 and 0.999, 5,000 steps, the non-saturating loss."""
    batch = 64
    return Config(
        net=MLPConfig(resolution=1, channels=2, z_dim=8, g_widths=(64, 64), d_widths=(64, 64), bounded=False),
        loss=LossConfig("non_saturating"),
        optim=OptimConfig(lr=2e-4, b1=0.5, b2=0.999),
        ema=EMAConfig(half_life_kimg=0.0, rampup=None),
        train=TrainConfig(kimg=steps * batch / 1000, batch=batch, steps_per_dispatch=min(dispatch, steps)),
    )


@dataclasses.dataclass(frozen=True)
class Toy:
    """One compiled program for all that is trained here: it takes variables of several seeds, and data.

    Attributes:
      config: of every run.
      train: `(g, d, points) -> (g, d, [[G's points [seeds, SCORED, 2] at each dispatch, the start first]])`.
      fresh: `seeds -> (g, d)`, variables that lead with a seed axis.
    """

    config: Config
    train: Callable[[Any, Any, np.ndarray], tuple[Any, Any, list[np.ndarray]]]
    fresh: Callable[[np.ndarray], tuple[Any, Any]]


def make_toy(config: Config, seeds: int) -> Toy:
    """Compiles the step of the library for a population of `seeds` runs."""
    pair = build(config.net)
    task, everything = image_task(pair), (lambda path: True, lambda path: True)
    feed = resident_feed(draw("ring", POINTS, 0), None, mirror=False)  # whose points are an argument of the program

    def make(axis_name: str | None, devices: int) -> Any:
        return make_step(task, config, feed.draw, everything, axis_name=axis_name, devices=devices)

    program = compile_population(make, config.train.steps_per_dispatch, choose_devices(None, seeds))
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(2), seed))(jnp.arange(seeds))
    begin = jax.jit(jax.vmap(lambda key, g, d: init_state(task, config, key, g, d, everything)))
    latents = draw_latents(jax.random.split(jax.random.key(9), SCORED), config.net.z_dim)
    look = jax.jit(jax.vmap(lambda g: pair.g.apply(g, latents)[0].reshape(SCORED, 2)))
    total = round(config.train.kimg * 1000) // (config.train.batch * config.train.steps_per_dispatch)

    def train(g: Any, d: Any, points: np.ndarray) -> tuple[Any, Any, list[np.ndarray]]:
        seen = [np.asarray(look(g))]
        state, data = program.put(begin(keys, g, d)), program.put_data({"image": points})
        for _ in range(total):
            state, _metrics = program.run(state, data)
            seen.append(np.asarray(look(program.get(state).g)))
        state = jax.tree_util.tree_map(np.asarray, (state.g, state.d))
        return *state, seen

    def fresh(seeds: np.ndarray) -> tuple[Any, Any]:
        make = lambda init, salt: jax.vmap(lambda s: init(jax.random.fold_in(jax.random.key(salt), s)))
        return make(pair.g.init, 0)(jnp.asarray(seeds)), make(pair.d.init, 1)(jnp.asarray(seeds))

    return Toy(config, train, fresh)


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two sets of as many points `[N, 2]`: the mean distance of the best matching."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(a, b)
    return float(cost[linear_sum_assignment(cost)].mean())


def modes(points: np.ndarray, mixture: Mixture, within: float = 3 * STD) -> int:
    """How many Gaussians of a mixture have at least a quarter of their share of the points `[N, 2]` near them."""
    means = centres(mixture)
    distance = np.linalg.norm(points[:, None] - means[None], axis=-1)
    near = np.bincount(distance.argmin(1)[distance.min(1) < within], minlength=len(means))
    return int((near >= 0.25 * len(points) / len(means)).sum())
