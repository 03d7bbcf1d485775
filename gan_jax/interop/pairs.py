"""Pretrained pairs that are named by one word once `gan-jax weights get` has put them into the cache."""

from __future__ import annotations

from pathlib import Path

from gan_jax.metrics.cache import cache_folder

PAIRS = ("digiface64",)  # what `feature_weights.pairs` knows how to get
PARTS = ("weights.safetensors", "manifest.json")


def pair_folder(name: str) -> Path:
    """Where a pair lies in the cache, if it is there."""
    return cache_folder() / "pairs" / name


def is_pair_there(name: str) -> bool:
    """Whether a pair is in the cache."""
    return all((pair_folder(name) / part).is_file() for part in PARTS)


def cached_pair(source: str | Path) -> Path | None:
    """The folder that a bare name such as `digiface64` stands for; None where it is no pair's name, or a path."""
    name = str(source)
    return pair_folder(name) if name in PAIRS and not Path(name).exists() else None
