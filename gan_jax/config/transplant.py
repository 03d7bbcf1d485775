"""Policies of a transplant: treatment of leaves that do not fit."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class TransplantConfig:
    """Policies for leaves that are absent, have no counterpart, or have another shape or dtype."""

    missing: Literal["error", "init"] = "init"  # a target leaf that the source lacks; init = fresh values
    unused: Literal["error", "drop"] = "error"  # a source leaf that the target lacks
    shape: str = "adapt"  # a leaf of another shape: error, adapt (by its role), or allowed operations: slice,widen
    width: Literal["silent", "net2wider"] = (
        "silent"  # wider networks: new silent channels, or copies that share the work
    )
    d_width: Literal["silent", "net2wider"] | None = None  # the same for D, silent under spectral norm; None = width
    narrow: Literal["leading", "strongest"] = (
        "leading"  # narrower networks: the first channels, or the most important ones
    )
    classes: tuple[int, ...] | None = None  # source class that each class starts from, -1 = mean; None = the same ones
    dtype: Literal["error", "cast"] = "cast"  # a leaf of floats with another width, such as bfloat16
