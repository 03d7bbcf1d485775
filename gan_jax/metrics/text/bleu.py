"""BLEU of generated text (Papineni et al. 2002): of sentences, of a corpus, and of samples against each other (self-BLEU).

    BLEU-n = penalty * exp(sum_k w_k log p_k),   k = 1 .. n

with p_k the share of the hypothesis' k-grams that its references have (clipped, see `metrics.text.matches`), weights 1 / n, and
the penalty exp(1 - r / c) of a hypothesis of c tokens that is shorter than r, the closest length of a reference. The numbers
are those of nltk:

- A hypothesis without a common unigram scores 0, so does an empty one, whatever the smoothing.
- Smoothing `method1` (Chen and Cherry 2014) puts 0.1 for a count of 0 matches. A hypothesis of fewer than k tokens has
  p_k = 0.1 / 1. Without smoothing it scores 0, and so does one without a match of any order that has a weight.
- BLEU of a corpus sums matches, totals and lengths over the hypotheses first. A hypothesis of fewer than k tokens counts as one
  k-gram without a match, as in nltk; sacreBLEU does not count it (`metrics.text.sacre`).

Texygen's numbers (Zhu et al. 2018) are means over sentences with `method1`: BLEU of all samples against the first 500 lines of
the test file, self-BLEU of the first 500 samples, each against the other 499. BLEU rises strongly with the number of references.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from gan_jax.metrics.statistics import MetricError
from gan_jax.metrics.text.matches import Matches, own_matches, pool_matches, self_matches
from gan_jax.metrics.text.ngrams import check_order

Smoothing = Literal["none", "method1"]
EPSILON = 0.1  # matches that method1 puts for none


def sentence_bleu(
    hypotheses: Any,
    references: Any,
    n: int | None = None,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    smoothing: Smoothing = "method1",
    epsilon: float = EPSILON,
    tokenisation: str | None = None,
) -> np.ndarray:
    """BLEU `[N]`, 0 to 1, of each hypothesis against its own references.

    Args:
      hypotheses: strings or lists of tokens.
      references: for each hypothesis a list of such texts.
      n: largest order of n-grams; None = that of the weights, else 4.
      weights: of the orders 1 .. n; None = 1 / n each.
      smoothing: `method1` or `none`.
      epsilon: of `method1`.
      tokenisation: how strings are split: `whitespace`, `13a`, `characters`.

    Raises:
      MetricError: bad texts or options, or a hypothesis without references.
    """
    shares = check_weights(n, weights)
    check_smoothing(smoothing, epsilon)
    matches = own_matches(hypotheses, references, len(shares), tokenisation)
    return scores(matches, weights=shares, smoothing=smoothing, epsilon=epsilon)


def pool_bleu(
    hypotheses: Any,
    pool: Any,
    n: int | None = None,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    smoothing: Smoothing = "method1",
    epsilon: float = EPSILON,
    tokenisation: str | None = None,
) -> np.ndarray:
    """BLEU `[N]`, 0 to 1, of each hypothesis against all texts of a pool; its mean is Texygen's. Options: `sentence_bleu`."""
    shares = check_weights(n, weights)
    check_smoothing(smoothing, epsilon)
    matches = pool_matches(hypotheses, pool, len(shares), tokenisation)
    return scores(matches, weights=shares, smoothing=smoothing, epsilon=epsilon)


def self_bleu(
    samples: Any,
    n: int | None = None,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    smoothing: Smoothing = "method1",
    epsilon: float = EPSILON,
    tokenisation: str | None = None,
) -> np.ndarray:
    """BLEU `[N]`, 0 to 1, of each sample against all others: high where samples resemble each other.

    Texygen's is the mean for the first 500 samples. Empty samples score 0; leave them out, since they are not diverse. Options:
    `sentence_bleu`.
    """
    shares = check_weights(n, weights)
    check_smoothing(smoothing, epsilon)
    matches = self_matches(samples, len(shares), tokenisation)
    return scores(matches, weights=shares, smoothing=smoothing, epsilon=epsilon)


