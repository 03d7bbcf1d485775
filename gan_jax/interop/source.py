"""Weights leaf by leaf: a source that is read so, and files that are written so, for trees larger than memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.files import replace
from gan_jax.interop import weights
from gan_jax.interop.fitting import check_finite, fitting_net, named_net
from gan_jax.interop.weights import (
    FORMAT,
    MANIFEST,
    WEIGHTS,
    WeightsError,
    leaf_entry,
    manifest_specs,
    manifest_text,
    weights_reader,
)
from gan_jax.surgery.provenance import manifest_digest
from gan_jax.trees import Flat, shape_of, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# A source of weights that is read leaf by leaf: what it holds is known from its manifest, before anything is read.


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights, or a checkpoint. Calling it reads one leaf from disk and checks it: `source(path) -> array`.

    Attributes:
      name: as it was asked for.
      what: `weights: FOLDER`, for the eye.
      manifest: `net`, `history` and more; under `leaves` the dtype, shape and digest of each.
      digest: of the manifest.
      read: reads a leaf.
      read_many: reads several at once, where that costs less; None = one after the other.
    """

    name: str
    what: str
    manifest: dict[str, Any]
    digest: str
    read: Callable[[str], Any]
    read_many: Callable[[list[str]], dict[str, Any]] | None = None

    def __call__(self, path: str) -> Any:
        """The leaf at a path, to be looked at."""
        return self.read(path)

    def take(self, path: str) -> Any:
        """The leaf at a path, to be computed with: the reader for `surgery.transplant`.

        Raises:
          WeightsError: it holds nan or inf, or is damaged.
        """
        leaf = self.read(path)
        check_finite({path: leaf}, self.name, WeightsError)
        return leaf

    @property
    def net(self) -> NetConfig:
        """The networks.

        Raises:
          WeightsError: the manifest names none, or impossible ones.
        """
        return named_net(self.manifest, self.name)

    def check(self, *, whole: bool = True) -> None:
        """Checks that the leaves of weights are those of the networks that their manifest names.

        Args:
          whole: whether absent leaves, and such as the networks lack, are errors; a plan has rules for them.

        Raises:
          WeightsError: names the first that is not.
        """
        if self.manifest.get("format") == FORMAT:
            fitting_net(self.manifest, self.name, whole=whole)

    @property
    def specs(self) -> dict[str, Any]:
        """The trees, as ShapeDtypeStructs."""
        return manifest_specs(self.manifest)

    @property
    def digests(self) -> dict[str, str | None]:
        """Digests of every leaf; None where no process held it whole."""
        return {path: leaf["digest"] for path, leaf in self.manifest["leaves"].items()}

    def load(self, paths: Collection[str]) -> dict[str, Any]:
        """The trees of some leaves."""
        if self.read_many is not None:
            return unflatten(self.read_many(list(paths)))
        return unflatten({path: self.read(path) for path in paths})


def open_weights(path: str, name: str | None = None) -> Source:
    """A weights folder, the safetensors file in it, or `embedded:NAME`; it is checked, but no leaf is read yet.

    Args:
      path: where it is.
      name: what the user called it; None = the path.

    Raises:
      WeightsError: as `load_weights`; reading a damaged leaf raises it too.
    """
    manifest, read = weights_reader(path)
    return Source(name or path, f"weights: {path}", manifest, manifest_digest(manifest), read)


# ----------------------------------------------------------------------------------------------------------------------
# Weights written one leaf at a time: the same files as `save_weights`, of trees that memory does not hold.
#
# A safetensors file is the length of a header, 8 bytes, little-endian; the header, JSON with the dtype, shape and place of
# each tensor; then the tensors, end to end. Shapes are known before a value is, so the header goes first.

SHORT = {"float": "F", "bfloat": "BF", "bool": "BOOL", "int": "I", "uint": "U"}
DTYPES = {name: SHORT[name.rstrip("0123456789")] + name.lstrip("abcdefghijklmnopqrstuvwxyz") for name in weights.DTYPES}


def stream_weights(folder: str | Path, specs: Flat, leaf: Callable[[str], Any], manifest: Mapping[str, Any]) -> Path:
    """Writes weights, asking for each leaf once, when it is written; the leaf before is free by then.

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
    if odd := not_held(specs):
        raise WeightsError(
            f"leaf {odd!r} is {shape_of(specs[odd])}, which weights do not hold; cast it to one of these: {', '.join(DTYPES)}"
        )
    manifest_text(manifest, {})  # before anything is written
    entries: dict[str, Any] = {}

    def checked(path: str) -> np.ndarray:
        array = np.asarray(leaf(path))
        if shape_of(array) != shape_of(specs[path]):
            raise WeightsError(f"leaf {path!r} is {shape_of(array)}, and was to be {shape_of(specs[path])}")
        entries[path] = leaf_entry(array)
        return array

    write = lambda part: write_safetensors(part, specs, checked, {"format": FORMAT})
    folder = Path(folder)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder)
    try:
        replace(folder / WEIGHTS, write)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    text = manifest_text(manifest, {path: entries[path] for path in specs})
    replace(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def not_held(specs: Flat) -> str | None:
    """The first leaf of a dtype that these files do not hold (float8, complex numbers); None where there is none."""
    return next((path for path, spec in specs.items() if np.dtype(spec.dtype).name not in DTYPES), None)


def write_safetensors(path: Path, specs: Flat, leaf: Callable[[str], Any], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, asking for each array once, when it is written.

    Args:
      path: of the file.
      specs: name -> something of the array's shape and dtype, one of `DTYPES`.
      leaf: `name -> array`.
      metadata: of the header.
    """
    order = sorted(specs, key=lambda name: (-np.dtype(specs[name].dtype).itemsize, name))  # so all are aligned
    with path.open("wb") as file:
        file.write(_header(specs, order, metadata))
        for name in order:
            memory: Any = np.ascontiguousarray(leaf(name)).reshape(-1).view(np.uint8)
            file.write(memory)


def _remove_unfinished(folder: Path) -> None:
    """Removes what killed saves of former versions left: files of the safetensors package, begun like ours."""
    for path in folder.glob(".tmp??????"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                ours = f'"format":"{FORMAT}"'.encode() in file.read(300)
            if ours:
                path.unlink()


def _header(specs: Flat, order: list[str], metadata: Mapping[str, str]) -> bytes:
    places: dict[str, Any] = {"__metadata__": dict(metadata)}
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
