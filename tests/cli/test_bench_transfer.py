"""`gan-jax bench-transfer`, up to the training itself."""

from __future__ import annotations

import pytest

from gan_jax.cli.arguments import load_experiment
from gan_jax.cli.main import main
from gan_jax.config import Config
from gan_jax.transfer.benchmark import BenchmarkConfig, trials
from gan_jax.transfer.benchmark.config import trial_config
from tests.conftest import REPO

FOLDER = REPO / "experiments" / "transfer_benchmark"


@pytest.mark.parametrize("name", ["config", "mnist", "cifar", "digiface", "emoji"])
def test_experiments_can_run(name):
    """Every trial's configuration; near and far, or near alone, stand in the file."""
    bench = load_experiment(FOLDER / f"{name}.py", BenchmarkConfig).validate()
    for trial in trials(bench):
        if trial.seed == bench.seeds[0]:
            trial_config(bench, trial).validate()
    assert {target.relation for target in bench.targets.values()} == ({"near"} if name == "emoji" else {"near", "far"})
    assert "scratch" in bench.methods and bench.base.evaluate.every_kimg * 5 == pytest.approx(bench.base.train.kimg)


@pytest.mark.parametrize("name", ["mnist", "cifar", "noto"])
def test_sources_can_be_trained(name):
    assert load_experiment(FOLDER / f"source_{name}.py", Config).validate()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "finetun"], "did you mean 'finetune'"),
        (["--seeds", "one"], "--seeds is 'one'; use whole numbers"),
    ],
)
def test_wrong_choices(options, words, capsys, tmp_path):
    assert main(["bench-transfer", str(FOLDER / "config.py"), "--out", str(tmp_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_another_kind_of_experiment(capsys):
    assert main(["bench-transfer", str(REPO / "experiments/pretrain_fashion/config.py")]) == 2
    assert "must return a gan_jax.transfer.benchmark.config.BenchmarkConfig, not Config" in capsys.readouterr().err
