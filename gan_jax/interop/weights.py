"""Weights to share: `weights.safetensors` and `manifest.json` in one folder. No pickle.

Tensor names are leaf paths (`g_ema/params/b8/conv0/kernel`). The manifest holds a digest of every leaf, so that damage
is found when a leaf is read, and whatever the caller says about the net: config, plan, provenance, licence.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.resources
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gan_jax
from gan_jax.extras import require
from gan_jax.trees import Tree, TreeError, did_you_mean, digest, flatten, match, shape_of, unflatten

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
FORMAT = "gan_jax weights"
VERSION = 1
EMBEDDED = "embedded:"
OURS = ("format", "version", "leaves", "versions", "created")  # what save_weights writes into the manifest itself


class WeightsError(ValueError):
    """Weights that are missing, damaged or not ours; the message says which file or leaf, and what to do."""


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
    safetensors = require("safetensors.numpy", extra="weights")
    if clash := [key for key in manifest if key in OURS]:
        raise WeightsError(f"manifest key {clash[0]!r} is written by save_weights itself; use another name")
    # safetensors writes the memory of a transposed view under the view's shape: wrong values, no error
    arrays = {path: np.ascontiguousarray(leaf).reshape(leaf.shape) for path, leaf in _flat(trees).items()}
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        **manifest,
        "leaves": {
            path: {"dtype": str(array.dtype), "shape": list(array.shape), "digest": digest(array)}
            for path, array in arrays.items()
        },
    }
    try:  # before anything is written
        text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the manifest cannot be written as JSON: {error}") from error
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS, lambda path: safetensors.save_file(arrays, path, metadata={"format": FORMAT}))
    _replace(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def load_weights(
    source: str | Path, only: str | Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads weights, and checks what it reads.

    Args:
      source: a folder, the safetensors file in it, or `embedded:NAME`.
      only: a pattern over leaf paths, or several patterns or paths (such as a plan's `needed`); other leaves are not
        read from disk. None = all.

    Returns:
      `({"g_ema": variables, ..}, manifest)` with NumPy leaves.

    Raises:
      WeightsError: one line that names the file or leaf which is missing, damaged or not ours.
    """
    manifest, read = weights_reader(source)
    return unflatten({path: read(path) for path in _chosen(only, manifest["leaves"])}), manifest


def weights_reader(source: str | Path) -> tuple[dict[str, Any], Callable[[str], np.ndarray]]:
    """The manifest of weights, and a function that reads one leaf from disk and checks it.

    Raises:
      WeightsError: as `load_weights`, about the files; the function raises it about its leaf.
    """
    folder = _folder(source)
    manifest = _manifest(folder)
    known = manifest["leaves"]
    with _opened(folder) as file:
        names = set(file.keys())
    if absent := sorted(set(known) - names):
        raise WeightsError(f"{folder / WEIGHTS} lacks leaf {absent[0]!r}, which its manifest names: copy both anew")
    if extra := sorted(names - set(known)):
        raise WeightsError(f"{folder / MANIFEST} does not name leaf {extra[0]!r} of the weights: copy both anew")

    def read(path: str) -> np.ndarray:
        if path not in known:
            raise WeightsError(f"no leaf {path!r} in {folder / WEIGHTS}{did_you_mean(path, known)}")
        with _opened(folder) as file:  # for one leaf only: pages that a mapped file has read count as our memory
            return _read(file, path, known[path], folder)

    return manifest, read


def load_manifest(source: str | Path) -> dict[str, Any]:
    """The manifest alone: net, provenance, and shape, dtype and digest of every leaf under `leaves`."""
    return _manifest(_folder(source))


