"""What does a pretrained G bring, what a pretrained D, and does the source matter? On points in a plane.

    python experiments/toy_2d/run.py

Writes results.json, table.md and picture.png to this folder, or to that of `--results`. About a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import toy  # noqa: E402

from gan_jax.metrics import prdc  # noqa: E402
from gan_jax.report.table import Column, Table, markdown_table, print_table  # noqa: E402

SOURCES: tuple[toy.Name, ...] = ("wide", "narrow")
NETWORKS = {"both": "gd", "G only": "g", "D only": "d"}


def run(seeds: int = 4, pretrain: int = 15, adapt: int = 6, dispatch: int = 100) -> dict[str, Any]:
    """All runs: `{"rows": [one for each run], "points": {name: [SCORED, 2] of seed 0}, "floor": W1 of two samples}`.

    Args:
      seeds: of weights, latents and the order of points; the points are the same.
      pretrain: dispatches on a source.
      adapt: dispatches on the target.
      dispatch: steps of G in a dispatch.
    """
    trainer, all_seeds = toy.make_toy(toy.config(dispatch)), np.arange(seeds)
    fresh, first = trainer.fresh(all_seeds), trainer.fresh(all_seeds + 1000)
    points = {"target": toy.draw("target", toy.SCORED, 2).reshape(-1, 2)}
    starts: dict[tuple[str, str], Any] = {("scratch", "–"): fresh}
    for i, source in enumerate(SOURCES):
        keys = jax.random.split(jax.random.key(i), seeds)
        g, d, snapshots = trainer.train(*first, keys, toy.draw(source, toy.POINTS, 1), pretrain)
        for name, copied in NETWORKS.items():
            starts[name, source] = (g if "g" in copied else fresh[0], d if "d" in copied else fresh[1])
        points[f"source: {source}"] = snapshots[-1][0]

    rows, keys = [], jax.random.split(jax.random.key(len(SOURCES)), seeds)
    for (name, source), (g, d) in starts.items():
        _, _, snapshots = trainer.train(g, d, keys, toy.draw("target", toy.POINTS, 1), adapt)
        points[f"{name}, {source}" if name in NETWORKS else name] = snapshots[-1][0]
        ascent = np.asarray(trainer.ascent(d, snapshots[0]))
        for seed in range(seeds):
            modes, near = toy.reached(snapshots[-1][seed])
            rows.append({
                "copied": name, "source": source, "seed": seed,
                "recall": prdc(points["target"], snapshots[0][seed], 5).recall,
                "guidance": toy.guidance(snapshots[0][seed], ascent[seed]),
                "w1": [toy.wasserstein(snapshot[seed], points["target"]) for snapshot in snapshots],
                "modes": modes, "near": near,
            })  # fmt: skip
    floor = toy.wasserstein(toy.draw("target", toy.SCORED, 3).reshape(-1, 2), points["target"])
    return {"rows": rows, "points": points, "floor": floor, "dispatch": dispatch}


def summary(rows: list[dict[str, Any]], dispatch: int) -> Table:
    """A row for every start: quality at the start, W1 after one dispatch and at the end, modes reached."""
    table = []
    for name, source in dict.fromkeys((row["copied"], row["source"]) for row in rows):
        matching = [row for row in rows if (row["copied"], row["source"]) == (name, source)]
        table.append({
            "copied": name, "source": source,
            **{key: [row[key] for row in matching] for key in ("recall", "guidance", "near")},
            "modes": [float(row["modes"]) for row in matching],
            "early": [row["w1"][1] for row in matching],
            "end": [row["w1"][-1] for row in matching],
        })  # fmt: skip
    steps = (len(rows[0]["w1"]) - 1) * dispatch
    columns = (
        Column("copied"), Column("source"),
        Column("recall", "recall at the start", better="higher", decimals=2),
        Column("guidance", "D's guidance at the start", better="higher", decimals=2),
        Column("early", f"W1 after {dispatch} steps", better="lower", decimals=2),
        Column("end", f"W1 after {steps:,}", better="lower", decimals=2),
        Column("modes", f"modes of {toy.MODES}", better="higher", decimals=1),
        Column("near", "points near a mode", better="higher", decimals=2),
    )  # fmt: skip
    return Table(columns, table)


def picture(path: Path, points: dict[str, np.ndarray]) -> None:
    """One panel for each set of points of seed 0, the target grey behind it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in points if name != "target"]
    order = [*(n for n in names if n.startswith("source")), *(n for n in names if not n.startswith("source"))]
    wide = -(-len(order) // 2)
    figure, axes = pyplot.subplots(2, wide, figsize=(2.2 * wide, 4.7), squeeze=False)
    for axis in axes.flat:
        axis.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
        axis.axis("off")
    for axis, name in zip(axes.flat, order, strict=False):
        axis.axis("on")
        axis.scatter(*points["target"].T, s=4, c="0.7")
        axis.scatter(*points[name].T, s=1.5, c="#0b6e99")
        axis.set_title(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    began, worked = time.monotonic(), time.process_time()
    results = run(args.seeds)
    seconds = {"wall": round(time.monotonic() - began, 1), "cpu": round(time.process_time() - worked, 1)}
    args.results.mkdir(parents=True, exist_ok=True)
    record = {"seconds": seconds, "jax": jax.__version__, **{k: results[k] for k in ("floor", "dispatch", "rows")}}
    (args.results / "results.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    table = summary(results["rows"], results["dispatch"])
    (args.results / "table.md").write_text(markdown_table(table) + "\n", encoding="utf-8")
    picture(args.results / "picture.png", results["points"])
    print_table(table, "Ten Gaussians on a circle")
    print(f"two samples of {toy.SCORED} target points are {results['floor']:.2f} apart; {seconds}")


if __name__ == "__main__":
    main()
