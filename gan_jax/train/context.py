"""The context of an update, which losses read, and the keys of its draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import LossConfig
from gan_jax.random_streams import Purpose
from gan_jax.train.state import GanState, Networks, Variables

if TYPE_CHECKING:
    from gan_jax.train.task import Task

# ----------------------------------------------------------------------------------------------------------------------
# Random draws of a step, with keys by (run, step, purpose, global example index) on any number of devices.


def example_index(per_device: int, axis_name: str | None) -> jax.Array:
    """The global indices `[per_device]` of this device's examples."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * per_device
    return first + jnp.arange(per_device)


def example_keys(state: GanState, purpose: Purpose, i: int | jax.Array, index: jax.Array) -> jax.Array:
    """Keys `[B]` of the examples `index [B]`, for the i-th use of a purpose in this step."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, state.step), int(purpose)), i)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


# ----------------------------------------------------------------------------------------------------------------------
# The context: networks, a batch, keys, and the outputs of the phase so far.

Batch = dict[str, jax.Array]  # every array leads with the batch axis
Sample = Any  # input of D: a pytree of arrays [B, ...]


class DOutput(NamedTuple):
    """D's output for one side, real or generated."""

    logits: jax.Array  # [B, ...]
    intermediates: dict[str, jax.Array]  # module path -> [B, ...], captured in the same pass


class LossOutput(NamedTuple):
    """The output of a phase's loss."""

    loss: jax.Array  # [] mean over this device's examples
    ctx: StepContext  # with samples and logits, for regularisers
    collections: Networks  # updated collections by network
    metrics: dict[str, jax.Array]
    extras: dict[str, Any] = {}  # new running values, the same on all devices


@dataclasses.dataclass(frozen=True)
class StepContext:
    """The context of one update of a phase, on one device.

    Attributes:
      loss: configuration of the loss.
      task: of the phase.
      nets: variables by network; the loss is differentiated by those that the phase trains.
      batch: B examples of this device.
      index: `[B]` global indices of the examples.
      keys: `(purpose) -> [B]` keys of this update; `(purpose, indices [N]) -> [N]` keys, the same on every device.
      step_keys: `(purpose) -> [B]` keys of this step, the same in all of its updates.
      latent_keys: `[B]` keys of the latents of `fake`.
      augment_p: `[]` strength of adaptive augmentation; None = there is none.
      extras: running values of the state before this update.
      constants: of the transfer method.
      update_count: `[]` number of earlier updates of this phase.
      sync: mean of a tree over devices.
      annealed: `(name, start) -> value` of an annealed value now.
      capture: module paths of D whose outputs are captured.
      step: `[]` of the run, the same in all updates of a step.
      images: `[]` real examples shown before this update.
      fake: generated samples; in G's phase they depend on G, in D's they do not.
      g_collections: updated collections of G, in G's phase; they depend on G too.
      x_real, x_fake: augmented real and generated samples, D's inputs; as `logits`, None in updates of a lazy regulariser.
      logits: `([B, ...], [B, ...])` of the two.
      intermediates: captured outputs of D's modules in the same pass, of both; in G's phase of the generated side only.
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
        """The real samples of the batch, before augmentation."""
        return self.task.real(self.batch)

    def augmented(self, sample: Sample, side: Purpose) -> Sample:
        """Augments a sample as one side of D's input."""
        return self.task.augment(self.keys(side), sample, self.augment_p)

    def discriminate(self, real: Sample, fake: Sample) -> tuple[DOutput, DOutput, Variables]:
        """Computes D's outputs for both sides and its collections, in one pass, or in two where examples influence each other."""
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
        """Computes D's output for one side by itself."""
        return self._apply_d(self.d, sample, self.batch)[0]

    def logits_of(self, sample: Sample) -> jax.Array:
        """Computes the logits `[B, ...]` of one side by itself."""
        return self.discriminate_one(sample).logits

    def _apply_d(self, d: Variables, sample: Sample, batch: Batch) -> tuple[DOutput, Variables]:
        if not self.capture:
            logits, collections = self.task.discriminate(d, sample, batch, True)
            return DOutput(logits, {}), collections
        if self.task.discriminate_capturing is None:
            raise ValueError(
                f"a method captures {', '.join(self.capture)} of D, but this task gives no intermediates of D"
            )
        logits, collections, intermediates = self.task.discriminate_capturing(d, sample, batch, True)
        if missing := [path for path in self.capture if path not in intermediates]:
            raise ValueError(f"D has no module {missing[0]!r} to capture; it has {', '.join(intermediates)}")
        return DOutput(logits, {path: intermediates[path] for path in self.capture}), collections
