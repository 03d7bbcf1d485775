"""Feeds, the sources of batches: resident on the device, or sent by the host; adaptive augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.augment.ada import INTERVAL, adapt
from gan_jax.config import AugmentConfig, Config
from gan_jax.data.convert import to_float
from gan_jax.train.context import Batch
from gan_jax.train.optim import annealed
from gan_jax.train.state import GanState

# ----------------------------------------------------------------------------------------------------------------------
# The two feeds.
#
# Both have a `draw(data, keys, i)`, so the step is the same. A resident set is sampled with replacement, each example by its
# own key: a step needs no host work, and a batch is the same on any number of devices.

Draw = Callable[[Any, jax.Array, Any], Batch]  # (data, keys [B], number of the batch in the step) -> batch

RESIDENT_BYTES = 2**30  # largest set that is resident on the device by default


@dataclasses.dataclass(frozen=True)
class Feed:
    """A source of batches.

    Attributes:
      draw: makes a batch inside the compiled step.
      resident: arrays that stay on the device; or None.
      batches: host iterator of `{"image": uint8 [B, H, W, C], ...}`, this process's part; or None.
      cursor, restore: the iterator's position as JSON, and back; None for a resident set, whose position is the
        state's step.
    """

    draw: Draw
    resident: dict[str, np.ndarray] | None = None
    batches: Iterator[dict[str, np.ndarray]] | None = None
    cursor: Callable[[], dict[str, Any]] | None = None
    restore: Callable[[dict[str, Any]], None] | None = None

    def stack(self, steps: int, d_steps: int) -> dict[str, np.ndarray]:
        """The next batches of a dispatch, `[steps, d_steps, B, ...]`."""
        assert self.batches is not None
        rows = [next(self.batches) for _ in range(steps * d_steps)]
        return {k: np.stack([row[k] for row in rows]).reshape(steps, d_steps, *rows[0][k].shape) for k in rows[0]}


Prepare = Callable[[Batch, jax.Array], Batch]  # (stored examples, keys [B]) -> batch of a step


def resident(data: dict[str, np.ndarray], prepare: Prepare = lambda batch, keys: batch) -> Feed:
    """Makes a feed that samples arrays `[N, ...]` on the device with replacement; a batch has their indices, `index [B]`.

    Args:
      data: arrays that lead with the axis of examples.
      prepare: preprocessing of a batch by the task, such as images to floats, and joint flips of pairs.
    """
    count = len(next(iter(data.values())))

    def draw(data: dict[str, jax.Array], keys: jax.Array, _: Any) -> Batch:
        draws = jax.vmap(jax.random.split)(keys)
        index = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(draws[:, 0])
        return prepare({name: values[index] for name, values in data.items()} | {"index": index}, draws[:, 1])

    return Feed(draw, resident=data)


def prepare_images(mirror: bool) -> Prepare:
    """Makes a preprocessing of images: floats in [-1, 1], mirrored half of the time with `mirror`. float32 images stay."""

    def prepare(batch: Batch, keys: jax.Array) -> Batch:
        image = batch["image"] if batch["image"].dtype == jnp.float32 else to_float(batch["image"])
        if mirror:
            flip = jax.vmap(jax.random.bernoulli)(keys)
            image = jnp.where(flip[:, None, None, None], image[:, :, ::-1], image)
        return batch | {"image": image}

    return prepare


def resident_feed(images: np.ndarray, labels: np.ndarray | None, mirror: bool) -> Feed:
    """Makes a feed that samples `images [N, H, W, C]`, uint8 or float32, on the device, half of them mirrored with `mirror`."""
    data = {"image": images} | ({} if labels is None else {"label": labels.astype(np.int32)})
    return resident(data, prepare_images(mirror))


def streamed_feed(pipeline: Any) -> Feed:
    """Makes a feed from a host pipeline: an iterator with `cursor()` and `restore(cursor)`."""

    def draw(data: dict[str, jax.Array], keys: jax.Array, i: Any) -> Batch:
        batch = jax.tree_util.tree_map(lambda x: x[i], data)
        return batch | {"image": to_float(batch["image"])}

    return Feed(draw, batches=pipeline, cursor=pipeline.cursor, restore=pipeline.restore)


# ----------------------------------------------------------------------------------------------------------------------
# Adaptive augmentation (ADA) in training: its strength is a leaf of the state, adapted after every few D updates.

Extras = dict[str, jax.Array]


def init_augment(config: AugmentConfig) -> Extras:
    """The extras of ADA: `ada_p []`, the strength, and `ada_signs []`, the sum of mean signs since its last change."""
    if config.ada is None:
        return {}
    return {"ada_p": jnp.float32(config.ada_p), "ada_signs": jnp.zeros((), jnp.float32)}


def strength(config: Config, state: GanState) -> jax.Array | None:
    """The strength of ADA, a probability `[]` of each transform; None without ADA."""
    if config.augment.ada is not None and config.anneal.ada_p is not None:
        return jnp.asarray(annealed(config.anneal, "ada_p", config.augment.ada_p, state.images), jnp.float32)
    return state.extras.get("ada_p")


def adapt_augment(config: AugmentConfig, extras: Extras, sign: jax.Array, updates: jax.Array, batch: int) -> Extras:
    """Adapts the strength of ADA after a D update: the new extras.

    Args:
      config: target and speed of ADA.
      extras: before the update.
      sign: `[]` mean sign of D's logits of the real images, over all devices.
      updates: `[]` number of D updates, with this one.
      batch: images in a minibatch, over all devices.
    """
    if config.ada is None or config.ada_target is None:
        return extras
    signs, due = extras["ada_signs"] + sign, updates % INTERVAL == 0
    changed = adapt(extras["ada_p"], signs / INTERVAL, INTERVAL * batch, config.ada_target, config.ada_kimg)
    return {
        **extras,
        "ada_p": jnp.where(due, changed, extras["ada_p"]),
        "ada_signs": jnp.where(due, 0.0, signs),
    }
