"""Populations and benchmarks of networks that translate: replicas are runs, and measured as runs are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import Config, ConfigError, DataConfig, EvalConfig, FreezeDConfig, LoRAConfig, ScratchConfig
from gan_jax.report.benchmark import write_benchmark
from gan_jax.tasks import networks_of
from gan_jax.tasks.model import save
from gan_jax.train.rows import read_rows
from gan_jax.transfer.benchmark import BenchmarkConfig, Target, run_benchmark
from gan_jax.transfer.benchmark.config import trial_config, trials
from gan_jax.transfer.benchmark.population import make_setup, train_population
from gan_jax.transfer.benchmark.runner import Measures
from gan_jax.transfer.run import run
from gan_jax.transfer.weights import fresh_variables
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.tasks.translating import TASKS, config_of

SHOTS = 6


def make_bench(folder, task, methods):
    """Two seeds of each method on 6 of 24 pairs of a task."""
    config, rng = config_of(task), np.random.default_rng(0)
    net = config.net
    rows = lambda *rest: rng.integers(0, 256, (24, net.resolution, net.resolution, *rest), np.uint8)
    if task == "layout":
        arrays = {"inputs": rows() % net.num_labels, "instances": rows().astype(np.int32)}
    else:
        arrays = {"inputs": rows(net.in_channels)}
    np.savez(folder / "pairs.npz", images=rows(net.channels), **arrays)
    roots = {"g": "g_ema", "g_ab": "g_ab_ema", "g_ba": "g_ba_ema"}
    variables = fresh_variables(networks_of(config), 0)
    save(folder / "source", net, {roots.get(name, name): tree for name, tree in variables.items()}, {})
    base = dataclasses.replace(config, evaluate=EvalConfig(every_kimg=None, n_fake=18))
    return BenchmarkConfig(
        title="Toys", base=base, sources={"toy": str(folder / "source")}, methods=methods, shots=(SHOTS,), seeds=(0, 1),
        targets={"noise": Target(DataConfig(source=f"npz:{folder}/pairs.npz"), "far")}, baseline=None,
    )  # fmt: skip


@pytest.mark.parametrize("task", default_rows(TASKS, ["unpaired"]))
def test_replicas_are_runs(task, tmp_path):
    """Of other weights, other images and other pools, in one program; their generators are measured on their own pairs."""
    bench = make_bench(tmp_path, task, {"freeze_d": FreezeDConfig(blocks=1)})
    configs = [trial_config(bench, trial) for trial in trials(bench)]
    measures, setup = Measures(None), make_setup(configs[0], SHOTS)
    replicas = [setup.replica(config, measures.dataset(config)) for config in configs]
    seen = []
    trained = train_population(
        setup, replicas, lambda i, images, s, ema, losses: seen.append((i, set(ema))), lambda: False
    )
    assert seen == [(i, set(networks_of(configs[0]).generators)) for i in range(2)]
    alone = run(dataclasses.replace(configs[1], evaluate=EvalConfig(features=None)), tmp_path / "alone").state
    networks = lambda state: flatten({"nets": state.nets, "ema": state.ema})
    want, got = networks(alone), networks(trained.states[1])
    for path, value in want.items():
        assert_allclose(got[path], value, rtol=2e-3, atol=2e-5, err_msg=path)
    first = networks(trained.states[0])
    assert any(np.abs(first[path] - got[path]).max() > 1e-3 for path in got if path.endswith("kernel"))


def test_a_benchmark_of_translators(tmp_path):
    """Its lines have the numbers of pairs, under their protocols; tables and page are written."""
    bench = make_bench(tmp_path, "paired", {"lora": LoRAConfig(rank=1)})
    out = tmp_path / "out"
    assert not run_benchmark(bench, out)
    rows = read_rows(out / "cells.jsonl", numbers=())
    assert len(rows) == 2 and not any("failed" in row for row in rows), rows
    for row in rows:
        assert row["trained"]["g"] < row["parameters"]["g"] and row["flops_per_step"] > 0
        end = row["end"]
        assert {"kid", "l1", "psnr", "ssim", "memorisation"} <= set(end) and set(end["protocols"]) >= {
            "l1",
            "psnr",
            "ssim",
        }
        assert end["l1"] == row["evaluations"][-1]["l1"] and 0 < end["l1"] < 2
    assert rows[0]["end"]["l1"] != rows[1]["end"]["l1"]
    tables = dict(write_benchmark(bench, out, command="x"))
    text = str(tables)
    assert "PSNR" in text and "trained, G" in text and (out / "index.html").exists()


def test_what_a_benchmark_of_translators_cannot_measure(tmp_path):
    bench = make_bench(tmp_path, "paired", {"scratch": ScratchConfig()})
    with pytest.raises(ConfigError, match="lpips is vgg16, which is of samples around training images"):
        dataclasses.replace(bench, lpips="vgg16").validate()
    with pytest.raises(ConfigError, match="lpips is vgg16"):
        run_benchmark(dataclasses.replace(bench, lpips="vgg16"), tmp_path / "out")
    assert isinstance(bench.base, Config) and not (tmp_path / "out").exists()
