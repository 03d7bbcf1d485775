"""Frozen weights and a small trainable delta: the light ways of adapting a network, as data that any network takes."""

from gan_jax.transfer.adapters.adapter import KERNELS, Adapter, adapted, attach, bake, count_trained
from gan_jax.transfer.adapters.low_rank import lora, singular_values
from gan_jax.transfer.adapters.modulation import adafm, filter_scale, kml, kml_where

__all__ = [
    "KERNELS",
    "Adapter",
    "adafm",
    "adapted",
    "attach",
    "bake",
    "count_trained",
    "filter_scale",
    "kml",
    "kml_where",
    "lora",
    "singular_values",
]
