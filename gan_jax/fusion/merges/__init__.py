"""Merges in closed form: several trees of one shape into one. Nothing is trained.

Each merge is a pure function of donors and works leaf by leaf. Donors are trees such as the `params` of networks of one
configuration, aligned with each other and in one scale (`surgery.align`). `MERGES` lists the merges by name:

    merged = merge("ties", donors, base=base, density=0.2)

A row names the arguments that a merge needs, and `NEEDS` describes them. All but "greedy_soup", which evaluates a score,
work under `jit`. `averages.merge_collections` merges the other collections, such as running statistics.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.fusion.merges.averages import average, blend, greedy_soup, karcher, slerp
from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.fusion.merges.task_vectors import dare, dare_votes, task_arithmetic, ties, ties_votes
from gan_jax.fusion.merges.weighted import fisher_merge, gradient_matching, regmean
from gan_jax.trees import Tree, did_you_mean

NEEDS = {
    "base": "the tree that the donors were fine-tuned from",
    "fishers": "diagonal Fisher information, a tree for each donor",
    "grams": "for each donor, Gram matrices of what its kernels read (regmean.mean_gram)",
    "key": "a typed PRNG key",
    "score": "a function of a tree, lower is better",
    "mid": "the position of the transition, blend.position(resolution, level)",
}


@dataclasses.dataclass(frozen=True)
class Merge:
    """A row of `MERGES`.

    Attributes:
      function: takes `donors` and, by name, the needed arguments and the options.
      needs: names of the needed arguments; of `NEEDS`.
      count: required number of donors; None = any number.
      symmetric: whether donors, with their arguments, may be reordered.
      leafwise: whether a merged leaf depends on the donors' same leaf only, so that parts of trees can be merged.
      votes: for merges that elect signs, the votes of a part of a tree; `majority` is the sign of the parts' sum.
    """

    function: Callable[..., Tree]
    needs: tuple[str, ...] = ()
    count: int | None = None
    symmetric: bool = True
    leafwise: bool = False
    votes: Callable[..., Any] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Returns the options with their defaults."""
        parameters = inspect.signature(self.function).parameters
        return {name: p.default for name, p in parameters.items() if name not in ("donors", *self.needs)}


def merge(kind: str, donors: Sequence[Tree], *, base: Tree | None = None, **options: Any) -> Tree:
    """Merges donors into one tree, in the dtypes of the base (of the first donor for merges without a base).

    Args:
      kind: name of a merge, of `MERGES`.
      donors: trees of one shape.
      base: a tree of the same shape; ignored by merges without a base.
      options: the arguments that the row needs, and options that differ from their defaults.

    Raises:
      MergeError: an unknown kind or option, a missing argument, or donors that do not fit.
    """
    if kind not in MERGES:
        raise MergeError(f"no merge {kind!r}{did_you_mean(kind, MERGES)}; there are {', '.join(MERGES)}")
    row = MERGES[kind]
    values = {name: value for name, value in {"base": base, **options}.items() if value is not None}
    if "base" not in row.needs:
        values.pop("base", None)
    if missing := [name for name in row.needs if name not in values]:
        raise MergeError(f"merge {kind!r} needs {missing[0]!r}: {NEEDS[missing[0]]}")
    if unknown := [name for name in values if name not in row.needs and name not in row.options]:
        known = [*row.needs, *row.options]
        accepted = ", ".join(known) or "no options"
        raise MergeError(
            f"merge {kind!r} takes no {unknown[0]!r}{did_you_mean(unknown[0], known)}; it takes {accepted}"
        )
    for name, value in values.items():
        if name in row.options and not np.isfinite(_numbers(value)).all():
            raise MergeError(f"merge {kind!r}: {name} is {value}; give finite numbers")
    if row.count is not None and len(donors) != row.count:
        raise MergeError(f"merge {kind!r} is of {row.count} donors, but there are {len(donors)}")
    return row.function(donors=donors, **values)


def _numbers(value: Any) -> np.ndarray:
    """Returns the numbers in an option; none if it is no number, or traced."""
    try:
        return np.asarray(value, np.float64) if isinstance(value, float | int | Sequence | np.ndarray) else np.zeros(0)
    except (TypeError, ValueError):
        return np.zeros(0)


def _uniform(donors: Sequence[Tree]) -> Tree:
    return average(donors)


def _dare(combine: Any) -> Callable[..., Tree]:
    def thinned(
        base: Tree,
        donors: Sequence[Tree],
        key: Any,
        weights: Any = None,
        density: float = 0.1,
        lam: Any = 1.0,
        normalize: bool = False,
        majority: Any = None,
    ) -> Tree:
        return dare(
            base, donors, weights, key=key, density=density, combine=combine, lam=lam, normalize=normalize,
            majority=majority,
        )  # fmt: skip

    return thinned


def _soup(donors: Sequence[Tree], score: Callable[[Tree], float]) -> Tree:
    return greedy_soup(donors, score).tree


MERGES: dict[str, Merge] = {
    "uniform": Merge(_uniform, leafwise=True),
    "average": Merge(average, leafwise=True),
    "slerp": Merge(slerp, count=2, leafwise=True),
    "karcher": Merge(karcher, leafwise=True),
    "task_arithmetic": Merge(task_arithmetic, ("base",), leafwise=True),
    "ties": Merge(ties, ("base",), leafwise=True, votes=ties_votes),
    "dare_linear": Merge(_dare("linear"), ("base", "key"), symmetric=False, leafwise=True),
    "dare_ties": Merge(_dare("ties"), ("base", "key"), symmetric=False, leafwise=True, votes=dare_votes),
    "fisher": Merge(fisher_merge, ("fishers",)),
    "gradient_matching": Merge(gradient_matching, ("base", "fishers")),
    "regmean": Merge(regmean, ("grams",)),
    "greedy_soup": Merge(_soup, ("score",)),
    "layer_swap": Merge(blend, ("mid",), count=2, symmetric=False),
}
