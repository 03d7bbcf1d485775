"""Ten runs, a table and a figure: adapted and from scratch, five seeds, 100 images, equal budgets.

    python experiments/quickstart_transfer/run.py --out runs/quickstart

Finished runs are not repeated, so an interrupted experiment goes on where it was. Writes results.json, table.md,
curves.png beside this file, or where `--results` says.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.cli.watch import make_callbacks
from gan_jax.report.comparison import MEASURES
from gan_jax.report.curves import Chart, Curve, write_curves
from gan_jax.report.table import Column, Table, interval, markdown_table, print_table
from gan_jax.train.checkpoint_rows import read_rows
from gan_jax.transfer.recipes import TARGETS, few_shot
from gan_jax.transfer.run import EVALUATIONS, run, versions

METHODS = {"adapted": True, "scratch": False}


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
        for method, transfer in METHODS.items():
            cells.append(run_cell(args.out / f"{args.target}-{method}-{seed}", args.target, transfer, seed, args.kimg))
    summary = summarise(cells, args)
    args.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"summary": summary, "cells": cells}, indent=1)
    (args.results / "results.json").write_text(text + "\n", encoding="utf-8")
    table = make_table(cells)
    (args.results / "table.md").write_text(markdown_table(table) + "\n", encoding="utf-8")
    write_curves(args.results / "curves.png", make_chart(cells))
    print_table(table, "Quickstart")
    print(json.dumps(summary, indent=1))


def run_cell(folder: Path, target: Any, transfer: bool, seed: int, kimg: float) -> dict[str, Any]:
    """One run's evaluations; from its folder if it is finished."""
    done = folder / "cell.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    config = few_shot(target, transfer=transfer, seed=seed, kimg=kimg)
    result = run(config, folder, make_callbacks(config, folder, folder.name))
    if result.stopped:
        raise SystemExit(75)
    cell = {
        "method": "adapted" if transfer else "scratch",
        "seed": seed,
        "train_hash": result.dataset.train_hash,
        "reference_hash": result.dataset.reference_hash,
        "evaluations": read_rows(folder / EVALUATIONS),
    }
    done.write_text(json.dumps(cell), encoding="utf-8")
    return cell


def last(cells: list[dict[str, Any]], method: str, key: str) -> list[float]:
    """The last evaluation's value of every seed."""
    return [cell["evaluations"][-1][key] for cell in cells if cell["method"] == method]


def summarise(cells: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Means, 95 % intervals, whether they overlap, and how soon adapted reaches scratch's last KID."""
    out: dict[str, Any] = {"target": args.target, "seeds": args.seeds, "kimg": args.kimg, "versions": versions()}
    for key in MEASURES:
        ranges = {}
        for method in METHODS:
            mean, half = interval(last(cells, method, key))
            ranges[method] = (mean, half or 0.0)
            out[f"{key} {method}"] = {"mean": mean, "half_width_95": half}
        (a, da), (b, db) = ranges["adapted"], ranges["scratch"]
        out[f"{key} intervals overlap"] = abs(a - b) <= da + db
    out["reached"] = [reach(cells, seed) for seed in range(args.seeds)]
    return out


def reach(cells: list[dict[str, Any]], seed: int) -> dict[str, Any] | None:
    """Images and seconds at which the adapted run of a seed first equals its scratch run's last KID."""
    rows = {cell["method"]: cell["evaluations"] for cell in cells if cell["seed"] == seed}
    end = rows["scratch"][-1]
    first = next((row for row in rows["adapted"] if row["kid"] <= end["kid"]), None)
    if first is None:
        return None
    keys = ("images", "seconds")
    return {key: first[key] for key in keys} | {f"scratch_{key}": end[key] for key in keys}


def make_table(cells: list[dict[str, Any]]) -> Table:
    lower = {"fd": "FD (fashion-v1)", "kid": "KID (fashion-v1)"}
    columns = (
        Column("run"),
        *(Column(k, lower.get(k, k), better="lower" if k in lower else "higher") for k in MEASURES),
    )
    names = {"adapted": "adapted", "scratch": "from scratch"}
    rows = [{"run": names[m], **{k: last(cells, m, k) for k in MEASURES}} for m in METHODS]
    return Table(columns, rows, f"Protocol {cells[0]['evaluations'][-1]['protocol']} and its like of the other seeds.")


def make_chart(cells: list[dict[str, Any]]) -> Chart:
    curves = []
    for method in METHODS:
        rows = [cell["evaluations"] for cell in cells if cell["method"] == method]
        over = lambda key, rows=rows: np.array([[row[key] for row in seed] for seed in rows])
        bands = [interval(list(column)) for column in over("kid").T]
        means, halves = [mean for mean, _ in bands], [half or 0.0 for _, half in bands]
        curves.append(Curve(method, over("images")[0].tolist(), means, over("seconds").mean(0).tolist(), halves))
    return Chart("KID (fashion-v1)", "KID (fashion-v1)", tuple(curves), note="Mean and 95 % interval over seeds.")


if __name__ == "__main__":
    main()