def manifest_specs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The trees that a manifest describes, as ShapeDtypeStructs: enough to plan a transplant before reading."""
    dtype = lambda leaf: jax.random.key(0, impl=leaf["impl"]).dtype if "impl" in leaf else np.dtype(leaf["dtype"])
    return unflatten({
        path: jax.ShapeDtypeStruct(tuple(leaf["shape"]), dtype(leaf)) for path, leaf in manifest["leaves"].items()
    })  # fmt: skip


def embedded_names() -> list[str]:
    """The weights that come with this package, for `embedded:NAME`."""
    ours = lambda manifest: manifest.is_file() and FORMAT in manifest.read_text(encoding="utf-8")
    return sorted(entry.name for entry in _embedded().iterdir() if ours(entry / MANIFEST))


def _embedded() -> Path:
    root = importlib.resources.files("gan_jax.data") / "embedded"
    if not isinstance(root, Path):
        raise WeightsError("embedded weights need the package as files: install it unzipped")
    return root


def _folder(source: str | Path) -> Path:
    if isinstance(source, str) and source.startswith(EMBEDDED):
        name, names = source.removeprefix(EMBEDDED), embedded_names()
        if name not in names:
            known = ", ".join(names) or "none"
            raise WeightsError(f"no embedded weights {name!r}{did_you_mean(name, names)}; there are: {known}")
        return _embedded() / name
    folder = Path(source)
    if folder.is_file() and folder.name == WEIGHTS:
        return folder.parent
    if folder.is_file():
        raise WeightsError(
            f"{folder} is not a folder that gan_jax wrote ({WEIGHTS} and {MANIFEST}); see gan_jax.interop"
        )
    if not folder.is_dir():
        raise WeightsError(f"no weights at {folder}; name a folder with {WEIGHTS}, or {EMBEDDED}NAME")
    return folder


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"{folder} holds no {WEIGHTS}")
    if not path.is_file():
        raise WeightsError(f"{folder} has no {MANIFEST} beside {WEIGHTS}: not written by gan_jax, or copied in part")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != FORMAT
        or not isinstance(manifest.get("leaves"), dict)
    ):
        raise WeightsError(f"{path} is no manifest of gan_jax weights")
    if manifest.get("version") != VERSION:
        raise WeightsError(
            f"{path} has version {manifest.get('version')}; this gan_jax reads {VERSION}: use a newer one"
        )
    return manifest


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    safetensors = require("safetensors", extra="weights")
    try:
        file = safetensors.safe_open(str(folder / WEIGHTS), framework="np")
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{folder / WEIGHTS} is truncated or damaged ({error}): copy it anew") from error
    with file as opened:
        yield opened


def _read(file: Any, path: str, said: Mapping[str, Any], folder: Path) -> np.ndarray:
    array = file.get_tensor(path)
    if shape_of(array) != f"{said['dtype']}[{','.join(map(str, said['shape']))}]" or digest(array) != said["digest"]:
        raise WeightsError(
            f"leaf {path!r} in {folder / WEIGHTS} is damaged: it is not what its manifest says; copy both anew"
        )
    return array


def _chosen(only: str | Collection[str] | None, known: Mapping[str, Any]) -> list[str]:
    if only is None:
        return list(known)
    patterns = [only] if isinstance(only, str) else list(only)
    exact = {pattern for pattern in patterns if pattern in known}
    patterns = [pattern for pattern in patterns if pattern not in exact]
    for pattern in patterns:
        if not any(match(pattern, path) for path in known):
            raise WeightsError(f"no leaf {pattern!r} in these weights{did_you_mean(pattern, known)}")
    return [path for path in known if path in exact or any(match(pattern, path) for pattern in patterns)]


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
    return {path: np.asarray(leaf) for path, leaf in flat.items()}


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file beside its place, makes sure that it is on disk, and renames it."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        part.touch()
        mode = part.stat().st_mode  # what the umask allows: safetensors makes files that only their owner reads
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    names = ("jax", "flax", "numpy", "safetensors")
    return {"gan_jax": gan_jax.__version__, **{name: importlib.metadata.version(name) for name in names}}
