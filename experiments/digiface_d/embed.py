"""Writes the discriminator of a run as a part of the package: half precision, with licence and provenance.

python experiments/digiface_d/embed.py runs/digiface/train gan_jax/data/embedded/digiface64-d
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import net_to_dict
from gan_jax.interop.weights import save_weights
from gan_jax.surgery.provenance import history_of
from gan_jax.transfer.source import open_source
from gan_jax.trees import flatten, unflatten

LARGEST = 6e4  # float16 ends at 65,504
README = """# digiface64-d

The discriminator of the pair `digiface64` (DCGAN, 64 px, colour): `gan-jax weights get digiface64` puts it beside the
published generator, which is not part of this package.

- `weights.safetensors`: kernels as float16, norms as float32; `manifest.json`: what they are and how they were trained.
- Made by `experiments/digiface_d`, from samples of the generator of the package `gan-face-generate` (MIT, (c) 2023 chien
  liu) against a rival of its own; no photograph was shown to it.
- Licence of the weights: Apache-2.0, as the rest of this package.
"""


def main(run: str, out: str) -> None:
    """Writes the folder."""
    source = open_source(run)
    leaves = {path: np.asarray(source(path)) for path in flatten(source.specs) if path.startswith("d/")}
    halved = {path: _half(path, leaf) for path, leaf in leaves.items()}
    history = history_of(source.manifest)
    images = history[-1]["images"]
    about: dict[str, Any] = {
        "licence": "Apache-2.0",
        "provenance": f"experiments/digiface_d: D after {images:,} images drawn by the generator of gan-face-generate 1.1.1",
        "history": history,
    }
    folder = save_weights(out, unflatten(halved), {"net": net_to_dict(source.net), **about})
    Path(folder, "README.md").write_text(README, encoding="utf-8")
    worst = max(
        float(np.abs(leaf - halved[path]).max() / max(np.abs(leaf).max(), 1e-30)) for path, leaf in leaves.items()
    )
    size = sum(leaf.nbytes for leaf in halved.values())
    print(
        f"wrote {folder}: {len(halved)} leaves, {size / 1e6:.1f} MB; largest rounding {worst:.1e} of a leaf's maximum"
    )


def _half(path: str, leaf: np.ndarray) -> np.ndarray:
    """A kernel as float16; norms, which are small, unchanged."""
    if not path.endswith("kernel"):
        return leaf
    if not np.abs(leaf).max() < LARGEST:
        raise ValueError(f"{path} reaches {np.abs(leaf).max():g}, which float16 does not hold")
    return leaf.astype(np.float16)


if __name__ == "__main__":
    main(*sys.argv[1:])
