"""Data: sources, conversions, seeded subsets and pipelines."""

from __future__ import annotations

from gan_jax.data.convert import resize, to_channels, to_float, to_uint8
from gan_jax.data.images import DataError, Images, describe, from_arrays
from gan_jax.data.overview import Survey, inspect_source, survey
from gan_jax.data.pair_stream import StreamedPairs, open_pairs
from gan_jax.data.pairs import Pairs, PairSplit, is_pair_spec, load_pairs, split_pairs
from gan_jax.data.pipeline import CursorError, Pipeline, make_pipeline
from gan_jax.data.sources import Split, few_shot, index_hash, load, open_source
from gan_jax.data.tfds_writer import prepare

__all__ = [
    "CursorError",
    "DataError",
    "Images",
    "PairSplit",
    "Pairs",
    "Pipeline",
    "Split",
    "StreamedPairs",
    "Survey",
    "describe",
    "few_shot",
    "from_arrays",
    "index_hash",
    "inspect_source",
    "is_pair_spec",
    "load",
    "load_pairs",
    "make_pipeline",
    "open_pairs",
    "open_source",
    "prepare",
    "resize",
    "split_pairs",
    "survey",
    "to_channels",
    "to_float",
    "to_uint8",
]
