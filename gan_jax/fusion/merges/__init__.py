"""Merges in closed form: several trees of one shape into one. Nothing is trained.

All are pure functions of donors, which are trees such as the `params` of networks of one configuration (aligned with each
other and in one scale: `surgery.align`), and go leaf by leaf. `MERGES` has them by name behind one call:

    merged = merge("ties", donors, base=base, density=0.2)

What a merge needs beside its donors is in its row, `NEEDS` says what that is. All but "greedy_soup", which asks a score on
the way, work under `jit`. What goes beside parameters, such as running statistics, is `averages.merge_collections`'s.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.fusion.merges.averages import average
from gan_jax.fusion.merges.blend import blend
from gan_jax.fusion.merges.dare import dare, dare_votes
from gan_jax.fusion.merges.fisher import fisher_merge, gradient_matching
from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.fusion.merges.regmean import regmean
from gan_jax.fusion.merges.soup import greedy_soup
from gan_jax.fusion.merges.spherical import karcher, slerp
from gan_jax.fusion.merges.task_vectors import task_arithmetic, ties, ties_votes
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
    """A row.

    Attributes:
      function: takes `donors` and, by name, what is needed and what may be chosen.
      needs: what must be given; of `NEEDS`.
      count: how many donors there must be; None = any number.
      symmetric: whether donors and what belongs to each may be relabelled.
      leafwise: whether a leaf is made of the same leaf of the others alone, so that a part of the trees gives that part.
      votes: of merges that elect signs, what parts have to add up before they are merged: `majority` is its sign.
    """

    function: Callable[..., Tree]
    needs: tuple[str, ...] = ()
    count: int | None = None
    symmetric: bool = True
    leafwise: bool = False
    votes: Callable[..., Any] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What may be chosen, with the defaults."""
        taken = inspect.signature(self.function).parameters
        return {name: p.default for name, p in taken.items() if name not in ("donors", *self.needs)}


def merge(kind: str, donors: Sequence[Tree], *, base: Tree | None = None, **given: Any) -> Tree:
    """The donors merged into one tree, in the dtypes of the base (where a merge has one, else of the first donor).

    Args:
      kind: of `MERGES`.
      donors: trees of one shape.
      base: of the same shape; left aside by merges that have none.
      given: what the row needs, and of its options what is not as by default.

    Raises:
      MergeError: an unknown kind or option, something needed that is missing, or donors that do not fit.
    """
    if kind not in MERGES:
        raise MergeError(f"no merge {kind!r}{did_you_mean(kind, MERGES)}; there are {', '.join(MERGES)}")
    row = MERGES[kind]
    given = {name: value for name, value in {"base": base, **given}.items() if value is not None}
    if "base" not in row.needs:
        given.pop("base", None)
    if missing := [name for name in row.needs if name not in given]:
        raise MergeError(f"merge {kind!r} needs {missing[0]!r}: {NEEDS[missing[0]]}")
    if unknown := [name for name in given if name not in row.needs and name not in row.options]:
        known = [*row.needs, *row.options]
        taken = ", ".join(known) or "no options"
        raise MergeError(f"merge {kind!r} takes no {unknown[0]!r}{did_you_mean(unknown[0], known)}; it takes {taken}")
    for name, value in given.items():
        if name in row.options and not np.isfinite(_numbers(value)).all():
            raise MergeError(f"merge {kind!r}: {name} is {value}; give finite numbers")
    if row.count is not None and len(donors) != row.count:
        raise MergeError(f"merge {kind!r} is of {row.count} donors, but there are {len(donors)}")
    return row.function(donors=donors, **given)


def _numbers(value: Any) -> np.ndarray:
    """The numbers in an option; of what is no number, or learned and traced, none."""
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
