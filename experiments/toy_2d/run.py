"""What does a pretrained G bring, what a pretrained D, and does it matter which source? On points in a plane.

    python experiments/toy_2d/run.py

Writes results.json and picture.png beside this file, or where `--results` says. About a minute on two cores.
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

import numpy as np  # noqa: E402
import toy  # noqa: E402

from gan_jax.report.table import Column, Table, interval, print_table  # noqa: E402
from gan_jax.train.compile import use_all_cores  # noqa: E402

SOURCES: tuple[toy.Mixture, ...] = ("grid", "pair")
TARGET: toy.Mixture = "ring"
NETWORKS = {"both": ("g", "d"), "G only": ("g",), "D only": ("d",)}


def run(seeds: int = 4, steps: int = 5000, dispatch: int = 500) -> dict[str, Any]:
    """All runs: `{"rows": [...], "points": {name: [SCORED, 2] of seed 0}}`, each row a run's scores at each dispatch."""
    made = toy.make_toy(toy.config(steps, dispatch), seeds)
    target = toy.draw(TARGET, toy.POINTS, 1)
    held_out = toy.draw(TARGET, toy.SCORED, 2).reshape(-1, 2)
    fresh, first = made.fresh(np.arange(seeds)), made.fresh(np.arange(seeds) + 1000)
    starts: dict[tuple[str, str], tuple[Any, Any]] = {("none", "scratch"): fresh}
    points: dict[str, np.ndarray] = {}
    for source in SOURCES:
        g, d, seen = made.train(*first, toy.draw(source, toy.POINTS, 1))
        points[f"source {source}"] = seen[-1][0]
        for name, copied in NETWORKS.items():
            starts[source, name] = (g if "g" in copied else fresh[0], d if "d" in copied else fresh[1])
    rows = []
    for (source, name), start in starts.items():
        _, _, seen = made.train(*start, target)
        points[f"{name}, {source}" if source != "none" else name] = seen[-1][0]
        for seed in range(seeds):
            rows.append({
                "source": source, "copied": name, "seed": seed,
                "steps": [i * made.config.train.steps_per_dispatch for i in range(len(seen))],
                "w1": [toy.wasserstein(one[seed], held_out) for one in seen],
                "modes": [toy.modes(one[seed], TARGET) for one in seen],
            })  # fmt: skip
    floor = toy.wasserstein(toy.draw(TARGET, toy.SCORED, 3).reshape(-1, 2), held_out)
    return {"rows": rows, "points": points | {"target": held_out}, "floor": floor}


def summary(rows: list[dict[str, Any]]) -> Table:
    """Mean and 95 % interval over seeds, in the middle of the run, at its end, and of the modes that are reached."""
    names = dict.fromkeys((row["copied"], row["source"]) for row in rows)
    table = []
    for name, source in names:
        own = [row for row in rows if (row["copied"], row["source"]) == (name, source)]
        middle = len(own[0]["w1"]) // 5  # a fifth of the steps
        table.append({
            "copied": name, "source": source,
            "early": interval([row["w1"][middle] for row in own]),
            "end": interval([row["w1"][-1] for row in own]),
            "modes": interval([row["modes"][-1] for row in own]),
        })  # fmt: skip
    columns = (
        Column("copied"), Column("source"), Column("early", "W1 after a fifth", better="lower"),
        Column("end", "W1 at the end", better="lower"), Column("modes", "modes of 8", better="higher"),
    )  # fmt: skip
    return Table(columns, table, f"{len({row['seed'] for row in rows})} seeds, mean and 95 % interval.")


def picture(path: Path, points: dict[str, np.ndarray]) -> None:
    """One panel for each set of points, the target grey behind it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in points if name != "target"]
    figure, axes = pyplot.subplots(2, -(-len(names) // 2), figsize=(2.2 * -(-len(names) // 2), 4.7), squeeze=False)
    for axis in axes.flat:
        axis.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal", xticks=[], yticks=[])
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        axis.axis("on")
        axis.scatter(*points["target"].T, s=2, c="0.75")
        axis.scatter(*points[name].T, s=2, c="#0b6e99")
        axis.set_title(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5000)
    args = parser.parse_args()
    use_all_cores()
    began = time.monotonic()
    found = run(args.seeds, args.steps)
    seconds = round(time.monotonic() - began, 1)
    args.results.mkdir(parents=True, exist_ok=True)
    kept = {"seconds": seconds, "floor": found["floor"], "rows": found["rows"]}
    (args.results / "results.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")
    picture(args.results / "picture.png", found["points"])
    print_table(summary(found["rows"]), "Eight Gaussians on a ring")
    print(f"two sets of {toy.SCORED} target points are {found['floor']:.3f} apart; {seconds} s")


if __name__ == "__main__":
    main()
