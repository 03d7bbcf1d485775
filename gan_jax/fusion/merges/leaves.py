"""Shared parts of merges: checks that trees fit, arithmetic leaf by leaf in at least float32, and restored dtypes.

Donors are trees of one shape, such as the `params` of networks of one configuration, aligned with each other. Leaves
that are not floats are not merged: they are the base's, or the first donor's if there is no base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.trees import Flat, Tree, TreeError, did_you_mean, flatten, shape_of, unflatten

Weights = Sequence[float] | np.ndarray | jax.Array | None  # one for each donor


class MergeError(TreeError):
    """Donors do not fit each other or the merge; the message names the donor, the leaf and what would fit."""


def each_leaf(
    function: Callable[[str, list[jax.Array], jax.Array | None], jax.Array],
    donors: Sequence[Tree],
    base: Tree | None = None,
) -> Tree:
    """Maps `function(path, the donors' leaves, the base's leaf)` over float leaves, in at least float32; returns the tree."""
    leaves = float_leaves(donors, base)
    return rebuild({path: function(path, *args) for path, args in leaves.items()}, donors[0] if base is None else base)


def float_leaves(
    donors: Sequence[Tree], base: Tree | None = None
) -> dict[str, tuple[list[jax.Array], jax.Array | None]]:
    """Returns path -> the donors' float leaves and the base's, as at least float32.

    Raises:
      MergeError: there is no donor, or a donor's leaves or shapes differ from the base's (the first donor's).
    """
    if not donors:
        raise MergeError("no donors to merge; give at least one tree")
    flat, like = [flatten(donor) for donor in donors], None if base is None else flatten(base)
    for i, donor in enumerate(flat):
        check_fit(donor, flat[0] if like is None else like, f"donor {i}", "donor 0" if like is None else "the base")
    out = {}
    for path, leaf in (flat[0] if like is None else like).items():
        if is_float(leaf):
            donor_leaves = [donor[path] for donor in flat]
            double = any(x.dtype == np.float64 for x in (leaf, *donor_leaves))
            dtype = jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)
            wide = [jnp.asarray(x, dtype) for x in donor_leaves]
            out[path] = (wide, None if like is None else jnp.asarray(leaf, dtype))
    return out


def check_fit(flat: Flat, like: Flat, who: str, whom: str, *, floats: bool = False) -> None:
    """Checks that leaves have the paths and shapes of a reference.

    Args:
      flat, like: leaves by path, and those of the reference.
      who, whom: their names in an error message.
      floats: require only the float leaves of `like`; its other leaves are optional.

    Raises:
      MergeError: with the first leaf that differs.
    """
    advice = "; transplant all of them into one configuration first"
    required = {path: leaf for path, leaf in like.items() if not floats or is_float(leaf)}
    for path, leaf in required.items():
        if path not in flat:
            raise MergeError(f"{who} lacks the leaf {path!r} of {whom}{did_you_mean(path, flat)}{advice}")
        if tuple(flat[path].shape) != tuple(leaf.shape) or (not floats and is_float(flat[path]) != is_float(leaf)):
            raise MergeError(f"leaf {path!r} is {shape_of(flat[path])} in {who}, {shape_of(leaf)} in {whom}{advice}")
    if extra := [path for path in flat if path not in like]:
        raise MergeError(f"{who} has a leaf {extra[0]!r}, {whom} has none{did_you_mean(extra[0], like)}{advice}")


def rebuild(values: Mapping[str, jax.Array], like: Tree) -> Tree:
    """Replaces leaves of the tree `like` by these values, in the tree's dtypes."""
    leaves = flatten(like)
    cast = {path: x.astype(jax.dtypes.canonicalize_dtype(leaves[path].dtype)) for path, x in values.items()}
    return unflatten(leaves | cast, like=like)


def is_float(leaf: Any) -> bool:
    """Whether a leaf has a float dtype of any width."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def coefficients(weights: Weights, count: int, *, normalize: bool, missing: float = 1.0) -> list[Any]:
    """Returns a coefficient for each donor.

    Args:
      weights: one for each donor, may be traced; None = `missing` for all.
      count: number of donors.
      normalize: divide by their sum.
      missing: the weight of each donor if `weights` is None.

    Raises:
      MergeError: the number of weights is not `count`, or weights with sum zero are to be normalised.
    """
    if isinstance(weights, jax.Array):
        if weights.shape != (count,):
            raise MergeError(f"weights have the shape {list(weights.shape)}, for {count} donors it must be [{count}]")
        return list(weights / weights.sum() if normalize else weights)
    values = [float(w) for w in weights] if weights is not None else [missing] * count
    if len(values) != count:
        raise MergeError(f"{len(values)} weights for {count} donors; give one for each")
    total = sum(values)
    if normalize and (total == 0 or not np.isfinite(total)):
        raise MergeError(
            f"weights {values} sum to {total:g}, and mixing weights sum to 1; give some whose sum is not 0"
        )
    return [w / total for w in values] if normalize else values


def weighted_sum(weights: Sequence[Any], xs: Sequence[jax.Array]) -> jax.Array:
    """Computes `sum_i w_i x_i` in the dtype of x."""
    terms = [x * jnp.asarray(w, x.dtype) for w, x in zip(weights, xs, strict=True)]
    return sum(terms[1:], terms[0])
