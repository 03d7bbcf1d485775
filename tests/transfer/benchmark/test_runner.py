"""A whole benchmark of toys: lines, failures, going on, and what is written of them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from gan_jax.config import ConfigError, FreezeDConfig
from gan_jax.report.benchmark import write_benchmark
from gan_jax.transfer.benchmark import current, finished, run_benchmark
from gan_jax.transfer.benchmark.runner import TRIALS, append_trial
from tests.transfer.benchmark.benches import make_bench


@pytest.fixture
def bench(tmp_path):
    return make_bench(tmp_path)


def test_lines_failures_and_report(bench, tmp_path):
    out = tmp_path / "out"
    bench = dataclasses.replace(bench, methods={**bench.methods, "frozen": FreezeDConfig(blocks=9)})
    said = []
    assert run_benchmark(bench, out, note=said.append) is False
    rows = list(current(out, bench).values())
    assert len(rows) == 6 and len(finished(rows)) == 4
    assert all("freeze at most" in row["failed"] for row in rows if row["method"] == "frozen")
    row = next(row for row in rows if row["method"] == "freeze_d")
    assert [one["images"] for one in row["evaluations"]] == [32, 64] and row["images"] == 64 and row["steps"] == 8
    assert row["end"]["kid"] == pytest.approx(row["evaluations"][-1]["kid"])  # the end is the last evaluation
    assert row["trained"]["d"] < row["parameters"]["d"] and row["trained"]["g"] == row["parameters"]["g"]
    assert len({row["protocol"] for row in finished(rows)}) == 1  # of all seeds
    full = next(row for row in rows if row["method"] == "scratch")
    assert 0 < row["flops_per_step"] < full["flops_per_step"]

    said.clear()
    run_benchmark(bench, out, note=said.append)
    assert not said  # nothing is missing
    changed = dataclasses.replace(
        bench, methods={**bench.methods, "frozen": FreezeDConfig(blocks=1)}
    )  # compiled before
    run_benchmark(changed, out, note=said.append)
    assert len([text for text in said if "runs" in text]) == 1  # only what the change is about
    assert len(finished(current(out, changed).values())) == 6

    write_benchmark(bench, out, command="make it")
    page = (out / "index.html").read_text()
    assert "make it" in page and "freeze at most" in page and 'src="http' not in page
    for name in ("overview.md", "cost.tex", "toy-noise-6-quality.csv", "toy-noise-6-reach.md", "failures.md"):
        assert (out / "tables" / name).stat().st_size
    assert (out / "grids" / "toy-noise-freeze_d-6-lr0.001-s1.png").stat().st_size
    samples = np.load(out / "samples" / "toy-noise-freeze_d-6-lr0.001-s1.npy")
    assert samples.shape == (64, 16, 16, 1) and samples.dtype == np.uint8


def test_a_torn_line_is_no_line(bench, tmp_path):
    trial = {"source": None, "target": "noise", "method": "scratch", "shots": 6, "lr": 0.001, "seed": 0, "config": "x"}
    append_trial(tmp_path, trial)
    with (tmp_path / TRIALS).open("a") as file:
        file.write('{"source": null, "tar')
    append_trial(tmp_path, trial | {"seed": 1})
    rows = [json.loads(line) for line in (tmp_path / TRIALS).read_text().splitlines()]
    assert [row["seed"] for row in rows] == [0, 1]
    assert not current(tmp_path, bench)  # of another configuration


def test_what_no_cell_can_run_with_is_an_error(bench, tmp_path):
    with pytest.raises(ConfigError, match="data.reference 80 and 100000 to train on are more than the 96 images"):
        run_benchmark(dataclasses.replace(bench, shots=(100_000,)), tmp_path / "out")
