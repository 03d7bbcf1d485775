"""Weights in and out of the library: our own shareable format; foreign formats, one file each."""

from gan_jax.interop.weights import WeightsError, embedded_names, load_weights, save_weights

__all__ = ["WeightsError", "embedded_names", "load_weights", "save_weights"]
