"""Counts of n-grams with arrays: n-grams are numbered exactly, without hashes, by sorting pairs of numbers.

The n-gram at a place is the pair of the (n - 1)-gram there and the token that follows. Both have numbers, so that a pair is one
integer, and `np.unique` numbers the pairs. Texts that are compared are numbered together.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError


@dataclasses.dataclass(frozen=True)
class Joined:
    """Texts one after the other, in numbers.

    Attributes:
      tokens: int64 `[L]`, numbers of the tokens from 0.
      owners: int64 `[L]`, the text of each token.
      ends: int64 `[L]`, where that text ends.
      n_texts: number of texts, empty ones too.
      n_tokens: number of different tokens.
    """

    tokens: np.ndarray
    owners: np.ndarray
    ends: np.ndarray
    n_texts: int
    n_tokens: int


def join(*lists: list[list[Any]]) -> Joined:
    """Lists of texts in tokens as one, with one vocabulary."""
    texts = list(itertools.chain(*lists))
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    numbers: dict[Any, int] = {}
    for token in itertools.chain.from_iterable(texts):
        numbers.setdefault(token, len(numbers))
    flat = itertools.chain.from_iterable(texts)
    tokens = np.fromiter(map(numbers.__getitem__, flat), np.int64, int(lengths.sum()))
    owners = np.repeat(np.arange(len(texts)), lengths)
    return Joined(tokens, owners, np.cumsum(lengths)[owners] if len(tokens) else owners, len(texts), len(numbers))


def ngrams(joined: Joined, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each order 1 .. n: the text `[M]` and the number `[M]` of every n-gram; equal n-grams have equal numbers."""
    places, numbers = np.arange(len(joined.tokens)), joined.tokens
    yield joined.owners, numbers
    for order in range(2, n + 1):
        inside = places + order <= joined.ends[places]
        places, numbers = places[inside], numbers[inside]
        pairs = numbers * max(joined.n_tokens, 1) + joined.tokens[places + order - 1]
        numbers = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        yield joined.owners[places], numbers


def count_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different pairs of two arrays of numbers from 0, sorted by the first, and how often each occurs."""
    width = int(second.max(initial=0)) + 1
    pairs, counts = np.unique(first * width + second, return_counts=True)
    return pairs // width, pairs % width, counts


def check_order(n: Any, name: str = "n") -> int:
    """An order of n-grams."""
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)) or n < 1:
        raise MetricError(f"{name} is {n!r}; the order of n-grams is an integer from 1")
    return int(n)
