"""The cache of weights that are not part of this package: a folder of the user, filled by `gan-jax weights get`.

`$GAN_JAX_CACHE` names it; the default is the platform's folder for caches. A network's weights are
`features/NAME/weights.safetensors`; `features/NAME/manifest.json` names their source.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gan_jax.documents import field_of, parse_document
from gan_jax.metrics.statistics import MetricError

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"


def cache_folder() -> Path:
    """The folder of all files that this package caches for a user."""
    if named := os.environ.get("GAN_JAX_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gan_jax" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gan_jax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_jax"


def network_folder(name: str) -> Path:
    """The folder for the weights of a network, whether they are there or not."""
    return cache_folder() / "features" / name


def is_there(name: str) -> bool:
    """Whether a network's weights are in the cache."""
    return all((network_folder(name) / part).is_file() for part in (WEIGHTS, MANIFEST))


def read_network(name: str) -> tuple[dict[str, Any], bytes]:
    """The manifest of a network's weights, and the safetensors file as bytes.

    Raises:
      MetricError: they are not there; the message has the command that gets them.
    """
    folder = network_folder(name)
    if not is_there(name):
        raise MetricError(
            f"the weights of {name} are not in {folder}, and not part of this package: gan-jax weights get {name}"
        )
    return read_folder(folder, (name,), f"get them again: gan-jax weights get {name} --again")


def read_folder(folder: Any, known: Collection[str], remedy: str) -> tuple[dict[str, Any], bytes]:
    """The manifest and the weights of a folder (a path or a resource), checked against each other.

    Raises:
      MetricError: they do not belong together (`remedy` ends the message), or the network is not one of `known`.
    """
    text, where = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace"), f"{folder}/{MANIFEST}"
    manifest = parse_document(text, where, MetricError)
    for name in ("name", "sha256"):
        field_of(manifest, name, str, where, MetricError)
    if manifest["name"] not in known:
        raise MetricError(f"{folder} holds weights of {manifest['name']!r}, which is none of {', '.join(known)}")
    raw = (folder / WEIGHTS).read_bytes()
    if (digest := hashlib.sha256(raw).hexdigest()) != manifest["sha256"]:
        raise MetricError(
            f"{folder}/{WEIGHTS} has sha256 {digest[:12]}..., its manifest says {manifest['sha256'][:12]}...; "
            f"the file is damaged or was exchanged, so its numbers would not compare: {remedy}"
        )
    return manifest, raw
