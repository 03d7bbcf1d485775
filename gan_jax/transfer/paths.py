"""Paths in a configuration: absolute in a run, and followed where the run and its data were moved together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gan_jax.config import ChainConfig, Config

KINDS = ("folder", "zip", "npz", "idx", "tfds")  # data sources that name a path; the last two may have a split
SPLIT = ("idx", "tfds")
NAMES = ("source", "donors", "base", "clip")  # fields of a transfer method that name weights


def absolute(config: Config) -> Config:
    """Makes the paths of a configuration absolute where the files or folders exist."""
    return mapped(config, lambda path: os.path.abspath(os.path.expanduser(path)) if _exists(path) else path)


def relative_to(config: Config, folder: Path) -> dict[str, str]:
    """Maps each existing path of a configuration to the same path relative to a folder."""
    relative: dict[str, str] = {}

    def note(path: str) -> str:
        if _exists(path):
            relative[path] = os.path.relpath(path, folder)
        return path

    mapped(config, note)
    return relative


def followed(config: Config, relative: Mapping[str, str], folder: Path) -> tuple[Config, list[str]]:
    """Replaces missing paths by the files at the same place relative to the run's folder.

    Args:
      config: with absolute paths.
      relative: result of `relative_to` at the start of the run.
      folder: of the run now.

    Returns:
      the configuration, and a log message for each path that was replaced.
    """
    notes: list[str] = []

    def find(path: str) -> str:
        there = follow(path, relative, folder)
        if there != path and (note := f"{path} has moved with the run: {there}") not in notes:
            notes.append(note)
        return there

    return mapped(config, find), notes


def follow(path: str, relative: Mapping[str, str], folder: Path) -> str:
    """Replaces a missing path by the file at the same place relative to a folder, if there is one."""
    if _exists(path) or not isinstance(relative.get(path), str):
        return path
    there = os.path.normpath(os.path.join(os.path.abspath(folder), relative[path]))
    return there if _exists(there) else path


def mapped(config: Config, change: Callable[[str], str]) -> Config:
    """Changes every path in a configuration; names (`embedded:..`, those of TFDS sets) stay."""
    data = config.data
    source = _mapped_spec(data.source, change)
    if source != data.source:
        data = dataclasses.replace(data, source=source)
    return dataclasses.replace(config, data=data, transfer=_mapped_method(config.transfer, change))


def _mapped_method(transfer: Any, change: Callable[[str], str]) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(transfer, ChainConfig):
        changes["methods"] = tuple(_mapped_method(method, change) for method in transfer.methods)
    for field in NAMES:
        value: Any = getattr(transfer, field, None)
        if isinstance(value, str) and value and not value.startswith("embedded:"):
            changes[field] = change(value)
        elif isinstance(value, tuple):
            changes[field] = tuple(name if name.startswith("embedded:") else change(name) for name in value)
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
