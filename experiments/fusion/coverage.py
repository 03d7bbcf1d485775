"""The digits that the pairs of the experiment generate: a classifier's histogram over the samples of every trial.

    gan-jax weights get lenet-mnist
    python experiments/fusion/coverage.py runs/fusion/digits

Writes coverage.json and coverage.png (methods by digit) to the benchmark's folder and prints a table: the fraction of
samples of high digits (those of the second donor), and the entropy of the histogram over that of a uniform one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from gan_jax.metrics import extract, load_features
from gan_jax.report.table import Column, Table, markdown_table


def main() -> None:
    """Reads the samples of all trials on digits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", type=Path)
    args = parser.parse_args()
    net, histograms = load_features("lenet-mnist"), {}
    classify = lambda images: extract(net, images).logits.argmax(1)
    real = classify(np.load(args.bench / "samples" / "real-digits.npy"))
    for path in sorted((args.bench / "samples").glob("*-digits-*.npy")):
        method = path.stem.split("-digits-")[1].rpartition("-100-")[0]
        counts = np.bincount(classify(np.load(path)), minlength=10)
        histograms.setdefault(method, []).append(counts.tolist())
    rows = []
    for method, counts in histograms.items():
        shares = [np.asarray(histogram) / sum(histogram) for histogram in counts]
        rows.append({
            "method": method,
            "high": [float(p[5:].sum()) for p in shares],
            "entropy": [float(-(p[p > 0] * np.log(p[p > 0])).sum() / np.log(10)) for p in shares],
            "digits": [float((p >= 0.02).sum()) for p in shares],
        })  # fmt: skip
    (args.bench / "coverage.json").write_text(json.dumps(histograms, indent=1) + "\n", encoding="utf-8")
    columns = (
        Column("method"), Column("high", "share of 5 to 9"), Column("entropy", "entropy of digits", better="higher"),
        Column("digits", "digits with 2 % and more", better="higher", decimals=1),
    )  # fmt: skip
    n = sum(next(iter(histograms.values()))[0])
    caption = f"{n} samples of each run; of as many real images {np.mean(real >= 5):.2f} are 5 to 9."
    print(markdown_table(Table(columns, rows, caption)))
    draw(args.bench / "coverage.png", {name: np.mean(counts, 0) / n for name, counts in histograms.items()})


def draw(path: Path, shares: dict[str, np.ndarray]) -> None:
    """A heat map: methods by digit, means over seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 1.2 + 0.26 * len(shares)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(np.stack(list(shares.values())), aspect="auto", cmap="viridis", vmin=0, vmax=0.3)
    axes.set_xticks(range(10))
    axes.set_yticks(range(len(shares)), list(shares), fontsize=8)
    axes.set_title("share of the samples that are of each digit (a tenth is even)", fontsize=10)
    figure.colorbar(image, ax=axes, extend="max")
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