def corpus_bleu(
    hypotheses: Any,
    references: Any,
    n: int | None = None,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    smoothing: Smoothing = "method1",
    epsilon: float = EPSILON,
    tokenisation: str | None = None,
) -> float:
    """BLEU, 0 to 1, of all hypotheses together, each with its own references. Options: `sentence_bleu`."""
    shares = check_weights(n, weights)
    check_smoothing(smoothing, epsilon)
    own = own_matches(hypotheses, references, len(shares), tokenisation)
    totals = np.maximum(own.totals, 1).sum(0, keepdims=True)
    lengths, closest = own.lengths.sum(keepdims=True), own.closest.sum(keepdims=True)
    matches = Matches(own.matched.sum(0, keepdims=True), totals, lengths, closest)
    return float(scores(matches, weights=shares, smoothing=smoothing, epsilon=epsilon)[0])


def scores(
    matches: Matches,
    n: int | None = None,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    smoothing: Smoothing = "method1",
    epsilon: float = EPSILON,
) -> np.ndarray:
    """BLEU `[N]` from counts, of n orders at most theirs: several orders need one count only.

    Args:
      matches: of `own_matches`, `pool_matches` or `self_matches`.
      n: largest order; None = that of the weights, else all that were counted.
      weights: of the orders 1 .. n; None = 1 / n each.
      smoothing: `method1` or `none`.
      epsilon: of `method1`.
    """
    shares = check_weights(matches.order if n is None and weights is None else n, weights)
    check_smoothing(smoothing, epsilon)
    n = len(shares)
    if n > matches.order:
        raise MetricError(f"n is {n}, but n-grams were counted up to {matches.order}; count them up to {n}")
    matched, totals = matches.matched[:, :n], np.maximum(matches.totals[:, :n], 1)
    precisions = np.where(matched > 0, matched, epsilon if smoothing == "method1" else 0.0) / totals
    weighted = shares > 0
    with np.errstate(divide="ignore"):
        means = np.exp((np.log(precisions[:, weighted]) * shares[weighted]).sum(1))
    return np.where(matched[:, 0] > 0, brevity_penalty(matches.lengths, matches.closest) * means, 0.0)


def brevity_penalty(lengths: np.ndarray, closest: np.ndarray) -> np.ndarray:
    """Penalty `[N]` of hypotheses shorter than the closest reference; 0 of empty ones."""
    ratios = closest / np.maximum(lengths, 1)
    return np.where(lengths > 0, np.exp(np.minimum(1 - ratios, 0.0)), 0.0)


def check_weights(n: Any, weights: Any) -> np.ndarray:
    """Weights of the orders, float64 `[n]`."""
    if weights is None:
        n = check_order(4 if n is None else n)
        return np.full(n, 1 / n)
    try:
        shares = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        shares = np.zeros((0, 0))
    if shares.ndim != 1 or len(shares) == 0:
        raise MetricError(f"weights is {weights!r}; give a number for each order of n-grams")
    if n is not None and check_order(n) != len(shares):
        raise MetricError(f"{len(shares)} weights for n = {n}; give one for each order of n-grams")
    if not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise MetricError(f"weights are {list(weights)}; give finite ones, none below 0 and one above")
    return shares


def check_smoothing(smoothing: Any, epsilon: Any) -> None:
    if smoothing not in ("none", "method1"):
        raise MetricError(f"no smoothing {smoothing!r}; there are none, method1 (and sacreBLEU's, in sacre_bleu)")
    if not isinstance(epsilon, (int, float)) or isinstance(epsilon, bool) or not 0 < epsilon < np.inf:
        raise MetricError(
            f"epsilon is {epsilon!r}; it is a number above 0 and stands for a count of 0 ({EPSILON} as published)"
        )
