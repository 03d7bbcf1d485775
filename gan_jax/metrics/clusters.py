"""Intra-cluster LPIPS (Ojha et al. 2021, arXiv:2104.06820): how much generated images differ around each training image.

Every generated image goes to the training image that it is nearest to in LPIPS; within each cluster the distances of
all pairs of (at most 50) members are averaged, then the clusters. 0 = every image is a copy of a training image. A
generator that leaves clusters empty is not punished, so how many are occupied belongs beside the number.
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
      mean: over the clusters of two members or more, of the mean LPIPS between their members.
      clusters: how many training images have at least one generated image.
      sizes: [K] int64, the generated images of each training image.
      means: [K] float64, the mean within each cluster; NaN where there are fewer than two.
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
    """Intra-cluster LPIPS.

    Args:
      net: VGG16's in the paper.
      fake: generated images, uint8 [N, H, W, C]; 1,000 in the paper.
      train: the few shots, uint8 [K, H, W, C]; 10 in the paper.
      members: at most so many of each cluster are compared, drawn at random.
      seed: of that draw.

    Raises:
      MetricError: images of different sizes, or no cluster with two images.
    """
    if members < 2:
        raise MetricError(f"members is {members}; a distance within a cluster wants at least 2")
    nearest = net.matrix(fake, train).argmin(1)
    sizes = np.bincount(nearest, minlength=len(train))
    means = np.full(len(train), np.nan)
    rng = np.random.default_rng(seed)
    for cluster in np.flatnonzero(sizes > 1):
        inside = np.flatnonzero(nearest == cluster)
        chosen = fake[rng.choice(inside, min(members, len(inside)), replace=False)]
        # Sizes are powers of two, since each new one is compiled; what fills them up is cut off again.
        filled = np.concatenate([chosen, chosen[:1].repeat(2 ** (len(chosen) - 1).bit_length() - len(chosen), 0)])
        distances = net.matrix(filled, filled)[: len(chosen), : len(chosen)]
        means[cluster] = distances[np.triu_indices(len(chosen), 1)].mean(dtype=np.float64)
    if np.isnan(means).all():
        raise MetricError(f"{len(fake)} generated images around {len(train)} leave no two in a cluster; generate more")
    return IntraCluster(float(np.nanmean(means)), int((sizes > 0).sum()), sizes, means, nearest)


def evaluate_intra_cluster(
    net: Perceptual, fake: np.ndarray, train: np.ndarray, protocol: Protocol
) -> dict[str, float]:
    """Intra-cluster LPIPS as a protocol says: `make_protocol(net, n_real=len(train), n_fake=.., ..)`.

    Returns:
      intra_lpips and clusters, the occupied ones.

    Raises:
      MetricError: images or a network that are not the protocol's, or that cannot be measured.
    """
    stated = (protocol.extractor, protocol.weights_hash, protocol.n_real, protocol.n_fake)
    found = (net.name, net.weights_hash, len(train), len(fake))
    for what, said, seen in zip(("extractor", "weights_hash", "n_real", "n_fake"), stated, found, strict=True):
        if said != seen:
            raise MetricError(f"{what} is {seen}, but protocol {protocol.id} says {said}")
    result = intra_cluster(net, fake, train, members=protocol.cluster_members, seed=protocol.seed)
    return {"intra_lpips": result.mean, "clusters": float(result.clusters)}
