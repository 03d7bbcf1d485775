"""Classes of generated images against those of the reference: dropped modes and favoured ones.

As for stacked MNIST (Srivastava et al., VEEGAN, 2017; Lin et al., PacGAN, 2018): every image counts for the class of its
largest logit, and the two histograms are compared. It says nothing about the quality of the images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_features


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
