"""Published weights into the cache, in the names of this library."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan_jax.extras import require
from gan_jax.files import replace
from gan_jax.interop.feature_weights.catalogue import CATALOGUE
from gan_jax.interop.feature_weights.download import download, take_out
from gan_jax.interop.feature_weights.names import IGNORED
from gan_jax.interop.feature_weights.pairs import PAIR_CATALOGUE, store_pair
from gan_jax.interop.foreign import read_foreign
from gan_jax.interop.links import import_tensors
from gan_jax.interop.pairs import is_pair_there, pair_folder
from gan_jax.interop.weights import WeightsError
from gan_jax.metrics.cache import MANIFEST, WEIGHTS, cache_folder, is_there, network_folder
from gan_jax.metrics.networks import NETWORKS
from gan_jax.trees import did_you_mean, flatten


def get_weights(
    name: str, source: Path | None = None, *, again: bool = False, progress: Callable[[int], None] = lambda count: None
) -> Path:
    """Puts the weights of a feature network, or a pretrained pair, into the cache, from where they are published or from a file.

    What is had is checked against the sha256 of the catalogue, then read by the reader that runs nothing. The cache
    gets the tensors under the names of our leaves, unchanged, and a manifest with origin and licence. A pair gets its
    discriminator from this package.

    Args:
      name: of the catalogue.
      source: the published file, or the package that it is in; None = download it.
      again: also where it is there already.
      progress: called with the bytes that have come so far.

    Returns:
      the folder.

    Raises:
      WeightsError: an unknown name, no network, or a file that is not the published one.
    """
    known = CATALOGUE | PAIR_CATALOGUE
    if name not in known:
        raise WeightsError(f"no weights {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    published, folder = known[name], weights_folder(name)
    if in_cache(name) and not again:
        return folder
    if source is not None and not source.is_file():
        raise WeightsError(f"no file {source}; --from needs {published.file}, or the package that it is in")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="get-", dir=cache_folder()) as scratch:
        if source is None:
            source = Path(scratch) / "download"
            download(name, published, source, progress)
        file = Path(scratch) / published.file
        take_out(source, name, published, file)
        (store_pair if name in PAIR_CATALOGUE else _store)(name, file, folder)
    return folder


def weights_folder(name: str) -> Path:
    """Where the cache keeps the weights of a name of either catalogue."""
    return pair_folder(name) if name in PAIR_CATALOGUE else network_folder(name)


def in_cache(name: str) -> bool:
    """Whether the weights are in the cache."""
    return is_pair_there(name) if name in PAIR_CATALOGUE else is_there(name)


def read_weights(name: str, file: Path) -> dict[str, np.ndarray]:
    """The leaves of a file in the published layout, whoever trained it: `features.feature_net` takes their tree.

    Args:
      name: the network, as the catalogue names it.
      file: whatever `read_foreign` reads.

    Returns:
      `{path: array}`.

    Raises:
      ForeignError, ForeignLayoutError: the file is damaged, or a tensor is missing, unknown or of another shape.
    """
    expected = flatten(NETWORKS[name].specs())
    return import_tensors(read_foreign(file).tensors, CATALOGUE[name].links(), IGNORED, expected, file.name)[0]


def _store(name: str, file: Path, folder: Path) -> None:
    """Writes a checked file as leaves and manifest, each whole or not at all."""
    published = CATALOGUE[name]
    raw = require("safetensors.numpy", extra="weights").save(read_weights(name, file))
    source = {"file": published.file, "sha256": published.sha256, "url": published.url}
    manifest = {
        "name": name, "sha256": hashlib.sha256(raw).hexdigest(), "licence": published.licence, "source": source,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / WEIGHTS, lambda path: path.write_bytes(raw))
    replace(folder / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8"))
