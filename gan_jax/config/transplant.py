"""Policies of a transplant: what becomes of leaves that do not fit as they are."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class TransplantConfig:
    """What a transplant does with leaves that are absent, have no place, or have another shape or dtype."""

    missing: Literal["error", "init"] = "init"  # a target leaf that the source lacks; init = fresh values
    unused: Literal["error", "drop"] = "error"  # a source leaf that the target lacks
    shape: str = "adapt"  # a leaf of another shape: error, adapt (by its role), or the operations allowed: slice,widen
    width: Literal["silent", "net2wider"] = "silent"  # wider by new silent channels, or by copies that share the work
    d_width: Literal["silent", "net2wider"] | None = None  # the same for D, silent under spectral norm; None = width
    narrow: Literal["leading", "strongest"] = "leading"  # narrower: the first channels, or the most important ones
    classes: tuple[int, ...] | None = None  # source class that each class starts from, -1 = mean; None = the same ones
    dtype: Literal["error", "cast"] = "cast"  # a leaf of floats of another width, such as bfloat16
