"""The shape of a task. Unconditional and conditional images now; paired images and text fit the same three functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

Variables = dict[str, Any]
Batch = dict[str, jax.Array]  # every array leads with the batch axis
Sample = Any  # what D judges: a pytree of arrays [B, ...]


def no_terms(g_vars: Variables, sample: Sample, batch: Batch, keys: jax.Array) -> jax.Array | None:
    """A generator without other terms than the adversarial one."""
    return None


@dataclasses.dataclass(frozen=True)
class Task:
    """A game between two networks.

    Attributes:
      init_g, init_d: `key -> variables`.
      generate: `(g_vars, batch, keys [B], train) -> (sample, collections)`; one PRNG key for every example.
      discriminate: `(d_vars, sample, batch, train) -> (logits [B], collections)`.
      inside_g: `(g_vars, batch, keys [B]) -> {module path: [B, ...]}`: what every module gives in evaluation mode.
      inside_d: `(d_vars, sample, batch) -> {module path: [B, ...]}`, the same.
      look: `(d_vars, sample, batch, train) -> (logits [B], collections, {module path: [B, ...]})`: `discriminate`, and
        what every module gives in the same pass; None where nobody looks inside.
      real: `batch -> sample`: what of a batch D is shown as real.
      augment: `(keys [B], sample, p) -> sample`, on both sides, gradients through; `p []` is the state's strength of
        augmentation, None where it has none.
      vary: `(names, keys [B], sample) -> sample`: a policy of augmentations by name, for consistency regularisers.
      near: `(g_vars, batch, keys, keys, sigma) -> sample` in training mode: what `generate` makes of the first keys,
        its latents moved by normal noise of the second keys; None where there are no latents.
      path_lengths: `(g_vars, batch, keys, keys) -> [B]` of StyleGAN2's latents by the first keys, along noise by the
        second; None where G has no styles.
      terms: `(g_vars, sample, batch, keys) -> [B]` or None: what G minimises beside the game.
      d_group: examples that D compares with each other, in evaluation too.
      examples_mix: whether examples influence each other inside D (batch norm), so that real and generated ones are
        judged in two passes instead of one.
    """

    init_g: Callable[[jax.Array], Variables]
    init_d: Callable[[jax.Array], Variables]
    generate: Callable[[Variables, Batch, jax.Array, bool], tuple[Sample, Variables]]
    discriminate: Callable[[Variables, Sample, Batch, bool], tuple[jax.Array, Variables]]
    inside_g: Callable[[Variables, Batch, jax.Array], dict[str, jax.Array]]
    inside_d: Callable[[Variables, Sample, Batch], dict[str, jax.Array]]
    real: Callable[[Batch], Sample]
    augment: Callable[[jax.Array, Sample, jax.Array | None], Sample]
    vary: Callable[[Sequence[str], jax.Array, Sample], Sample]
    look: Callable[[Variables, Sample, Batch, bool], tuple[jax.Array, Variables, dict[str, jax.Array]]] | None = None
    near: Callable[[Variables, Batch, jax.Array, jax.Array, float], Sample] | None = None
    path_lengths: Callable[[Variables, Batch, jax.Array, jax.Array], jax.Array] | None = None
    terms: Callable[[Variables, Sample, Batch, jax.Array], jax.Array | None] = no_terms
    examples_mix: bool = False
    d_group: int = 1
