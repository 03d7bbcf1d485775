"""Which digits the pairs of the experiment make: a classifier's histogram over the samples of every finished cell.

    python experiments/fusion/coverage.py runs/fusion/bench --lenet DATA/mnist-gan-pretrained/lenet_acc0.991.pth

The classifier is a LeNet-5 (32 px, images in [0, 1]) of csinva/gan-vae-pretrained-pytorch, read as a foreign file. Writes
coverage.json beside the cells and prints a table: share of samples that are of high digits (the second donor's), and the
entropy of the histogram in units of that of all ten digits alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.interop.foreign import read_foreign
from gan_jax.report.table import Column, Table, markdown_table


def lenet(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """`images uint8 [N, H, W, 1] -> classes [N]`."""
    t = {name: jnp.asarray(value) for name, value in read_foreign(path).tensors.items()}

    @jax.jit
    def classify(images: jax.Array) -> jax.Array:
        x = jax.image.resize(images.astype(jnp.float32) / 255, (len(images), 32, 32, 1), "bilinear")
        for name in ("c1", "c3", "c5"):
            kernel = jnp.transpose(t[f"convnet.{name}.weight"], (2, 3, 1, 0))
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + t[f"convnet.{name}.bias"])
            if name != "c5":
                x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        x = jax.nn.relu(x.reshape(len(x), -1) @ t["fc.f6.weight"].T + t["fc.f6.bias"])
        return (x @ t["fc.f7.weight"].T + t["fc.f7.bias"]).argmax(-1)

    return lambda images: np.asarray(classify(jnp.asarray(images)))


def main() -> None:
    """Reads the samples of all cells on digits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--lenet", type=Path, required=True)
    args = parser.parse_args()
    classify, found = lenet(args.lenet), {}
    real = classify(np.load(args.bench / "samples" / "real-digits.npy"))
    for path in sorted((args.bench / "samples").glob("*-digits-*.npy")):
        method = path.stem.split("-digits-")[1].rpartition("-100-")[0]
        counts = np.bincount(classify(np.load(path)), minlength=10)
        found.setdefault(method, []).append(counts.tolist())
    rows = []
    for method, counts in found.items():
        shares = [np.asarray(one) / sum(one) for one in counts]
        rows.append({
            "method": method,
            "high": [float(p[5:].sum()) for p in shares],
            "entropy": [float(-(p[p > 0] * np.log(p[p > 0])).sum() / np.log(10)) for p in shares],
            "digits": [float((p >= 0.02).sum()) for p in shares],
        })  # fmt: skip
    (args.bench / "coverage.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    columns = (
        Column("method"), Column("high", "share of 5 to 9"), Column("entropy", "entropy of digits", better="higher"),
        Column("digits", "digits with 2 % and more", better="higher", decimals=1),
    )  # fmt: skip
    n = sum(next(iter(found.values()))[0])
    caption = f"{n} samples of each run; of as many real images {np.mean(real >= 5):.2f} are 5 to 9."
    print(markdown_table(Table(columns, rows, caption)))


if __name__ == "__main__":
    main()
