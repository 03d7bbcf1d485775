"""The types of a task and its phases: what is trained, by which losses, how often and when."""

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
    """The loss terms of a generator that has only the adversarial one: none."""
    return None


def absent(*args: Any, **options: Any) -> Any:
    """Stands for a function that a task lacks; raises ValueError when it is called."""
    raise ValueError("this task has no such function: its networks do not generate and discriminate one kind of sample")


def _same_extras(extras: Extras, metrics: Metrics, update_count: jax.Array) -> Extras:
    return extras


@dataclasses.dataclass(frozen=True)
class Phase:
    """A kind of update: which networks it trains, by which loss, how often in a step and in which part of the run.

    Attributes:
      name: of the phase, unique in its task.
      trains: networks that one gradient of `loss` updates.
      loss: `ctx -> LossOutput`, differentiated.
      inputs: `ctx -> (ctx, collections by network)`, computed before the loss without a gradient, such as D's fakes; None =
        there are none. Collections are kept for networks that an active phase trains.
      latent_keys: `ctx -> [B]`, keys of the latents.
      repeats: updates in a step; they use the last `repeats` of the step's `train.d_steps` batches.
      counts: whether its batches count as real examples shown; where no phase counts, the step counts all batches.
      start_kimg, end_kimg: first and last thousand examples in which it is active; None = to the end.
      lr: step size; None = the configuration's.
      post_update: `(extras, metrics, number of updates) -> extras`, after each update.
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
        """Whether the phase is part of a step after `images` examples."""
        return self.start_kimg * 1000 <= images and (self.end_kimg is None or images < self.end_kimg * 1000)


@dataclasses.dataclass(frozen=True)
class Task:
    """Networks and the phases that train them. Attributes after the first five are for adversarial phases.

    Attributes:
      nets: networks in training, by name.
      phases: in the order of a step.
      averaged: networks with a moving average, which is sampled and evaluated.
      regularisers: names of those regularisers of `LossConfig` that this task can have; None = all.
      init_extras: initial running values of its phases.
      generate: `(g_vars, batch, keys [B], train) -> (sample, collections)`; one PRNG key for each example.
      discriminate: `(d_vars, sample, batch, train) -> (logits [B, ...], collections)`.
      g_intermediates: `(g_vars, batch, keys [B]) -> {module path: [B, ...]}`: every module's output in evaluation mode.
      d_intermediates: `(d_vars, sample, batch) -> {module path: [B, ...]}`, the same.
      discriminate_capturing: `(d_vars, sample, batch, train) -> (logits, collections, {module path: [B, ...]})`:
        `discriminate` with every module's output in the same pass; None = it cannot be captured.
      real: `batch -> sample`, the real samples of a batch.
      augment: `(keys [B], sample, p) -> sample`, differentiable, for both sides; `p []` is the state's strength of
        augmentation, None without one.
      vary: `(names, keys [B], sample) -> sample`: a policy of augmentations by name, for consistency regularisers.
      near: `(g_vars, batch, keys, keys, sigma) -> sample` in training mode: `generate` with the first keys, and normal
        noise by the second keys on the latents; None where there are no latents.
      path_lengths: `(g_vars, batch, keys, keys) -> [B]`, StyleGAN2's path lengths for latents by the first keys and noise
        by the second; None where G has no styles.
      terms: `(g_vars, sample, batch, keys) -> [B]` or None, loss terms of G beside the adversarial one.
      d_group: number of examples that D compares with each other, in evaluation too.
      examples_mix: whether examples influence each other inside D (batch norm), so that real and generated samples need
        two passes instead of one.
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
        """The names of the active phases of a step after `images` examples."""
        return tuple(phase.name for phase in self.phases if phase.is_active(images))

    def stages(self, total: float) -> list[tuple[str, ...]]:
        """The sets of active phases of a run of `total` examples, in order, each once."""
        marks = {0.0} | {1000 * p.start_kimg for p in self.phases}
        marks |= {1000 * p.end_kimg for p in self.phases if p.end_kimg is not None}
        return list(dict.fromkeys(self.active(mark) for mark in sorted(marks) if mark <= total))
