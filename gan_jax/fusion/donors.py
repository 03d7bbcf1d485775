"""Alignment of donors with the target: order of channels and free scales. No donor's function changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from gan_jax.surgery.align import in_scales_of, match_activations, match_weights, permute
from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import Tree

By = Literal["weights", "activations", "none"]


@dataclasses.dataclass(frozen=True)
class Aligned:
    """An aligned donor, and its similarity to the target.

    Attributes:
      variables: the donor's variables; its function is unchanged.
      before, after: cosine of weights, or correlation of channels, before and after the alignment; None = not measured.
    """

    variables: Tree
    before: float | None = None
    after: float | None = None


def align_donor(
    layout: Layout,
    target: Tree,
    donor: Tree,
    *,
    by: By = "weights",
    scales: bool = True,
    activations: Callable[[Tree], dict[str, Any]] | None = None,
    seed: int = 0,
) -> Aligned:
    """Permutes a donor's channels into the target's order and gives it the target's free scales.

    Args:
      layout: layout of both networks.
      target, donor: variables of plain networks.
      by: what is matched: weights, activations, or nothing.
      scales: whether free scales are matched too.
      activations: `variables -> {module: outputs}` on the same inputs for both networks; for `by="activations"`.
      seed: seed of the search by weights.

    Raises:
      AlignError: the two differ in leaves or shapes; it names the leaf.
    """
    match = None
    if by == "weights":
        match = match_weights(layout, target, donor, seed=seed, from_inputs=True)
    elif by == "activations":
        if activations is None:
            raise ValueError("aligning by activations needs them: pass `activations`")
        match = match_activations(layout, activations(target), activations(donor))
    if match is not None:
        donor = permute(layout, donor, match.orders)
    if scales:
        donor = in_scales_of(layout, donor, target)
    return Aligned(donor) if match is None else Aligned(donor, match.before, match.after)
