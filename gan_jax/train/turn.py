"""What is on the table while one network is updated: the two networks, a batch, what G made of it, what D sees of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import LossConfig
from gan_jax.tasks import Batch, Task
from gan_jax.tasks.task import Sample
from gan_jax.train.draws import Purpose
from gan_jax.train.state import Variables


class Judged(NamedTuple):
    """What D said of one side."""

    logits: jax.Array  # [B]
    inside: dict[str, jax.Array]  # module path -> [B, ...], of those that a method looks at, in the same pass


@dataclasses.dataclass(frozen=True)
class Turn:
    """One update of one network, on one device.

    Attributes:
      loss: what the networks pay.
      task: the game.
      g, d: variables; those of the network that is updated are what is differentiated.
      batch: of this device, B examples.
      index: `[B]` global indices of the examples.
      keys: purpose -> `[B]` keys; `(purpose, indices [N]) -> [N]` keys, the same on every device.
      latents: `[B]` keys that `fake` was made of.
      p: `[]` strength of adaptive augmentation, None without.
      extras: running values of the state, as they were before this update.
      done: `[]` updates of this network before this one.
      kept: what a transfer method keeps of its start.
      sync: the mean of a tree over devices.
      now: `(name, start) -> value` of what is annealed, as it is at this time.
      fake: what G made: in G's turn it depends on G, in D's it does not.
      left: the collections that G's pass left, in G's turn; they depend on G too.
      seen, made: real and generated samples as D saw them; None in updates of a regulariser alone, as `logits`.
      logits: `([B], [B])` of the two.
      inside: what modules of D gave in the same pass, of the two; in G's turn of the generated side alone.
      looks: the paths of these modules.
      step: `[]` of the run, the same in all updates of a step.
      images: `[]` real images shown to D before this update.
    """

    loss: LossConfig
    task: Task
    g: Variables
    d: Variables
    batch: Batch
    index: jax.Array
    keys: Callable[..., jax.Array]
    latents: jax.Array
    p: jax.Array | None
    extras: dict[str, Any]
    kept: dict[str, Any]
    done: jax.Array
    sync: Callable[[Any], Any]
    now: Callable[[str, float], float | jax.Array]
    fake: Sample = None
    left: Variables | None = None
    seen: Sample = None
    made: Sample = None
    logits: tuple[jax.Array, jax.Array] | None = None
    inside: tuple[dict[str, jax.Array], dict[str, jax.Array]] | None = None
    looks: tuple[str, ...] = ()
    step: jax.Array | int = 0
    images: jax.Array | int = 0

    @property
    def real(self) -> Sample:
        """What of the batch D is shown as real, before augmentation."""
        return self.task.real(self.batch)

    def augmented(self, sample: Sample, side: Purpose) -> Sample:
        """A sample as D sees it on one side."""
        return self.task.augment(self.keys(side), sample, self.p)

    def look(self, real: Sample, fake: Sample) -> tuple[Judged, Judged, Variables]:
        """What D says of both sides, and its collections: one pass, or two where examples influence each other."""
        if self.task.examples_mix:
            of_real, collections = self._ask(self.d, real, self.batch)
            of_fake, collections = self._ask({**self.d, **collections}, fake, self.batch)
            return of_real, of_fake, collections
        join = lambda a, b: jnp.concatenate([a, b])
        both = jax.tree_util.tree_map(join, real, fake)
        labels = jax.tree_util.tree_map(join, self.batch, self.batch)
        of_both, collections = self._ask(self.d, both, labels)
        n = len(self.index)
        cut = lambda part: jax.tree_util.tree_map(lambda x: x[part], of_both)
        return cut(slice(n)), cut(slice(n, None)), collections

    def look_one(self, sample: Sample) -> Judged:
        """What D says of one side by itself."""
        return self._ask(self.d, sample, self.batch)[0]

    def judge(self, real: Sample, fake: Sample) -> tuple[jax.Array, jax.Array, Variables]:
        """Logits `[B]` of both sides and D's collections."""
        of_real, of_fake, collections = self.look(real, fake)
        return of_real.logits, of_fake.logits, collections

    def judge_one(self, sample: Sample) -> jax.Array:
        """Logits `[B]` of one side by itself."""
        return self.look_one(sample).logits

    def _ask(self, d: Variables, sample: Sample, batch: Batch) -> tuple[Judged, Variables]:
        if not self.looks:
            logits, collections = self.task.discriminate(d, sample, batch, True)
            return Judged(logits, {}), collections
        if self.task.look is None:
            raise ValueError(f"a method looks at {', '.join(self.looks)} inside D, but this task shows nothing of D")
        logits, collections, inside = self.task.look(d, sample, batch, True)
        if missing := [path for path in self.looks if path not in inside]:
            raise ValueError(f"D has no module {missing[0]!r} to look at; it has {', '.join(inside)}")
        return Judged(logits, {path: inside[path] for path in self.looks}), collections
