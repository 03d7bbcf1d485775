"""Writes the images of the larger benchmarks as npz files, from the files of their publishers.

    python experiments/transfer_benchmark/prepare.py --data DATA --out runs/transfer_data

DATA holds `omniglot-small/images_background_small{1,2}.zip` (the official files), `cifar10-first4000/` (PNG sheets of 32
px, 1,000 rows of 32 images, and labels.txt) and `emoji-64/` (the sheets of emoji-datasource at 64 px and index.tsv). Sets
that are not there are left out, with a message.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def omniglot(data: Path) -> dict[str, Any]:
    """Drawings with bright ink on black, as in MNIST; in the files ink is black."""
    folder = data / "omniglot-small"
    drawings = [pixels for path in sorted(folder.glob("images_background_small*.zip")) for pixels in _drawings(path)]
    return {"images": 255 * (1 - np.stack(drawings).astype(np.uint8))[..., None]}


def _drawings(path: Path) -> Iterator[np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                yield np.asarray(Image.open(io.BytesIO(archive.read(name))))


def cifar(data: Path) -> dict[str, Any]:
    """All images of the sheets with their labels."""
    folder = data / "cifar10-first4000"
    sheets = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    images = np.concatenate([sheet.reshape(-1, 32, 32, 3) for sheet in sheets])
    return {"images": images, "labels": np.loadtxt(folder / "labels.txt", dtype=np.int32)}


def twemoji(data: Path) -> dict[str, Any]:
    """Cells of the sheet in the order of the index, RGBA."""
    folder = data / "emoji-64"
    sheet = np.asarray(Image.open(folder / "sheet_twitter_64.png").convert("RGBA"))
    rows = [line.split("\t") for line in (folder / "index.tsv").read_text(encoding="utf-8").splitlines()]
    x, y = (rows[0].index(name) for name in ("sheet_x", "sheet_y"))
    corners = [(66 * int(row[x]) + 1, 66 * int(row[y]) + 1) for row in rows[1:]]
    return {"images": np.stack([sheet[top : top + 64, left : left + 64] for left, top in corners])}


def main() -> None:
    """Writes every set that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the published files")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer_data"), help="folder of the npz files")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, read in {"omniglot": omniglot, "cifar": cifar, "twemoji": twemoji}.items():
        try:
            arrays = read(args.data)
        except (OSError, ValueError) as error:
            print(f"{name}: left out, {error}")
            continue
        np.savez_compressed(args.out / f"{name}.npz", **arrays)
        print(f"{name}: {arrays['images'].shape}")


if __name__ == "__main__":
    main()
