"""Data: sources, conversions, seeded subsets and pipelines."""

from __future__ import annotations

from gan_jax.data.convert import resize, to_channels, to_float, to_uint8
from gan_jax.data.images import DataError, Images, describe, from_arrays
from gan_jax.data.overview import Survey, inspect_source, survey
from gan_jax.data.pipeline import CursorError, Pipeline, make_pipeline
from gan_jax.data.sources import Split, few_shot, index_hash, load, open_source
from gan_jax.data.tfds_writer import prepare

__all__ = [
    "CursorError",
    "DataError",
    "Images",
    "Pipeline",
    "Split",
    "Survey",
    "describe",
    "few_shot",
    "from_arrays",
    "index_hash",
    "inspect_source",
    "load",
    "make_pipeline",
    "open_source",
    "prepare",
    "resize",
    "survey",
    "to_channels",
    "to_float",
    "to_uint8",
]
