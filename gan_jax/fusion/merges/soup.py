"""Greedy soup (Wortsman et al., ICML 2022): an average to which a donor is added only if it does not get worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gan_jax.fusion.merges.averages import average
from gan_jax.fusion.merges.leaves import MergeError, float_leaves
from gan_jax.trees import Tree


class Soup(NamedTuple):
    """What was cooked."""

    tree: Tree  # the uniform average of those kept
    kept: tuple[int, ...]  # donors, in the order in which they were added
    score: float  # of the average
    scores: tuple[float, ...]  # of each donor by itself


def greedy_soup(donors: Sequence[Tree], score: Callable[[Tree], float]) -> Soup:
    """Donors from the best to the worst; each stays in the uniform average if that scores no worse with it.

    The score is no better than its noise: use one with fixed draws, on data that is not what is reported on. It is asked
    for `2 N - 1` times.

    Args:
      donors: trees of one shape.
      score: of a tree; lower is better. One that is not finite is worse than all others.

    Raises:
      MergeError: no donor, donors that do not fit each other, or none with a finite score.
    """
    float_leaves(donors)  # whether they fit, before scores are waited for
    alone = tuple(float(score(average([donor]))) for donor in donors)
    order = sorted((i for i, s in enumerate(alone) if math.isfinite(s)), key=lambda i: alone[i])
    if not order:
        raise MergeError(f"no donor has a finite score; they are {list(alone)}")
    kept, tree, best = [order[0]], average([donors[order[0]]]), alone[order[0]]
    for i in order[1:]:
        more = average([donors[j] for j in (*kept, i)])
        if (found := float(score(more))) <= best:
            kept, tree, best = [*kept, i], more, found
    return Soup(tree, tuple(kept), best, alone)
