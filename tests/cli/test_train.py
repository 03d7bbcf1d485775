from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

from gan_jax import config as c
from gan_jax.config import Config, to_dict
from gan_jax.train.processes import LockError


def ran(fake_run):
    (name, (config, folder), _kwargs) = fake_run.calls[-1]
    assert name == "run"
    return config, folder


def test_the_defaults(cli, fake_run):
    assert cli("train") == 0
    assert ran(fake_run) == (Config(), Path("runs/scratch-embedded-fashion-mnist"))


def test_options_override_the_file(cli, fake_run, experiment, tmp_path):
    argv = ["train", experiment, "--optim.lr", "1e-3", "--transfer.blocks", 2, "--data.classes", 1, 9]
    assert cli(*argv, "--out", tmp_path / "run") == 0
    config, folder = ran(fake_run)
    assert folder == tmp_path / "run"
    assert config.optim == c.OptimConfig(lr=1e-3, b1=0.5)  # b1 is the file's
    assert config.transfer == c.FreezeDConfig(blocks=2, source="embedded:x")
    assert config.data.classes == (1, 9)
    assert config.net == c.ResNetConfig(resolution=16, channels=3)


def test_none_and_underscores(cli, fake_run):
    assert cli("train", "--checkpoint.every_kimg", "None", "--data.shots", 100) == 0
    config, _ = ran(fake_run)
    assert config.checkpoint.every_kimg is None and config.data.shots == 100


def test_kinds_are_chosen_by_name(cli, fake_run):
    assert cli("train", "--net", "dcgan", "--net.resolution", 64, "--method=freeze_d", "--transfer.blocks", 2) == 0
    config, _ = ran(fake_run)
    assert config.net == c.DCGANConfig(resolution=64) and config.transfer == c.FreezeDConfig(blocks=2)


def test_a_run_is_started_again_from_its_folder_alone(cli, fake_run, tmp_path):
    config = Config(net=c.DCGANConfig(), optim=c.OptimConfig(lr=1.5e-4), augment=c.AugmentConfig(policy=("color",)))
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(config), "versions": {"jax": "0"}}))
    for start in (tmp_path, tmp_path / "config.json"):
        assert cli("train", start) == 0
        assert ran(fake_run) == (config, tmp_path)


def test_the_help_shows_the_files_defaults(cli, experiment):
    assert cli("train", experiment, "--help") == 0
    words = " ".join(cli.out.split())
    assert "(default: 0.0005)" in words
    assert cli("train", experiment, "--help-all") == 0
    assert "--transfer.blocks INT" in " ".join(cli.out.split())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--optim.lrr", "1"), "did you mean --optim.lr"),
        (("--transfer.block", "2", "--method", "freeze_d"), "did you mean --transfer.blocks"),
        (("--net", "dcgna"), "did you mean dcgan? --help lists all"),
        (("--optim.lr", "fast"), "--optim.lr is 'fast'; use a number"),
        (("--loss.name", "hing"), "hinge"),
        (("--net.resolution", "24"), "net.resolution is 24; use a power of two from 16"),
        (("--transfer.blocks", "2"), "--transfer.blocks"),  # scratch has no blocks
        (("--net", "dcgan", "--loss.gp-lambda", "10"), "(--net resnet)"),
        (("nothing.py",), "there is no file nothing.py"),
    ],
)
def test_wrong_options_say_what_is_right(cli, fake_run, argv, message):
    assert cli("train", *argv) == 2
    assert message in " ".join((cli.out + cli.err).replace("│", " ").split())
    assert "Traceback" not in cli.err and fake_run.calls == []


def test_the_file_comes_first(cli, fake_run, experiment):
    assert cli("train", "--optim.lr", "1", experiment) == 2
    assert f"name the file first, before the options: gan-jax train {experiment}" in cli.err


def test_a_stopped_run_has_its_own_code(cli, fake_run, tmp_path):
    fake_run.result = types.SimpleNamespace(stopped=True, stopped_by="SIGTERM")
    assert cli("train", "--out", tmp_path) == 75
    assert f"the same command goes on: gan-jax train {tmp_path}" in cli.out


def test_ctrl_c_has_its_own_code(cli, fake_run, tmp_path):
    fake_run.result = types.SimpleNamespace(stopped=True, stopped_by="Ctrl-C")
    assert cli("train", "--out", tmp_path) == 130
    assert f"the same command goes on: gan-jax train {tmp_path}" in cli.out


def test_fork_names_a_run_and_a_new_folder(cli, fake_run, tmp_path):
    config = Config(optim=c.OptimConfig(lr=1.5e-4))
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(config)}))
    assert cli("train", tmp_path, "--optim.b1", 0.5, "--fork", tmp_path / "new", "--at", 16) == 0
    assert ran(fake_run) == (Config(optim=c.OptimConfig(lr=1.5e-4, b1=0.5)), tmp_path / "new")
    assert fake_run.calls[-1][2] == {"at": 16, "fallback": False, "fork": tmp_path}
    assert cli("train", "--fork", tmp_path / "new") == 2 and "gan-jax train RUN --fork NEW" in cli.err
    assert cli("train", tmp_path, "--fork", "new", "--out", "x") == 2 and "two folders for one run" in cli.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LockError("run folder x is in use by process 1"), 2),
        (c.ConfigError("x was run with another configuration:\n  train.seed: 0 -> 1"), 2),
        (OSError(28, "No space left on device"), 3),
    ],
)
def test_errors_of_a_run(cli, fake_run, error, code):
    fake_run.error = error
    assert cli("train") == code
    assert cli.err.startswith("gan-jax train: ") and "Traceback" not in cli.err


# -- transfer, plan ------------------------------------------------------------------------------------------


def test_transfer_prints_the_plan_then_trains(cli, fake_run):
    assert cli("transfer", "--method", "freeze_d", "--transfer.blocks", 2, "--data.shots", 100) == 0
    config, _ = ran(fake_run)
    assert config.transfer == c.FreezeDConfig(blocks=2) and config.data.shots == 100
    assert fake_run.calls[-1][2]["notes"] == ("plan: THE PLAN in short\n(the whole table: --plan full)",)
    assert cli("transfer", "--plan", "full") == 0
    assert cli.out.startswith("THE PLAN\n") and "notes" not in fake_run.calls[-1][2]


def test_transfer_defaults_to_finetune(cli, fake_run):
    assert cli("transfer") == 0
    assert ran(fake_run)[0].transfer == c.FinetuneConfig()


@pytest.mark.parametrize("verb", ["transfer", "plan"])
def test_scratch_transfers_nothing(cli, fake_run, tmp_path, verb):
    file = tmp_path / "scratch.py"
    file.write_text("from gan_jax.config import Config\ndef config(): return Config()")
    assert cli(verb, file) == 2
    assert f"gan-jax {verb} FILE --method finetune" in cli.err
    assert cli(verb, file, "--method", "finetune") == 0


def test_plan_prints_and_writes_but_does_not_train(cli, fake_run, tmp_path):
    assert cli("plan", "--json", tmp_path / "new" / "plan.json") == 0
    assert cli.out.startswith("THE PLAN\n")
    assert json.loads((tmp_path / "new" / "plan.json").read_text()) == {"entries": []}
    assert fake_run.calls == []
