"""What a loss sees in one update: networks, a batch, keys, and what the phase has made so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import LossConfig
from gan_jax.random_streams import Purpose
from gan_jax.train.state import Networks, Variables

if TYPE_CHECKING:
    from gan_jax.train.task import Task

Batch = dict[str, jax.Array]  # every array leads with the batch axis
Sample = Any  # what D sees: a pytree of arrays [B, ...]


class DOutput(NamedTuple):
    """What D gives for one side."""

    logits: jax.Array  # [B, ...]
    intermediates: dict[str, jax.Array]  # module path -> [B, ...], of those that are captured in the same pass


class LossOutput(NamedTuple):
    """What the loss of a phase gives."""

    loss: jax.Array  # [] mean over this device's examples
    ctx: StepContext  # with what was generated and judged, for regularisers
    collections: Networks  # updated collections by network
    metrics: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class StepContext:
    """One update of a phase, on one device.

    Attributes:
      loss: configuration of the loss.
      task: whose phase it is.
      nets: variables by network; those that the phase trains are what is differentiated.
      batch: of this device, B examples.
      index: `[B]` global indices of the examples.
      keys: `(purpose) -> [B]` keys of this update; `(purpose, indices [N]) -> [N]` keys, the same on every device.
      step_keys: `(purpose) -> [B]` keys of this step, the same in all of its updates.
      latent_keys: `[B]` keys that `fake` is made of.
      augment_p: `[]` strength of adaptive augmentation, None without.
      extras: running values of the state, as they were before this update.
      constants: what a transfer method keeps of its start.
      update_count: `[]` updates of this phase before this one.
      sync: the mean of a tree over devices.
      annealed: `(name, start) -> value` of what is annealed, as it is at this time.
      capture: the module paths of D whose outputs are kept.
      step: `[]` of the run, the same in all updates of a step.
      images: `[]` real examples shown before this update.
      fake: what G generates: in G's phase it depends on G, in D's it does not.
      g_collections: the collections that G's pass left, in G's phase; they depend on G too.
      x_real, x_fake: real and generated samples as D sees them, augmented; None in updates of a regulariser alone, as `logits`.
      logits: `([B, ...], [B, ...])` of the two.
      intermediates: captured outputs of D's modules in the same pass, of the two; in G's phase of the generated side alone.
    """

    loss: LossConfig
    task: Task
    nets: Networks
    batch: Batch
    index: jax.Array
    keys: Callable[..., jax.Array]
    step_keys: Callable[[Purpose], jax.Array]
    latent_keys: jax.Array
    augment_p: jax.Array | None
    extras: dict[str, Any]
    constants: dict[str, Any]
    update_count: jax.Array
    sync: Callable[[Any], Any]
    annealed: Callable[[str, float], float | jax.Array]
    capture: tuple[str, ...] = ()
    step: jax.Array | int = 0
    images: jax.Array | int = 0
    fake: Sample = None
    g_collections: Variables | None = None
    x_real: Sample = None
    x_fake: Sample = None
    logits: tuple[jax.Array, jax.Array] | None = None
    intermediates: tuple[dict[str, jax.Array], dict[str, jax.Array]] | None = None

    def replace(self, **changes: Any) -> StepContext:
        """A context with other values."""
        return dataclasses.replace(self, **changes)

    def with_nets(self, **variables: Variables) -> StepContext:
        """A context with other variables of some networks."""
        return dataclasses.replace(self, nets={**self.nets, **variables})

    @property
    def g(self) -> Variables:
        """Variables of the network `g`."""
        return self.nets["g"]

    @property
    def d(self) -> Variables:
        """Variables of the network `d`."""
        return self.nets["d"]

    @property
    def real(self) -> Sample:
        """What of the batch D is shown as real, before augmentation."""
        return self.task.real(self.batch)

    def augmented(self, sample: Sample, side: Purpose) -> Sample:
        """A sample as D sees it on one side."""
        return self.task.augment(self.keys(side), sample, self.augment_p)

    def discriminate(self, real: Sample, fake: Sample) -> tuple[DOutput, DOutput, Variables]:
        """D's outputs for both sides, and its collections: one pass, or two where examples influence each other."""
        if self.task.examples_mix:
            of_real, collections = self._apply_d(self.d, real, self.batch)
            of_fake, collections = self._apply_d({**self.d, **collections}, fake, self.batch)
            return of_real, of_fake, collections
        join = lambda a, b: jnp.concatenate([a, b])
        both = jax.tree_util.tree_map(join, real, fake)
        labels = jax.tree_util.tree_map(join, self.batch, self.batch)
        of_both, collections = self._apply_d(self.d, both, labels)
        n = len(self.index)
        cut = lambda part: jax.tree_util.tree_map(lambda x: x[part], of_both)
        return cut(slice(n)), cut(slice(n, None)), collections

    def discriminate_one(self, sample: Sample) -> DOutput:
        """D's output for one side by itself."""
        return self._apply_d(self.d, sample, self.batch)[0]

    def logits_of(self, sample: Sample) -> jax.Array:
        """Logits `[B, ...]` of one side by itself."""
        return self.discriminate_one(sample).logits

    def _apply_d(self, d: Variables, sample: Sample, batch: Batch) -> tuple[DOutput, Variables]:
        if not self.capture:
            logits, collections = self.task.discriminate(d, sample, batch, True)
            return DOutput(logits, {}), collections
        if self.task.discriminate_capturing is None:
            raise ValueError(f"a method captures {', '.join(self.capture)} of D, but this task shows nothing inside D")
        logits, collections, intermediates = self.task.discriminate_capturing(d, sample, batch, True)
        if missing := [path for path in self.capture if path not in intermediates]:
            raise ValueError(f"D has no module {missing[0]!r} to capture; it has {', '.join(intermediates)}")
        return DOutput(logits, {path: intermediates[path] for path in self.capture}), collections
