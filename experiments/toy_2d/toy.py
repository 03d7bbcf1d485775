"""Points in a plane: two sources and a target, a pair that is transferred between them, and metrics of its points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config, EMAConfig, LossConfig, MLPConfig, OptimConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.tasks import task_of
from gan_jax.tasks.image import draw_latents
from gan_jax.train.compile import loop
from gan_jax.train.feed import resident_feed
from gan_jax.train.trainer import Trainer

Name = Literal["wide", "narrow", "target"]
POINTS = 4096  # in a training set
SCORED = 512  # points that are matched one to one
MODES = 10  # of the target
RADIUS = 2.0
STD = 0.05  # of the target's Gaussians
NEAR = 5 * STD  # a point this close to a centre belongs to it; centres are 1.24 apart


def centres() -> np.ndarray:
    """`[MODES, 2]`: the means of the target, on a circle."""
    angles = 2 * np.pi * np.arange(MODES) / MODES
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], -1)


def draw(name: Name, n: int, seed: int) -> np.ndarray:
    """Points `[n, 1, 1, 2]` float32, images of one pixel with two channels.

    "wide" is a ring a fifth of its radius thick, "narrow" has three neighbours of the target's ten Gaussians, twice as
    wide.
    """
    rng = np.random.default_rng(seed)
    if name == "wide":
        angles, radii = 2 * np.pi * rng.random(n), RADIUS * (1 + 0.2 * rng.normal(size=n))
        points = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    else:
        count, std = (MODES, STD) if name == "target" else (3, 2 * STD)
        points = centres()[rng.integers(0, count, n)] + std * rng.normal(size=(n, 2))
    return points.astype(np.float32).reshape(n, 1, 1, 2)


def config(dispatch: int = 100) -> Config:
    """The paper's setup at a size for a minute: width 64, Adam with betas 0.5 and 0.999, the non-saturating loss."""
    widths = (64, 64, 64)
    return Config(
        net=MLPConfig(resolution=1, channels=2, z_dim=16, g_widths=widths, d_widths=widths, bounded=False),
        loss=LossConfig("non_saturating"),
        optim=OptimConfig(lr=1e-3, b1=0.5, b2=0.999),
        ema=EMAConfig(half_life_kimg=0.0, rampup=None),
        train=TrainConfig(batch=64, d_steps=2, steps_per_dispatch=dispatch),
    )


class Toy(NamedTuple):
    """The functions that train the pairs of all seeds; all variables have a leading axis of seeds.

    `train` is `(g, d, keys, points [POINTS, 1, 1, 2], dispatches) -> (g, d, G's points [dispatches + 1, S, SCORED, 2])`,
    the start first; `fresh` is `seeds [S] -> (g, d)`; `ascent` is `(d, points [S, N, 2]) -> [S, N, 2]`, the gradient
    of D's logits.
    """

    train: Callable[..., tuple[Any, Any, np.ndarray]]
    fresh: Callable[[Any], tuple[Any, Any]]
    ascent: Callable[[Any, Any], jax.Array]


def make_toy(config: Config) -> Toy:
    """Vmaps the library's step over seeds. This is slow for convolutions on CPU, but not for dense layers."""
    pair = build(config.net)
    feed = resident_feed(draw("target", POINTS, 0), None, mirror=False)  # its points are an argument of the program
    trainer = Trainer(config, task_of(), feed)
    dispatch = loop(trainer.step(), config.train.steps_per_dispatch, resident=True)
    run = jax.jit(jax.vmap(dispatch, in_axes=(0, None)), donate_argnums=0)
    begin = jax.jit(jax.vmap(lambda key, g, d: trainer.init({"g": g, "d": d}, key)))
    latents = draw_latents(jax.random.split(jax.random.key(9), SCORED), config.net.z_dim)
    look = jax.jit(jax.vmap(lambda g: pair.g.apply(g, latents)[0].reshape(SCORED, 2)))

    def train(g: Any, d: Any, keys: Any, points: np.ndarray, dispatches: int) -> tuple[Any, Any, np.ndarray]:
        state, snapshots = begin(keys, g, d), [np.asarray(look(g))]
        for _ in range(dispatches):
            state, _ = run(state, {"image": points})
            snapshots.append(np.asarray(look(state.nets["g"])))
        nets = jax.tree_util.tree_map(np.asarray, state.nets)
        return nets["g"], nets["d"], np.stack(snapshots)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def several(init: Any, salt: int, seeds: jax.Array) -> Any:
        return jax.vmap(lambda seed: init(jax.random.fold_in(jax.random.key(salt), seed)))(seeds)

    def fresh(seeds: Any) -> tuple[Any, Any]:
        return several(pair.g.init, 0, jnp.asarray(seeds)), several(pair.d.init, 1, jnp.asarray(seeds))

    def logits(d: Any, points: jax.Array) -> jax.Array:
        return pair.d.apply(d, points.reshape(-1, 1, 1, 2))[0].sum()

    return Toy(train, fresh, jax.jit(jax.vmap(jax.grad(logits, argnums=1))))


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two sets of N points `[N, 2]`: the mean distance of the best matching."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(a, b)
    return float(cost[linear_sum_assignment(cost)].mean())


def reached(points: np.ndarray) -> tuple[int, float]:
    """The number of modes with at least a quarter of N / MODES of the points `[N, 2]`, and the fraction near any mode."""
    distance = np.linalg.norm(points[:, None] - centres()[None], axis=-1)
    near = np.bincount(distance.argmin(1)[distance.min(1) < NEAR], minlength=MODES)
    return int((near >= 0.25 * len(points) / MODES).sum()), float(near.sum() / len(points))


def guidance(points: np.ndarray, ascent: np.ndarray) -> float:
    """Mean cosine between D's gradient at points and the direction to their nearest modes, both `[N, 2]`: 1 is a good D."""
    distance = np.linalg.norm(points[:, None] - centres()[None], axis=-1)
    way = centres()[distance.argmin(1)] - points
    lengths = np.linalg.norm(way, axis=-1) * np.linalg.norm(ascent, axis=-1)
    return float(((way * ascent).sum(-1) / np.maximum(lengths, 1e-12)).mean())
