"""Intra-cluster LPIPS (Ojha et al. 2021, arXiv:2104.06820): the diversity of generated images around each training image.

Every generated image belongs to its nearest training image by LPIPS. Within each cluster the distances of all pairs of
(at most 50) members are averaged, then the clusters. 0 = every image is a copy of a training image. Empty clusters do not
lower the number, so report the number of occupied ones with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gan_jax.metrics.perceptual import Perceptual
from gan_jax.metrics.protocol import Protocol
from gan_jax.metrics.statistics import MetricError


class IntraCluster(NamedTuple):
    """Diversity around the training images.

    Attributes:
      mean: of `means` over the clusters with two members or more.
      clusters: number of training images with at least one generated image.
      sizes: [K] int64, generated images of each training image.
      means: [K] float64, mean LPIPS between the members of each cluster; NaN for fewer than two.
      nearest: [N] int64, the training image of each generated one.
    """

    mean: float
    clusters: int
    sizes: np.ndarray
    means: np.ndarray
    nearest: np.ndarray


def intra_cluster(
    net: Perceptual, fake: np.ndarray, train: np.ndarray, *, members: int = 50, seed: int = 0
) -> IntraCluster:
    """Measures intra-cluster LPIPS.

    Args:
      net: VGG16 in the paper.
      fake: generated images, uint8 [N, H, W, C]; 1,000 in the paper.
      train: training images, uint8 [K, H, W, C]; 10 in the paper.
      members: most images of a cluster that are compared, drawn at random.
      seed: of that draw.

    Raises:
      MetricError: images of different sizes, or no cluster with two images.
    """
    if members < 2:
        raise MetricError(f"members is {members}; a distance within a cluster needs at least 2")
    nearest = net.matrix(fake, train).argmin(1)
    sizes = np.bincount(nearest, minlength=len(train))
    means = np.full(len(train), np.nan)
    rng = np.random.default_rng(seed)
    for cluster in np.flatnonzero(sizes > 1):
        inside = np.flatnonzero(nearest == cluster)
        chosen = fake[rng.choice(inside, min(members, len(inside)), replace=False)]
        # Sizes are powers of two, since each new one is compiled; the padding is cut off again.
        filled = np.concatenate([chosen, chosen[:1].repeat(2 ** (len(chosen) - 1).bit_length() - len(chosen), 0)])
        distances = net.matrix(filled, filled)[: len(chosen), : len(chosen)]
        means[cluster] = distances[np.triu_indices(len(chosen), 1)].mean(dtype=np.float64)
    if np.isnan(means).all():
        raise MetricError(f"{len(fake)} generated images around {len(train)} leave no two in a cluster; generate more")
    return IntraCluster(float(np.nanmean(means)), int((sizes > 0).sum()), sizes, means, nearest)


def evaluate_intra_cluster(
    net: Perceptual, fake: np.ndarray, train: np.ndarray, protocol: Protocol
) -> dict[str, float]:
    """Measures intra-cluster LPIPS under a protocol: `make_protocol(net, n_real=len(train), n_fake=.., ..)`.

    Returns:
      intra_lpips, and the number of occupied clusters as `clusters`.

    Raises:
      MetricError: images or a network that are not the protocol's, or that cannot be measured.
    """
    stated = (protocol.extractor, protocol.weights_hash, protocol.n_real, protocol.n_fake)
    actual = (net.name, net.weights_hash, len(train), len(fake))
    for what, expected, value in zip(("extractor", "weights_hash", "n_real", "n_fake"), stated, actual, strict=True):
        if expected != value:
            raise MetricError(f"{what} is {value}, but protocol {protocol.id} says {expected}")
    result = intra_cluster(net, fake, train, members=protocol.cluster_members, seed=protocol.seed)
    return {"intra_lpips": result.mean, "clusters": float(result.clusters)}
