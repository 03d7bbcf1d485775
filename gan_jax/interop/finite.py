"""Checks that weights can be computed with, for all that uses weights; what only shows them does not call these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.trees import flatten

VARIANCE = re.compile(r"(?:.*/)?batch_stats/(?:.*/)?var")


def not_finite(array: Any) -> str | None:
    """What an array holds besides finite numbers, in words: `3 of 24 values that are not finite (nan)`; or None."""
    array = np.asarray(array)
    if not array.size or not jnp.issubdtype(array.dtype, jnp.inexact):
        return None
    wide = array if array.dtype.itemsize >= 4 else array.astype(np.float32)  # of the small ones not all have min
    with np.errstate(invalid="ignore"):
        ends = (wide.min(), wide.max()) if wide.dtype.kind == "f" else (wide.real.sum(), wide.imag.sum())
    if not np.isfinite(ends).all():  # nan and inf come through both; no array of truth values is made for what is whole
        bad = wide[~np.isfinite(wide)]
        if bad.size:
            kinds = [word for word, is_it in (("nan", np.isnan), ("inf", np.isinf)) if is_it(bad).any()]
            return f"{bad.size:,} of {array.size:,} values that are not finite ({' and '.join(kinds)})"
    return None


def negative_variances(leaves: Mapping[str, Any]) -> dict[str, float]:
    """Path -> the smallest value, of running variances that hold one below zero."""
    flat = flatten(leaves)
    lowest = {path: float(np.min(leaf)) for path, leaf in flat.items() if VARIANCE.fullmatch(path) and leaf.size}
    return {path: value for path, value in lowest.items() if value < 0}


FAILED_TRAINING = (
    "the training that made it has failed; take weights from before that (gan-jax inspect and diff open these)"
)
OVERFLOW = "the weights that it is computed from are finite, and too large for it; gan-jax inspect shows their ranges"


def check_finite(
    leaves: Mapping[str, Any], where: str, error: type[Exception], *, reason: str = FAILED_TRAINING
) -> None:
    """Checks that all values of weights are finite.

    Args:
      leaves: by path, or trees of them.
      where: they come from, for the message.
      error: to raise.
      reason: why they may not be, for the message; `OVERFLOW` for what was computed from finite weights.

    Raises:
      error: names the first leaf that holds nan or inf, and where it comes from.
    """
    for path, leaf in flatten(leaves).items():
        if getattr(leaf, "dtype", None) is not None and (why := not_finite(leaf)):
            raise error(f"leaf {path!r} of {where} holds {why}: {reason}")
