"""Weights to share: `weights.safetensors` and `manifest.json` in one folder. No pickle.

Tensor names are leaf paths (`g_ema/params/b8/conv0/kernel`). The manifest holds a digest of every leaf, so that damage
is found when a leaf is read, and whatever the caller says about the net: config, plan, provenance, licence.
"""

from __future__ import annotations

import datetime
import errno
import importlib.resources
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.documents import read_document, shown
from gan_jax.extras import require
from gan_jax.metrics.networks import cache_folder
from gan_jax.surgery.provenance import versions
from gan_jax.trees import Tree, TreeError, did_you_mean, digest, flatten, match, shape_of, unflatten

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
FORMAT = "gan_jax weights"
VERSION = 1
EMBEDDED = "embedded:"
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "bool",
    *(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)),
)  # of leaves  # fmt: skip
AXES, LONGEST_NAME = 32, 1000  # more than any network's leaves and any manifest of ours have
KINDS: dict[str, Any] = {"net": dict, "history": list, "licence": (str, type(None)), "front": (dict, type(None))}


class WeightsError(ValueError):
    """Weights that are missing, damaged or not ours; the message says which file or leaf, and what to do."""


def load_weights(
    source: str | Path, only: str | Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads weights, and checks what it reads.

    Args:
      source: a folder, the safetensors file in it, `embedded:NAME`, or the name of a pair in the cache (`digiface64`).
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
        raise WeightsError(f"{folder / WEIGHTS} lacks leaf {absent[0]!r}, which its manifest names: copy both again")
    if extra := sorted(names - set(known)):
        raise WeightsError(f"{folder / MANIFEST} does not name leaf {extra[0]!r} of the weights: copy both again")

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
    ours = lambda text: FORMAT in text and '"g_ema/' in text  # a discriminator alone is part of a pair of another name
    manifests = {entry.name: entry / MANIFEST for entry in _embedded().iterdir()}
    return sorted(name for name, path in manifests.items() if path.is_file() and ours(path.read_text(encoding="utf-8")))


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
    if (cached := cached_pair(source)) is not None:
        if not cached.is_dir():
            raise WeightsError(f"the pair {source} is not on this machine; gan-jax weights get {source}")
        return cached
    folder = Path(source)
    if folder.is_file() and folder.name == WEIGHTS:
        return folder.parent
    if folder.is_file():
        raise WeightsError(
            f"{folder} is not a folder that gan_jax wrote ({WEIGHTS} and {MANIFEST}); see gan_jax.interop"
        )
    if not folder.is_dir():
        known = ", ".join([*PAIRS, *(EMBEDDED + name for name in embedded_names())])
        raise WeightsError(
            f"no weights at {folder}{did_you_mean(str(folder), PAIRS)}; name a folder with {WEIGHTS}, or one of {known}"
        )
    return folder


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"{folder} holds no {WEIGHTS}")
    if not path.is_file():
        raise WeightsError(f"{folder} has no {MANIFEST} beside {WEIGHTS}: not written by gan_jax, or copied in part")
    manifest = read_document(path, WeightsError)
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("leaves"), dict):
        raise WeightsError(f"{path} is no manifest of gan_jax weights")
    if manifest.get("version") != VERSION:
        raise WeightsError(
            f"{path} has version {shown(manifest.get('version'))}; this gan_jax reads {VERSION}: use a newer one"
        )
    for name, leaf in manifest["leaves"].items():
        if why := _wrong(name, leaf):
            raise WeightsError(f"{path} is damaged: leaf {shown(name)} {why}; copy it again")
    for key, kinds in KINDS.items():
        if key in manifest and not isinstance(manifest[key], kinds):
            raise WeightsError(f"{path} is damaged: its {key!r} is {shown(manifest[key])}; copy it again")
    try:
        unflatten(dict.fromkeys(manifest["leaves"]))
    except TreeError as error:
        raise WeightsError(f"{path} is damaged: {error}; copy it again") from error
    return manifest


def _wrong(name: str, leaf: Any) -> str | None:
    """What is wrong with a leaf's entry in a manifest; None where nothing is."""
    if not name.isprintable() or not all(name.split("/")) or len(name) > LONGEST_NAME:
        return "has no path of names and slashes"
    if not isinstance(leaf, dict):
        return f"is described by {shown(leaf)}, not by dtype, shape and digest"
    if leaf.get("dtype") not in DTYPES:
        return f"has the dtype {shown(leaf.get('dtype'))}"
    shape = leaf.get("shape")
    if not isinstance(shape, list) or len(shape) > AXES or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        return f"has the shape {shown(shape)}"
    if not isinstance(leaf.get("digest"), str) or not re.fullmatch("[0-9a-f]{64}", leaf["digest"]):
        return f"has the digest {shown(leaf.get('digest'))}"
    return None


MEMORY = "too little memory to read it, which may be whole; free some, or use a machine that has more"


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    safetensors = require("safetensors", extra="weights")
    try:
        file = safetensors.safe_open(str(folder / WEIGHTS), framework="np")
    except (safetensors.SafetensorError, OSError, MemoryError) as error:
        if (
            isinstance(error, MemoryError)
            or getattr(error, "errno", None) == errno.ENOMEM
            or "allocate memory" in str(error)
        ):
            raise WeightsError(f"{folder / WEIGHTS}: {MEMORY}") from error
        raise WeightsError(f"{folder / WEIGHTS} is truncated or damaged ({error}): copy it again") from error
    with file as opened:
        yield opened


def _read(file: Any, path: str, entry: Mapping[str, Any], folder: Path) -> np.ndarray:
    try:
        array = file.get_tensor(path)
    except MemoryError as error:
        raise WeightsError(f"leaf {path!r} in {folder / WEIGHTS}: {MEMORY}") from error
    if shape_of(array) != f"{entry['dtype']}[{','.join(map(str, entry['shape']))}]" or digest(array) != entry["digest"]:
        raise WeightsError(
            f"leaf {path!r} in {folder / WEIGHTS} is damaged: it is not what its manifest says; copy both again"
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


# ----------------------------------------------------------------------------------------------------------------------
# Writing weights.

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
    from gan_jax.interop.source import stream_weights

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


# ----------------------------------------------------------------------------------------------------------------------
# Pretrained pairs that are named by one word once `gan-jax weights get` has put them into the cache.

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
