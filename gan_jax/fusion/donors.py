"""Donors brought into the order and on the scales of the network that they are mixed with. None changes its function."""

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
    """A donor, and how alike it is to the target.

    Attributes:
      variables: computing what they did.
      before, after: cosine of weights, or correlation of channels, as they came and as they are; None = not looked at.
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
    """Channels of a donor in the order of the target's, and free scales as the target has them.

    Args:
      layout: of both networks.
      target, donor: variables of plain networks.
      by: what has to be alike.
      scales: whether free scales follow.
      activations: `variables -> {module: outputs}` on inputs that are the same for both; for `by="activations"`.
      seed: of the search by weights.

    Raises:
      AlignError: the two differ in leaves or shapes; it names the leaf.
    """
    match = None
    if by == "weights":
        match = match_weights(layout, target, donor, seed=seed, from_inputs=True)
    elif by == "activations":
        if activations is None:
            raise ValueError("aligning by activations wants them: pass `activations`")
        match = match_activations(layout, activations(target), activations(donor))
    if match is not None:
        donor = permute(layout, donor, match.orders)
    if scales:
        donor = in_scales_of(layout, donor, target)
    return Aligned(donor) if match is None else Aligned(donor, match.before, match.after)
