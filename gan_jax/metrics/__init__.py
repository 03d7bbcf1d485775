"""Metrics: features -> statistics -> numbers, each number under a named protocol."""

from __future__ import annotations

from gan_jax.metrics.clusters import IntraCluster, evaluate_intra_cluster, intra_cluster
from gan_jax.metrics.evaluate import Measured, evaluate_features, unmeasurable
from gan_jax.metrics.extraction import extract, extract_batches
from gan_jax.metrics.features import FeatureNet, Features, load_features
from gan_jax.metrics.inception_score import Score, class_kl, class_shares, inception_score
from gan_jax.metrics.kernel import KID, kid, mmd2, polynomial_kernel, rbf_kernel
from gan_jax.metrics.neighbours import PRDC, EmptyBalls, Memorisation, as_vectors, memorisation, nearest, prdc
from gan_jax.metrics.pairs import PairEvaluation, PairMetrics, class_agreement, evaluate_pairs, pair_metrics
from gan_jax.metrics.perceptual import Perceptual, load_perceptual
from gan_jax.metrics.pixels import l1, ms_ssim, psnr, ssim
from gan_jax.metrics.protocol import Protocol, make_protocol
from gan_jax.metrics.statistics import (
    MetricError,
    Statistics,
    empty_statistics,
    frechet_distance,
    frechet_from_moments,
    summarise,
)
from gan_jax.metrics.text import TextEvaluation, TextProtocol, evaluate_texts

__all__ = [
    "class_kl",
    "class_shares",
    "EmptyBalls",
    "FeatureNet",
    "Features",
    "IntraCluster",
    "KID",
    "Measured",
    "Memorisation",
    "MetricError",
    "PRDC",
    "PairEvaluation",
    "PairMetrics",
    "Perceptual",
    "Protocol",
    "Score",
    "Statistics",
    "TextEvaluation",
    "TextProtocol",
    "as_vectors",
    "class_agreement",
    "empty_statistics",
    "evaluate_features",
    "evaluate_intra_cluster",
    "evaluate_pairs",
    "evaluate_texts",
    "extract",
    "extract_batches",
    "frechet_distance",
    "frechet_from_moments",
    "inception_score",
    "intra_cluster",
    "kid",
    "l1",
    "load_features",
    "load_perceptual",
    "make_protocol",
    "memorisation",
    "mmd2",
    "ms_ssim",
    "nearest",
    "pair_metrics",
    "polynomial_kernel",
    "prdc",
    "psnr",
    "rbf_kernel",
    "ssim",
    "summarise",
    "unmeasurable",
]
