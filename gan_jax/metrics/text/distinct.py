"""Diversity of texts by themselves: distinct n-grams, unique texts, lengths."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.metrics.text.ngrams import check_order, count_pairs, join, ngrams
from gan_jax.metrics.text.tokens import read_alike, read_texts


@dataclasses.dataclass(frozen=True)
class Distinct:
    """Distinct n-grams of a set of texts, in the four definitions that papers use. NaN where texts have nothing to divide by.

    All but the last depend on the number of texts: compare sets of one size.

    Attributes:
      over_ngrams: distinct n-grams over all n-grams.
      over_tokens: distinct n-grams over all tokens: distinct-1 and distinct-2 of Li et al. 2016.
      per_text: distinct n-grams over the number of texts, which may be above 1: Texygen's UniqueGram.
      mean_of_texts: mean of each text's own ratio, without texts that have no n-gram.
    """

    over_ngrams: float
    over_tokens: float
    per_text: float
    mean_of_texts: float


def distinct(texts: Any, n: int, tokenisation: str | None = None) -> Distinct:
    """Distinct n-grams of texts.

    Args:
      texts: strings or lists of tokens; empty ones count as texts.
      n: order of n-grams.
      tokenisation: how strings are split.
    """
    n = check_order(n)
    lists = read_texts(texts, tokenisation)
    *_, (owners, numbers) = ngrams(join(lists.tokens), n)
    kinds = len(np.unique(numbers))
    of_text = np.bincount(count_pairs(owners, numbers)[0], minlength=len(lists))
    totals = np.bincount(owners, minlength=len(lists))
    ratios = of_text[totals > 0] / totals[totals > 0]
    nan = float("nan")
    return Distinct(
        kinds / len(numbers) if len(numbers) else nan,
        kinds / int(lists.lengths.sum()) if lists.lengths.any() else nan,
        kinds / len(lists),
        float(ratios.mean()) if len(ratios) else nan,
    )


def unique_share(texts: Any, tokenisation: str | None = None) -> float:
    """Different texts over all texts: 1 where no text occurs twice."""
    lists = read_texts(texts, tokenisation)
    return len(set(map(tuple, lists.tokens))) / len(lists)


def length_distance(texts: Any, references: Any, tokenisation: str | None = None) -> float:
    """Wasserstein-1 distance of the lengths of two sets of texts, in tokens: 0 for equal histograms, 2 if one is 2 longer."""
    first, second = (lists.lengths for lists in read_alike({"texts": texts, "references": references}, tokenisation))
    places = np.unique(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(lengths), places, side="right") / len(lengths) for lengths in (first, second)]
    return float((np.abs(shares[0] - shares[1])[:-1] * np.diff(places)).sum())
