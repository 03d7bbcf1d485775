"""Finished trials of several methods and seeds, as a summary, a table and curves with intervals."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.report.comparison import MEASURES
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.table import Column, Table, interval
from gan_jax.transfer.cells import Trial

LOWER = {"fd": "FD", "kid": "KID"}  # better when lower


def measured(trials: Sequence[Trial]) -> list[str]:
    """The measurements that all trials have: a Frechet distance is left out where there are too few images."""
    return [key for key in MEASURES if all(key in trial.end for trial in trials)]


def last(trials: Sequence[Trial], method: str, key: str) -> list[float]:
    """The last evaluation's value of every seed."""
    return [trial.end[key] for trial in trials if trial.method == method]


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """Means with 95 % intervals by measure and method, and for each pair of methods whether the intervals overlap."""
    out: dict[str, Any] = {}
    methods = list(dict.fromkeys(trial.method for trial in trials))
    for key in measured(trials):
        ranges = {method: interval(last(trials, method, key)) for method in methods}
        for method, (mean, half) in ranges.items():
            out[f"{key} {method}"] = {"mean": mean, "half_width_95": half}
        for a, b in itertools.combinations(methods, 2):
            (mean_a, half_a), (mean_b, half_b) = ranges[a], ranges[b]
            reach = None if half_a is None or half_b is None else half_a + half_b  # one seed has no interval
            out[f"{key} {a} and {b} overlap"] = None if reach is None else abs(mean_a - mean_b) <= reach
    return out


def reached(trials: Sequence[Trial], method: str, baseline: str, key: str = "kid") -> list[dict[str, Any] | None]:
    """For each seed, images and seconds at which a method first equals the baseline's last value; None = never."""
    rows = {(trial.method, trial.seed): trial.evaluations for trial in trials}
    out: list[dict[str, Any] | None] = []
    for seed in sorted({trial.seed for trial in trials}):
        end = rows[baseline, seed][-1]
        first = next((row for row in rows[method, seed] if row[key] <= end[key]), None)
        out.append(None if first is None else {**_when(first), **_when(end, f"{baseline}_")})
    return out


def make_table(trials: Sequence[Trial], names: Mapping[str, str]) -> Table:
    """A row for each method, under its name in `names`, with the last evaluation of its seeds."""
    better = lambda key: "lower" if key in LOWER else "higher"
    columns = (Column("run"), *(Column(key, _title(trials, key), better=better(key)) for key in measured(trials)))
    rows = [
        {"run": name, **{key: last(trials, method, key) for key in measured(trials)}} for method, name in names.items()
    ]
    return Table(columns, rows, f"Protocol {trials[0].end['protocol']} and its like of the other seeds.")


def make_chart(trials: Sequence[Trial], names: Mapping[str, str], key: str = "kid") -> Chart:
    """One curve for each method over images and mean seconds: mean and interval over seeds."""
    curves = []
    for method, name in names.items():
        seeds = [trial.evaluations for trial in trials if trial.method == method]
        by_seed = {
            what: np.array([[row[what] for row in rows] for rows in seeds]) for what in (key, "images", "seconds")
        }
        bands = [interval(list(column)) for column in by_seed[key].T]
        means, halves = [mean for mean, _ in bands], [half or 0.0 for _, half in bands]
        seconds = by_seed["seconds"].mean(0).tolist()
        curves.append(Curve(name, by_seed["images"][0].tolist(), means, seconds, halves))
    return Chart(_title(trials, key), _title(trials, key), tuple(curves), note="Mean and 95 % interval over seeds.")


def _title(trials: Sequence[Trial], key: str) -> str:
    """A distance is named after the network that its protocol's id begins with: `FD (fashion-v1)`."""
    extractor = re.sub(r"-r\d+-f\d+-\w+$", "", trials[0].end["protocol"])
    return f"{LOWER[key]} ({extractor})" if key in LOWER else key


def _when(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {prefix + name: row[name] for name in ("images", "seconds")}
