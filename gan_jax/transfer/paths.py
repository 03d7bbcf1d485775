"""Paths in a configuration: kept absolute in a run, and followed where the run and its data moved together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gan_jax.config import ChainConfig, Config

KINDS = ("folder", "zip", "npz", "idx", "tfds")  # of data sources that name a path, the last two perhaps with a split
SPLIT = ("idx", "tfds")
NAMES = ("source", "donors", "base", "clip")  # fields of a transfer method that name weights


def absolute(config: Config) -> Config:
    """The configuration with absolute paths where it names files or folders that are there."""
    return mapped(config, lambda path: os.path.abspath(os.path.expanduser(path)) if _exists(path) else path)


def relative_to(config: Config, folder: Path) -> dict[str, str]:
    """Every path that the configuration names and that is there -> the same path seen from a folder."""
    found: dict[str, str] = {}

    def note(path: str) -> str:
        if _exists(path):
            found[path] = os.path.relpath(path, folder)
        return path

    mapped(config, note)
    return found


def followed(config: Config, relative: Mapping[str, str], folder: Path) -> tuple[Config, list[str]]:
    """The configuration with paths that are gone replaced by what stands in the same place seen from the run's folder.

    Args:
      config: with absolute paths.
      relative: as `relative_to` gave it when the run was started.
      folder: of the run, where it is now.

    Returns:
      the configuration, and a sentence for each path that was replaced.
    """
    notes: list[str] = []

    def find(path: str) -> str:
        there = follow(path, relative, folder)
        if there != path and (note := f"{path} has moved with the run: {there}") not in notes:
            notes.append(note)
        return there

    return mapped(config, find), notes


def follow(path: str, relative: Mapping[str, str], folder: Path) -> str:
    """A path; where it is gone, what stands in its place seen from a folder, if anything does."""
    if _exists(path) or not isinstance(relative.get(path), str):
        return path
    there = os.path.normpath(os.path.join(os.path.abspath(folder), relative[path]))
    return there if _exists(there) else path


def mapped(config: Config, change: Callable[[str], str]) -> Config:
    """The configuration with every path in it changed; names (`embedded:..`, a TFDS set's) are left as they are."""
    data = config.data
    source = _mapped_spec(data.source, change)
    if source != data.source:
        data = dataclasses.replace(data, source=source)
    return dataclasses.replace(config, data=data, transfer=_mapped_method(config.transfer, change))


def _mapped_method(transfer: Any, change: Callable[[str], str]) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(transfer, ChainConfig):
        changes["methods"] = tuple(_mapped_method(method, change) for method in transfer.methods)
    for name in NAMES:
        value: Any = getattr(transfer, name, None)
        if isinstance(value, str) and value and not value.startswith("embedded:"):
            changes[name] = change(value)
        elif isinstance(value, tuple):
            changes[name] = tuple(one if one.startswith("embedded:") else change(one) for one in value)
    changes = {name: value for name, value in changes.items() if value != getattr(transfer, name)}
    return dataclasses.replace(transfer, **changes) if changes else transfer


def _mapped_spec(spec: str, change: Callable[[str], str]) -> str:
    kind, colon, path = spec.partition(":")
    if kind not in KINDS or not colon or not path:
        return spec
    split = ""
    if kind in SPLIT and not _exists(path):
        head, colon, tail = path.rpartition(":")
        if colon:
            path, split = head, f":{tail}"
    if kind == "tfds" and not (path.startswith((".", "~")) or os.path.isabs(path)):
        return spec  # the name of a set; a folder in the current one is written ./NAME
    return f"{kind}:{change(path)}{split}"


def _exists(path: str) -> bool:
    return bool(path) and os.path.exists(os.path.expanduser(path))
