"""Weights written one leaf at a time: the same files as `save_weights`, of trees that memory does not hold.

A safetensors file is the length of a header, 8 bytes, little-endian; the header, JSON with the dtype, shape and place of
each tensor; then the tensors, end to end. Shapes are known before a value is, so the header goes first.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.files import replace
from gan_jax.interop.save import leaf_entry, manifest_text
from gan_jax.interop.weights import FORMAT, MANIFEST, WEIGHTS, WeightsError
from gan_jax.trees import Flat, shape_of

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL",
    **{f"{kind}int{bits}": f"{kind.upper() or 'I'}{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)},
}  # as the format calls them  # fmt: skip


def stream_weights(folder: str | Path, specs: Flat, leaf: Callable[[str], Any], manifest: Mapping[str, Any]) -> Path:
    """Writes weights, asking for each leaf once, when it is written; the leaf before is let go of by then.

    Whatever `leaf` raises leaves no file behind, and an older pair in the folder as it was.

    Args:
      folder: made if it does not exist; an older pair in it is replaced.
      specs: path -> something of the leaf's shape and dtype.
      leaf: `path -> array`.
      manifest: as of `save_weights`.

    Returns:
      the folder.

    Raises:
      WeightsError: no leaf; a dtype that the format lacks; a leaf of another shape or dtype than was said.
    """
    if not specs:
        raise WeightsError("no arrays to save")
    if odd := [path for path, spec in specs.items() if np.dtype(spec.dtype).name not in DTYPES]:
        raise WeightsError(f"leaf {odd[0]!r} is {shape_of(specs[odd[0]])}, which safetensors files do not hold")
    manifest_text(manifest, {})  # before anything is written
    order = sorted(specs, key=lambda path: (-np.dtype(specs[path].dtype).itemsize, path))  # so all are aligned
    said: dict[str, Any] = {}

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.write(_header(specs, order))
            for path in order:
                array = np.asarray(leaf(path))
                if shape_of(array) != shape_of(specs[path]):
                    raise WeightsError(f"leaf {path!r} is {shape_of(array)}, and was to be {shape_of(specs[path])}")
                said[path] = leaf_entry(array)
                memory: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                file.write(memory)

    folder = Path(folder)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        replace(folder / WEIGHTS, write)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    text = manifest_text(manifest, {path: said[path] for path in specs})
    replace(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def _header(specs: Flat, order: list[str]) -> bytes:
    places: dict[str, Any] = {"__metadata__": {"format": FORMAT}}
    at = 0
    for path in order:
        spec = specs[path]
        end = at + np.dtype(spec.dtype).itemsize * int(np.prod(spec.shape, dtype=np.int64))
        dtype = DTYPES[np.dtype(spec.dtype).name]
        places[path] = {"dtype": dtype, "shape": list(spec.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(places, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
