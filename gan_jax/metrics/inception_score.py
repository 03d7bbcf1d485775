"""Inception-style score of logits: exp(E_x KL(p(y|x) || p(y))) (Salimans et al. 2016).

Only with the Inception network is it the Inception Score; with any other classifier the name carries the classifier's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_features


class Score(NamedTuple):
    mean: float  # over splits
    std: float  # population standard deviation over splits


def inception_score(logits: Any, splits: int = 10) -> Score:
    """Mean and spread of the score over contiguous splits, in the order in which the images came.

    Args:
      logits: [N, K] of a classifier on generated images. The score lies in 1 .. K.
      splits: number of parts; each estimates its own p(y). Part i begins at image i * N // splits.
    """
    logits = check_features(logits, "logits").astype(np.float64)
    if not 1 <= splits <= len(logits):
        raise MetricError(f"splits is {splits} for {len(logits)} samples; use 1 to {len(logits)}")
    log_p = logits - logits.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    scores = []
    cuts = [i * len(log_p) // splits for i in range(splits + 1)]  # as the paper's own code and torch-fidelity cut
    for start, stop in pairwise(cuts):
        part = log_p[start:stop]
        p = np.exp(part)
        marginal = p.mean(0)
        log_marginal = np.log(np.where(marginal > 0, marginal, 1.0))  # p log p -> 0 where p underflows
        scores.append(np.exp((p * (part - log_marginal)).sum(1).mean()))
    return Score(float(np.mean(scores)), float(np.std(scores)))
