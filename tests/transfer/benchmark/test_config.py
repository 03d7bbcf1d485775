"""What a benchmark's trials are, and what names them."""

from __future__ import annotations

import dataclasses

import pytest

from gan_jax.config import ConfigError, DataConfig, FinetuneConfig, LogConfig, OptimConfig, ScratchConfig
from gan_jax.transfer.benchmark import BenchmarkConfig, Target, restrict, trials
from gan_jax.transfer.benchmark.config import config_hash, filled_in, trial_config
from tests.transfer.benchmark.benches import BASE

BENCH = BenchmarkConfig(
    title="x",
    base=dataclasses.replace(BASE, optim=OptimConfig(lr=1e-3, d_lr=2e-3)),
    sources={"a": "path/a", "b": "path/b"},
    targets={"t": Target(DataConfig(source="npz:$PLACE/t.npz"), "near")},
    methods={"scratch": ScratchConfig(), "finetune": FinetuneConfig()},
    shots=(5, 10),
    seeds=(0, 1),
    lrs=(1e-3, 4e-3),
)


def test_cells_of_scratch_stand_there_once():
    found = trials(BENCH)
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 3  # shots, rates, seeds; scratch, and two sources
    assert {trial.source for trial in found if trial.method == "scratch"} == {None}
    assert {trial.source for trial in found if trial.method == "finetune"} == {"a", "b"}


def test_a_cell_is_a_run():
    trial = next(c for c in trials(BENCH) if (c.source, c.shots, c.lr, c.seed) == ("b", 10, 4e-3, 1))
    run = trial_config(BENCH, trial)
    assert (run.transfer.source, run.data.shots, run.data.subset_seed, run.train.seed) == ("path/b", 10, 1, 1)
    assert (run.optim.lr, run.optim.d_lr) == (4e-3, 8e-3)  # D's in proportion


def test_hash_tells_what_numbers_depend_on():
    trial = trials(BENCH)[-1]
    same = dataclasses.replace(BENCH, title="y", base=dataclasses.replace(BENCH.base, log=LogConfig(tensorboard=False)))
    assert config_hash(same, trial) == config_hash(BENCH, trial)
    methods = {**BENCH.methods, "finetune": FinetuneConfig(d_warmup_kimg=0.016)}
    for other in (dataclasses.replace(BENCH, lpips="alexnet"), dataclasses.replace(BENCH, methods=methods)):
        assert config_hash(other, trial) != config_hash(BENCH, trial)


def test_hash_is_that_of_results_measured_before():
    """Names of kinds have changed since: a result that is there must still count as measured."""
    assert [config_hash(BENCH, trial) for trial in trials(BENCH)[:1] + trials(BENCH)[-1:]] == [
        "e54e5eb42a9fbf81",
        "a5fcb5357e56a1f5",
    ]


def test_paths_come_from_the_environment(monkeypatch):
    run = trial_config(BENCH, trials(BENCH)[0])
    monkeypatch.delenv("PLACE", raising=False)
    with pytest.raises(ConfigError, match="PLACE is not set"):
        filled_in(run)
    monkeypatch.setenv("PLACE", "/data")
    assert filled_in(run).data.source == "npz:/data/t.npz"


def test_restricted():
    few = restrict(BENCH, methods=["finetune"], seeds=[1])
    assert {(c.method, c.seed) for c in trials(few)} == {("finetune", 1)} and few.baseline is None
    with pytest.raises(ConfigError, match="'finetun' among its methods .did you mean 'finetune'"):
        restrict(BENCH, methods=["finetun"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": {}}, "methods is empty"),
        ({"seeds": (0, 0)}, "seeds names"),
        ({"baseline": "nothing"}, "baseline is 'nothing'"),
        ({"targets": {"a/b": BENCH.targets["t"]}}, "no file name"),
        ({"lrs": (0.0,)}, "lrs must be positive"),
    ],
)
def test_what_cannot_run_is_said(changes, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(BENCH, **changes).validate()
