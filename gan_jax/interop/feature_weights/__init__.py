"""Weights of feature networks from where they are published: which there are, how to get them, how they are read."""

from gan_jax.interop.feature_weights.catalogue import CATALOGUE, Published
from gan_jax.interop.feature_weights.get import get_weights, read_weights

__all__ = ["CATALOGUE", "Published", "get_weights", "read_weights"]
