"""Ten runs, a table and a figure: adapted and from scratch, five seeds, 100 images, equal budgets.

    python experiments/quickstart_transfer/run.py --out runs/quickstart

Finished runs are not repeated, so that an interrupted experiment goes on where it was. Writes results.json, table.md and
curves.png to this folder, or to that of `--results`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from gan_jax.report.curves import write_curves
from gan_jax.report.seeds import make_chart, make_table, reached, summarise
from gan_jax.report.table import markdown_table, print_table
from gan_jax.report.watch import make_callbacks
from gan_jax.transfer.cells import run_trial
from gan_jax.transfer.recipes import TARGETS, few_shot
from gan_jax.transfer.run import versions

NAMES = {"adapted": "adapted", "scratch": "from scratch"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent, help="folder of tables and figures")
    parser.add_argument("--target", choices=list(TARGETS), default="boot")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kimg", type=float, default=8.192, help="real images shown to each run, thousands")
    args = parser.parse_args()
    cells = []
    for seed in range(args.seeds):
        for method in NAMES:
            config = few_shot(args.target, transfer=method == "adapted", seed=seed, kimg=args.kimg)
            folder = args.out / f"{args.target}-{method}-{seed}"
            if (cell := run_trial(method, config, folder, make_callbacks)) is None:
                raise SystemExit(75)
            cells.append(cell)
    about = {"target": args.target, "seeds": args.seeds, "kimg": args.kimg, "versions": versions()}
    summary = {**about, **summarise(cells), "reached": reached(cells, "adapted", "scratch")}
    args.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"summary": summary, "cells": [dataclasses.asdict(cell) for cell in cells]}, indent=1)
    (args.results / "results.json").write_text(text + "\n", encoding="utf-8")
    table = make_table(cells, NAMES)
    (args.results / "table.md").write_text(markdown_table(table) + "\n", encoding="utf-8")
    write_curves(args.results / "curves.png", make_chart(cells, NAMES))
    print_table(table, "Quickstart")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
