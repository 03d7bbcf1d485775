"""What is on the table while one network is updated: the two networks, a batch, what G made of it, what D sees of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import LossConfig
from gan_jax.tasks import Batch, Task
from gan_jax.tasks.task import Sample
from gan_jax.train.draws import Purpose
from gan_jax.train.state import Variables


@dataclasses.dataclass(frozen=True)
class Turn:
    """One update of one network, on one device.

    Attributes:
      loss: what the networks pay.
      task: the game.
      g, d: variables; those of the network that is updated are what is differentiated.
      batch: of this device, B examples.
      index: `[B]` global indices of the examples.
      keys: purpose -> `[B]` keys.
      latents: `[B]` keys that `fake` was made of.
      p: `[]` strength of adaptive augmentation, None without.
      extras: running values of the state, as they were before this update.
      done: `[]` updates of this network before this one.
      kept: what a transfer method keeps of its start.
      sync: the mean of a tree over devices.
      now: `(name, start) -> value` of what is annealed, as it is at this time.
      fake: what G made: in G's turn it depends on G, in D's it does not.
      seen, made: real and generated samples as D saw them; None in updates of a regulariser alone, as `logits`.
      logits: `([B], [B])` of the two.
    """

    loss: LossConfig
    task: Task
    g: Variables
    d: Variables
    batch: Batch
    index: jax.Array
    keys: Callable[[Purpose], jax.Array]
    latents: jax.Array
    p: jax.Array | None
    extras: dict[str, Any]
    kept: dict[str, Any]
    done: jax.Array
    sync: Callable[[Any], Any]
    now: Callable[[str, float], float | jax.Array]
    fake: Sample = None
    seen: Sample = None
    made: Sample = None
    logits: tuple[jax.Array, jax.Array] | None = None

    @property
    def real(self) -> Sample:
        """What of the batch D is shown as real, before augmentation."""
        return self.task.real(self.batch)

    def augmented(self, sample: Sample, side: Purpose) -> Sample:
        """A sample as D sees it on one side."""
        return self.task.augment(self.keys(side), sample, self.p)

    def judge(self, real: Sample, fake: Sample) -> tuple[jax.Array, jax.Array, Variables]:
        """Logits `[B]` of both sides and D's collections: one pass over both, or two where examples influence each other."""
        if self.task.examples_mix:
            logits_real, collections = self.task.discriminate(self.d, real, self.batch, True)
            logits_fake, collections = self.task.discriminate({**self.d, **collections}, fake, self.batch, True)
            return logits_real, logits_fake, collections
        join = lambda a, b: jnp.concatenate([a, b])
        both = jax.tree_util.tree_map(join, real, fake)
        labels = jax.tree_util.tree_map(join, self.batch, self.batch)
        logits, collections = self.task.discriminate(self.d, both, labels, True)
        return logits[: len(self.index)], logits[len(self.index) :], collections

    def judge_one(self, sample: Sample) -> jax.Array:
        """Logits `[B]` of one side by itself."""
        return self.task.discriminate(self.d, sample, self.batch, True)[0]
