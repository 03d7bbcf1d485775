"""Weights from where they are published: feature networks and pretrained pairs, how to get them, how they are read."""

from gan_jax.interop.feature_weights.catalogue import CATALOGUE, Published
from gan_jax.interop.feature_weights.download import get_weights, in_cache, read_weights, weights_folder
from gan_jax.interop.feature_weights.pairs import PAIR_CATALOGUE

__all__ = ["CATALOGUE", "PAIR_CATALOGUE", "Published", "get_weights", "in_cache", "read_weights", "weights_folder"]
