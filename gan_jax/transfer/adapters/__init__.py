"""Adapters, small trainable deltas of frozen weights, as data that fit any network."""

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
