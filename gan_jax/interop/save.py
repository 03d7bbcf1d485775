"""Writing weights to share: what `interop.weights` reads."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.interop.weights import FORMAT, MANIFEST, VERSION, WEIGHTS, WeightsError
from gan_jax.surgery.provenance import versions
from gan_jax.trees import Tree, TreeError, digest, flatten, unflatten

FILES = (WEIGHTS, MANIFEST)
OURS = ("format", "version", "leaves", "versions", "created")  # what save_weights writes into the manifest itself
PACKAGES = ("jax", "flax", "numpy", "safetensors")  # whose versions it says


def save_weights(folder: str | Path, trees: Mapping[str, Tree], manifest: Mapping[str, Any]) -> Path:
    """Writes trees of arrays and what is known about them.

    Both files are written beside their place and renamed into it, so that a reader never sees half of one. A crash
    between the two leaves a pair whose digests do not agree, which `load_weights` finds.

    Args:
      folder: made if it does not exist; an older pair in it is replaced.
      trees: `{"g_ema": variables, "d": variables, ..}`, nested dicts of arrays.
      manifest: JSON values, such as config, plan, licence and provenance. Digests, versions and date are added.

    Returns:
      the folder.
    """
    from gan_jax.interop.stream import stream_weights  # which is written in terms of this file

    arrays = _flat(trees)
    return stream_weights(folder, arrays, arrays.__getitem__, manifest)


def manifest_text(manifest: Mapping[str, Any], leaves: Mapping[str, Any]) -> str:
    """A manifest's file: what the caller says, and of each leaf its `leaf_entry`.

    Raises:
      WeightsError: a name that is written here, or values that JSON does not have.
    """
    if clash := [key for key in manifest if key in OURS]:
        raise WeightsError(f"manifest key {clash[0]!r} is written by save_weights itself; use another name")
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(PACKAGES, python=False),
        **manifest,
        "leaves": dict(leaves),
    }
    try:
        return json.dumps(whole, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the manifest cannot be written as JSON: {error}") from error


def leaf_entry(array: np.ndarray) -> dict[str, Any]:
    """The entry of a leaf in a manifest."""
    return {"dtype": str(array.dtype), "shape": list(array.shape), "digest": digest(array)}


def _flat(trees: Mapping[str, Tree]) -> dict[str, Any]:
    flat = flatten(trees)
    if not flat:
        raise WeightsError("no arrays to save")
    try:
        nested = jax.tree_util.tree_structure(unflatten(flat)) == jax.tree_util.tree_structure(dict(trees))
    except TreeError:
        nested = False
    if not nested:
        raise WeightsError(
            "weights are nested dicts of arrays, without empty dicts; other trees belong into a checkpoint"
        )
    if odd := [path for path, leaf in flat.items() if not hasattr(leaf, "dtype") or str(leaf.dtype).startswith("key<")]:
        raise WeightsError(f"leaf {odd[0]!r} is no array of numbers but {flat[odd[0]]!r}")
    return {path: native(leaf) for path, leaf in flat.items()}


def native(array: Any) -> np.ndarray:
    """The same values, row by row and in this machine's order of bytes, as files of weights have them."""
    array = np.asarray(array)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
