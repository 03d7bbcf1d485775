"""Growing a trained pair and going on, against the larger pair from fresh weights: two targets, three seeds.

    python experiments/growth/run.py --out runs/growth

Trains the 32 px pair first, unless it is there. Finished runs are not repeated. Writes results.json, and a table and
curves for each target, to this folder or to that of `--results`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import get_args

from config import Target, config, continued  # beside this file

from gan_jax.report.curves import write_curves
from gan_jax.report.seeds import make_chart, make_table, reached, summarise
from gan_jax.report.table import markdown_table, print_table
from gan_jax.report.watch import make_callbacks
from gan_jax.transfer.cells import run_trial
from gan_jax.transfer.run import versions

NAMES = {"grown": "grown", "fresh": "fresh weights"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/growth"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent, help="folder of tables and figures")
    parser.add_argument("--source", default="tfds:fashion_mnist:train", help="the images, such as idx:FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    base = config(args.source)
    trained = run_trial("base", base, args.out / "base", make_callbacks)
    if trained is None:
        raise SystemExit(75)
    args.results.mkdir(parents=True, exist_ok=True)
    results = {"versions": versions(), "seeds": args.seeds, "base": dataclasses.asdict(trained)}
    for target in get_args(Target):
        cells = []
        for seed in range(args.seeds):
            for method in NAMES:
                weights = str(args.out / "base") if method == "grown" else None
                run_config = continued(base, target, weights=weights, seed=seed)
                cell = run_trial(method, run_config, args.out / f"{target}-{method}-{seed}", make_callbacks)
                if cell is None:
                    raise SystemExit(75)
                cells.append(cell)
        table = make_table(cells, NAMES)
        (args.results / f"{target}.md").write_text(markdown_table(table) + "\n", encoding="utf-8")
        write_curves(args.results / f"{target}.png", make_chart(cells, NAMES))
        print_table(table, target)
        results[target] = {
            **summarise(cells),
            "reached": reached(cells, "grown", "fresh"),
            "cells": [dataclasses.asdict(cell) for cell in cells],
        }
    (args.results / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
