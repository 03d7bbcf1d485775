"""Metrics of logits: inception score, and histograms of classes.

Only with the Inception network is it the Inception Score; with any other classifier the name carries the classifier's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_features

# ----------------------------------------------------------------------------------------------------------------------
# Classes of generated images against those of the reference: dropped modes and favoured ones.
#
# As for stacked MNIST (Srivastava et al., VEEGAN, 2017; Lin et al., PacGAN, 2018): every image counts for the class of its
# largest logit, and the two histograms are compared. It says nothing about the quality of the images.


def class_shares(logits: Any) -> np.ndarray:
    """The fraction of images in each class, `[K]` float64, from logits `[N, K]`."""
    logits = check_features(logits, "logits")
    return np.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(logits)


def class_kl(real_logits: Any, fake_logits: Any) -> float:
    """`KL(p || q)` in nats, p the generated histogram and q the reference's, one image added to each class of q.

    0 = the reference's histogram; log K = all images in one class where the reference has K equally.

    Args:
      real_logits: `[N, K]` of a classifier on the reference.
      fake_logits: `[M, K]` on generated images.
    """
    p, q = class_shares(fake_logits), class_shares(real_logits)
    if len(p) != len(q):
        raise MetricError(f"{len(p)} classes of generated images, but {len(q)} of the reference; use one classifier")
    q = (q * len(real_logits) + 1) / (len(real_logits) + len(q))
    present = p > 0
    return float((p[present] * np.log(p[present] / q[present])).sum())


# ----------------------------------------------------------------------------------------------------------------------
# Inception-style score of logits: exp(E_x KL(p(y|x) || p(y))) (Salimans et al. 2016).


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
