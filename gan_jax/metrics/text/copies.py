"""Copies of the training texts: the longest run of tokens of each sample that occurs in one of them.

Places of all texts are sorted by what follows them (a suffix array, Manber and Myers 1993): ranks of pieces of 1, 2, 4, ..
tokens, each from pairs of the ranks before. The longest match of a place is with a neighbour in this order.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.metrics.text.ngrams import join
from gan_jax.metrics.text.tokens import read_alike


@dataclasses.dataclass(frozen=True)
class Copies:
    """What N samples copy from training texts.

    Attributes:
      lengths: int64 `[N]`, tokens of the longest run of each sample that occurs in a training text.
      shares: float64 `[N]`, these over the sample's tokens; NaN of empty samples.
      equal: bool `[N]`, whether the sample is a training text as a whole; empty ones are not.
    """

    lengths: np.ndarray
    shares: np.ndarray
    equal: np.ndarray

    @property
    def mean(self) -> float:
        """Mean length of the longest copied run, in tokens."""
        return float(self.lengths.mean())

    @property
    def longest(self) -> int:
        """Length of the longest copied run of all samples, in tokens."""
        return int(self.lengths.max())

    @property
    def inside(self) -> float:
        """Share of samples that occur as a whole inside a training text, or are one; empty ones do not."""
        return float((self.shares == 1).mean())

    @property
    def whole(self) -> float:
        """Share of samples that are a training text."""
        return float(self.equal.mean())


def copies(samples: Any, training: Any, tokenisation: str | None = None) -> Copies:
    """The longest run of tokens of each sample that occurs in a training text; runs do not cross the ends of texts.

    Args:
      samples: strings or lists of tokens.
      training: the training texts, in the same form; a book may be one text.
      tokenisation: how strings are split.
    """
    first, second = read_alike({"samples": samples, "training": training}, tokenisation)
    whole = set(map(tuple, second.tokens))
    equal = np.array([len(tokens) > 0 and tuple(tokens) in whole for tokens in first.tokens])
    lengths = _longest_runs(first.tokens, second.tokens)
    shares = np.full(len(first), np.nan)
    np.divide(lengths, first.lengths, out=shares, where=first.lengths > 0)
    return Copies(lengths, shares, equal)


def _longest_runs(samples: list[list[Any]], training: list[list[Any]]) -> np.ndarray:
    """Tokens of the longest run of each sample that occurs in a training text `[N]`."""
    joined, n_samples = join(samples, training), len(samples)
    lengths = np.zeros(n_samples, np.int64)
    of_sample = joined.owners < n_samples
    if of_sample.all() or not of_sample.any():
        return lengths
    # A mark after every text, so that no piece of a sample equals one that goes on in the next training text.
    places = np.arange(len(joined.tokens)) + joined.owners
    marked = np.full(len(joined.tokens) + joined.n_texts, MARK)
    marked[places] = joined.tokens + MARK + 1
    starts, left = places[of_sample], (joined.ends - np.arange(len(joined.tokens)))[of_sample]  # tokens that follow
    ranks = _ranks(marked, int(left.max()))
    order = np.argsort(ranks[-1], kind="stable")
    row = np.empty_like(order)
    row[order] = np.arange(len(order))
    in_training = np.zeros(len(order), bool)
    in_training[row[places[~of_sample]]] = True
    rows = np.arange(len(order))
    before = np.maximum.accumulate(np.where(in_training, rows, -1))
    after = np.minimum.accumulate(np.where(in_training, rows, len(order))[::-1])[::-1]
    for neighbours in (before, after):
        neighbour = neighbours[row[starts]]
        exists = (neighbour >= 0) & (neighbour < len(order))
        runs = np.minimum(_common(ranks, starts[exists], order[neighbour[exists]]), left[exists])
        np.maximum.at(lengths, joined.owners[of_sample][exists], runs)
    return lengths


MARK = 1  # between texts; 0 is beyond the last one, tokens are above


def _ranks(tokens: np.ndarray, longest: int) -> list[np.ndarray]:
    """Ranks of the pieces of 1, 2, 4, .. tokens at each place, until pieces have `longest` tokens."""
    ranks, size = [tokens], 1
    while size < longest:
        following = np.zeros_like(tokens)
        following[:-size] = ranks[-1][size:]
        pairs = ranks[-1] * (int(ranks[-1].max()) + 1) + following
        ranks.append(np.unique(pairs, return_inverse=True)[1].astype(np.int64) + 1)
        size *= 2
    return ranks


def _common(ranks: list[np.ndarray], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Tokens that two places have in common `[M]`, from the longest pieces to the shortest."""
    common = np.zeros(len(first), np.int64)
    for level in reversed(range(len(ranks))):
        padded = np.append(ranks[level], 0)
        a, b = (padded[np.minimum(places + common, len(padded) - 1)] for places in (first, second))
        common += np.where(a == b, 2**level, 0)
    return common
