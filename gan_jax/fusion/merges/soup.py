"""Greedy soup (Wortsman et al., ICML 2022): an average that a donor joins only if the score does not get worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gan_jax.fusion.merges.averages import average
from gan_jax.fusion.merges.leaves import MergeError, float_leaves
from gan_jax.trees import Tree


class Soup(NamedTuple):
    """A merged tree and the donors in it."""

    tree: Tree  # the uniform average of the selected donors
    selected: tuple[int, ...]  # indices of the selected donors, in the order of selection
    score: float  # of the average
    scores: tuple[float, ...]  # of each donor alone


def greedy_soup(donors: Sequence[Tree], score: Callable[[Tree], float]) -> Soup:
    """Adds donors to a uniform average, from the best to the worst; each stays if the score does not get worse.

    A noisy score selects by chance: use fixed draws, and data other than the reported. The score is computed `2 N - 1`
    times.

    Args:
      donors: trees of one shape.
      score: score of a tree; lower is better. Scores that are not finite rank last.

    Raises:
      MergeError: no donor, donors that do not fit each other, or none with a finite score.
    """
    float_leaves(donors)  # a check, before the slow scores
    alone = tuple(float(score(average([donor]))) for donor in donors)
    order = sorted((i for i, s in enumerate(alone) if math.isfinite(s)), key=lambda i: alone[i])
    if not order:
        raise MergeError(f"no donor has a finite score; they are {list(alone)}")
    selected, tree, best = [order[0]], average([donors[order[0]]]), alone[order[0]]
    for i in order[1:]:
        larger = average([donors[j] for j in (*selected, i)])
        if (candidate := float(score(larger))) <= best:
            selected, tree, best = [*selected, i], larger, candidate
    return Soup(tree, tuple(selected), best, alone)
