"""Seeded few-shot subsets, the same on every machine, with hashes to report."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from gan_jax.data.images import DataError
from gan_jax.seeds import SeedError, check_seed


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The two parts of a set: the images to train on, and the rest, which an evaluation may compare with."""

    chosen: np.ndarray  # [shots] int64, ascending
    rest: np.ndarray  # [n - shots] int64, ascending
    chosen_hash: str  # 16 hex digits, of the indices
    rest_hash: str


def few_shot(n: int, shots: int, seed: int = 0) -> Split:
    """Chooses `shots` of `n` positions by a seed.

    A smaller number of shots with the same seed is a subset of a larger one.

    Raises:
      DataError: more shots than images, or fewer than one.
    """
    if shots < 1:
        raise DataError(f"{shots} shots: choose at least 1")
    if shots > n:
        raise DataError(f"{shots} shots, but the set has only {n} images")
    try:
        check_seed(seed, "data.subset_seed")
    except SeedError as error:
        raise DataError(str(error)) from error
    # PCG64's raw stream is part of numpy's compatibility promise; `Generator.permutation` is not.
    order = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
    chosen, rest = np.sort(order[:shots]), np.sort(order[shots:])
    return Split(chosen, rest, index_hash(chosen), index_hash(rest))


def index_hash(indices: np.ndarray) -> str:
    """16 hex digits that name a list of positions."""
    return hashlib.sha256(np.asarray(indices).astype("<i8").tobytes()).hexdigest()[:16]
