"""The shapes of a task and of its phases: what is trained, by which losses, how often and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from gan_jax.nets import Net
from gan_jax.train.context import Batch, LossOutput, Sample, StepContext
from gan_jax.train.state import Networks, Variables

Extras = dict[str, Any]
Metrics = dict[str, jax.Array]


def no_terms(g_vars: Variables, sample: Sample, batch: Batch, keys: jax.Array) -> jax.Array | None:
    """A generator without other terms than the adversarial one."""
    return None


def absent(*args: Any, **options: Any) -> Any:
    """What a task lacks that a loss or a method asked for."""
    raise ValueError("this task has no such function: its networks do not generate and discriminate one kind of sample")


def _same_extras(extras: Extras, metrics: Metrics, update_count: jax.Array) -> Extras:
    return extras


@dataclasses.dataclass(frozen=True)
class Phase:
    """One update: which networks it trains, by which loss, how often in a step and over which part of the run.

    Attributes:
      name: of the phase, unique in its task.
      trains: the networks that one gradient of `loss` updates.
      loss: `ctx -> LossOutput`, differentiated.
      inputs: `ctx -> (ctx, collections by network)`, computed before without a gradient, such as D's fakes; None = nothing.
        Collections are kept where the network is trained by an active phase.
      latent_keys: `ctx -> [B]` keys of what is generated.
      repeats: updates in a step. They take the last `repeats` of the step's `train.d_steps` batches.
      counts: whether its updates count as real examples shown; where none does, the step counts all of its batches.
      start_kimg, end_kimg: thousand examples from which, and up to which, it is active; None = to the end.
      lr: step size; None = the configuration's.
      post_update: `(extras, metrics, updates done) -> extras`, after each update.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[StepContext], LossOutput]
    inputs: Callable[[StepContext], tuple[StepContext, Networks]] | None = None
    latent_keys: Callable[[StepContext], jax.Array] | None = None
    repeats: int = 1
    counts: bool = False
    start_kimg: float = 0.0
    end_kimg: float | None = None
    lr: float | None = None
    post_update: Callable[[Extras, Metrics, jax.Array], Extras] = _same_extras

    def is_active(self, images: float) -> bool:
        """Whether it is part of a step after so many examples."""
        return self.start_kimg * 1000 <= images and (self.end_kimg is None or images < self.end_kimg * 1000)


@dataclasses.dataclass(frozen=True)
class Task:
    """Networks and the phases that train them. What follows the first five attributes is for adversarial phases.

    Attributes:
      nets: the networks as they train, by name.
      phases: in the order of a step.
      averaged: the networks that have a moving average, which is sampled and evaluated.
      regularisers: names of the regularisers of `LossConfig` that this task can have; None = all.
      init_extras: the running values that its phases keep, at the start.
      generate: `(g_vars, batch, keys [B], train) -> (sample, collections)`; one PRNG key for every example.
      discriminate: `(d_vars, sample, batch, train) -> (logits [B, ...], collections)`.
      g_intermediates: `(g_vars, batch, keys [B]) -> {module path: [B, ...]}`: every module's output in evaluation mode.
      d_intermediates: `(d_vars, sample, batch) -> {module path: [B, ...]}`, the same.
      discriminate_capturing: `(d_vars, sample, batch, train) -> (logits, collections, {module path: [B, ...]})`:
        `discriminate` and every module's output in the same pass; None where nobody looks inside.
      real: `batch -> sample`: what of a batch D is shown as real.
      augment: `(keys [B], sample, p) -> sample`, on both sides, gradients through; `p []` is the state's strength of
        augmentation, None where it has none.
      vary: `(names, keys [B], sample) -> sample`: a policy of augmentations by name, for consistency regularisers.
      near: `(g_vars, batch, keys, keys, sigma) -> sample` in training mode: what `generate` makes of the first keys,
        its latents moved by normal noise of the second keys; None where there are no latents.
      path_lengths: `(g_vars, batch, keys, keys) -> [B]` of StyleGAN2's latents by the first keys, along noise by the
        second; None where G has no styles.
      terms: `(g_vars, sample, batch, keys) -> [B]` or None: what G minimises beside the adversarial loss.
      d_group: examples that D compares with each other, in evaluation too.
      examples_mix: whether examples influence each other inside D (batch norm), so that real and generated ones are
        judged in two passes instead of one.
    """

    nets: Mapping[str, Net]
    phases: tuple[Phase, ...]
    averaged: tuple[str, ...] = ("g",)
    regularisers: tuple[str, ...] | None = None
    init_extras: Callable[[], Extras] = dict
    generate: Callable[[Variables, Batch, jax.Array, bool], tuple[Sample, Variables]] = absent
    discriminate: Callable[[Variables, Sample, Batch, bool], tuple[jax.Array, Variables]] = absent
    g_intermediates: Callable[[Variables, Batch, jax.Array], dict[str, jax.Array]] = absent
    d_intermediates: Callable[[Variables, Sample, Batch], dict[str, jax.Array]] = absent
    real: Callable[[Batch], Sample] = absent
    augment: Callable[[jax.Array, Sample, jax.Array | None], Sample] = absent
    vary: Callable[[Sequence[str], jax.Array, Sample], Sample] = absent
    discriminate_capturing: (
        Callable[[Variables, Sample, Batch, bool], tuple[jax.Array, Variables, dict[str, jax.Array]]] | None
    ) = None
    near: Callable[[Variables, Batch, jax.Array, jax.Array, float], Sample] | None = None
    path_lengths: Callable[[Variables, Batch, jax.Array, jax.Array], jax.Array] | None = None
    terms: Callable[[Variables, Sample, Batch, jax.Array], jax.Array | None] = no_terms
    examples_mix: bool = False
    d_group: int = 1

    def active(self, images: float) -> tuple[str, ...]:
        """The names of the phases of a step after so many examples."""
        return tuple(phase.name for phase in self.phases if phase.is_active(images))

    def stages(self, total: float) -> list[tuple[str, ...]]:
        """The sets of active phases that a run of so many examples goes through, in order, each once."""
        marks = {0.0} | {1000 * p.start_kimg for p in self.phases}
        marks |= {1000 * p.end_kimg for p in self.phases if p.end_kimg is not None}
        return list(dict.fromkeys(self.active(mark) for mark in sorted(marks) if mark <= total))
