"""Tables of a benchmark, from lines whose numbers are known."""

from __future__ import annotations

import csv
import io
import json

import pytest

from gan_jax.config import Config, DataConfig, FinetuneConfig, ScratchConfig
from gan_jax.report import benchmark
from gan_jax.report.benchmark import blocks
from gan_jax.report.table import csv_table, latex_table, markdown_table
from gan_jax.transfer.benchmark import BenchmarkConfig, Target, current, trials
from gan_jax.transfer.benchmark.runner import append_trial, identify

BENCH = BenchmarkConfig(
    title="x",
    base=Config(),
    sources={"s": "path"},
    targets={"t": Target(DataConfig(), "near")},
    methods={"scratch": ScratchConfig(), "finetune": FinetuneConfig(), "refused": FinetuneConfig(networks="d")},
    seeds=(0, 1, 2),
)
KIDS = {"scratch": [[4.0, 3.0], [4.0, 2.0], [4.0, 1.0]], "finetune": [[2.5, 1.5], [2.5, 1.5], [2.5, 1.5]]}


def line(trial) -> dict:
    if trial.method == "refused":
        return identify(BENCH, trial) | {"failed": "not with this network"}
    rows = [{"images": 100 * (i + 1), "seconds": 2.0 * (i + 1), "kid": kid}
            for i, kid in enumerate(KIDS[trial.method][trial.seed])]  # fmt: skip
    return identify(BENCH, trial) | {
        "protocol": "fashion-v1-r9-f9-0a", "measured": "fashion-v1", "relative_only": True, "train_hash": "a",
        "reference_hash": "b", "images": 200, "steps": 10, "evaluations": rows, "end": {"kid": rows[-1]["kid"]},
        "trained": {"g": 5, "d": 7}, "parameters": {"g": 5, "d": 9}, "seconds": {"train": 4.0, "prepare": 1.0},
        "flops_per_step": 2e9 if trial.method == "finetune" else 3e9,
    }  # fmt: skip


@pytest.fixture
def block(tmp_path):
    for trial in trials(BENCH):
        append_trial(tmp_path, json.loads(json.dumps(line(trial))))
    (found,) = blocks(BENCH, current(tmp_path, BENCH))
    return found


def test_quality(block):
    text = markdown_table(benchmark.quality(block))
    assert "| scratch | 2.000 ± 2.484 |" in text  # t of two degrees of freedom, 4.303, times 1 / sqrt(3)
    assert "| finetune | **1.500 ± 0.000** |" in text
    assert "rank methods on this target" in text and "fashion-v1-r9-f9-0a" in text


def test_time_to_the_baseline(block):
    """Finetune reaches 3 at once, 2 at its second evaluation, 1 never: so there is no mean."""
    (row,) = benchmark.reach(BENCH, block).rows
    assert row == {"method": "finetune", "seeds": "2 of 3", "images": None, "seconds": None}
    for run in block.rows["scratch"]:
        run["evaluations"][-1]["kid"] = 2.6
    (row,) = benchmark.reach(BENCH, block).rows
    assert row["seeds"] == "3 of 3" and row["images"] == [100, 100, 100] and row["seconds"] == [2.0, 2.0, 2.0]
    for run in block.rows["scratch"]:
        run["evaluations"][-1]["kid"] = 0.5
    assert benchmark.reach(BENCH, block).rows[0]["seeds"] == "not reached"


def test_seeds_that_only_one_method_finished_are_not_compared(block):
    del block.rows["finetune"][1]
    seeds = [(trial.method, trial.seed) for trial in block.trials("scratch", "finetune")]
    assert seeds == [("scratch", 0), ("scratch", 2), ("finetune", 0), ("finetune", 2)]
    assert benchmark.reach(BENCH, block).rows[0]["seeds"] == "1 of 2"


def test_costs_and_failures(block):
    scratch, finetune = benchmark.cost([block]).rows
    assert (scratch["relative"], finetune["relative"], scratch["ms"]) == (1.5, 1.0, pytest.approx(400.0))
    (row,) = benchmark.failures([block]).rows
    assert row == {"target": "t", "method": "refused", "runs": 3, "why": "not with this network"}


def test_other_formats(block):
    table = benchmark.overview([block])
    head, scratch, _ = csv.reader(io.StringIO(csv_table(table)))
    kid = "t (near): KID (fashion-v1)"
    assert head == ["method", kid, f"{kid}, half-width of 95 %", f"{kid}, seeds"]
    name, mean, half, seeds = scratch
    assert (name, float(mean), seeds) == ("scratch", 2.0, "3") and float(half) == pytest.approx(2.484, abs=1e-3)
    text = latex_table(table)
    assert r"scratch & 2.000 $\pm$ 2.484 \\" in text and r"\textbf{1.500 $\pm$ 0.000}" in text
    assert r"fashion-v1) $\downarrow$" in text
