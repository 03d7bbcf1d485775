from __future__ import annotations

import json
from pathlib import Path

import pytest

from gan_jax import config as c
from gan_jax.cli import arguments
from gan_jax.cli.arguments import read_config, run_folder, switch
from gan_jax.config import Config, ConfigError, to_dict


def test_every_kind_has_a_name():
    import typing

    assert set(c.NETS.values()) == set(typing.get_args(c.NetConfig))
    assert typing.get_args(c.NetName) == tuple(c.NETS)
    assert set(c.METHOD_NAMES.values()) == set(typing.get_args(c.MethodConfig))
    assert typing.get_args(c.MethodName) == tuple(c.METHOD_NAMES)


# -- files ---------------------------------------------------------------------------------------------------


def test_an_experiment(experiment):
    for path in (experiment, experiment.parent):
        assert read_config(path).optim.lr == 5e-4


def test_an_experiment_may_import_its_neighbours(experiment):
    (experiment.parent / "neighbour_of_this_test.py").write_text("LR = 0.25")
    experiment.write_text(
        "from neighbour_of_this_test import LR\nfrom gan_jax.config import *\n"
        "def config(): return Config(optim=OptimConfig(lr=LR))"
    )
    assert read_config(experiment).optim.lr == 0.25


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_runs_config(tmp_path, wrapped):
    config = Config(net=c.DCGANConfig(), transfer=c.FreezeDConfig(blocks=2))
    values = to_dict(config)
    (tmp_path / "config.json").write_text(json.dumps({"config": values, "versions": {}} if wrapped else values))
    assert read_config(tmp_path) == config == read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.py", "x = 1", "config.py has no function config"),
        ("config.py", "config = 3", "config.py has no function config"),
        ("config.py", "def config(): return {}", "must return a gan_jax.config.Config, not dict"),
        ("config.json", "{nope", "config.json is damaged: not JSON .*line 1 column 2"),
        ("config.json", '{"config": {"trian": {}}}', "config.json: config has no field 'trian' .did you mean 'train'"),
        ("config.json", "[]", "config.json is damaged: it must be a mapping"),
        ("config.toml", "", "neither an experiment .* nor a run's config.json"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / name)


def test_a_missing_file_and_an_empty_folder(tmp_path):
    (tmp_path / "config.py").touch()
    with pytest.raises(ConfigError, match=r"there is no file .*confg.py \(did you mean 'config.py'\?\)"):
        read_config(tmp_path / "confg.py")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="neither a run nor an experiment"):
        read_config(tmp_path / "empty")


# -- kinds ---------------------------------------------------------------------------------------------------


def test_switch_keeps_what_was_set_and_both_kinds_have():
    config = Config(net=c.ResNetConfig(resolution=16, num_classes=10), transfer=c.FinetuneConfig(source="x"))
    out = switch(config, net="dcgan", method="freeze_d")
    assert out.net == c.DCGANConfig(resolution=16)
    assert out.transfer == c.FreezeDConfig(source="x")
    assert switch(out, method="scratch").transfer == c.ScratchConfig()
    assert switch(config, net="resnet", method="finetune") == config
    assert switch(config) == config


# -- run folders -----------------------------------------------------------------------------------------------


def test_run_folder(tmp_path, experiment):
    run = tmp_path / "a_run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    assert run_folder(Path("o"), run, Config()) == Path("o")
    assert run_folder(None, run, Config()) == run == run_folder(None, run / "config.json", Config())
    assert run_folder(None, experiment, Config()) == Path("runs/my_experiment")
    assert run_folder(None, experiment.parent, Config()) == Path("runs/my_experiment")
    other = experiment.with_name("wide.py")
    other.touch()
    assert run_folder(None, other, Config()) == Path("runs/wide")
    config = Config(data=c.DataConfig(source="folder:/a b/c"), transfer=c.FinetuneConfig())
    assert run_folder(None, None, config) == Path("runs/finetune-folder--a-b-c")


@pytest.mark.parametrize(
    ("task", "net", "method", "source", "name"),
    [
        (c.PairedTask(), c.UNetConfig(), c.ScratchConfig(), "pairs:edges,p/photos", "paired-edges-p-photos"),
        (c.LayoutTask(), c.SPADEConfig(), c.ScratchConfig(), "layouts:l,i", "layout-l-i"),
        (c.OneSidedTask(), c.TranslatorConfig(), c.FinetuneConfig(), "unpaired:a,b", "one_sided-finetune-a-b"),
        (c.UnpairedTask(), c.TranslatorConfig(), c.ScratchConfig(), "tfds:sets/zebras", "unpaired-tfds-sets-zebras"),
    ],
)
def test_the_run_folder_of_a_translator_says_the_task_and_the_data(task, net, method, source, name):
    config = Config(task=task, net=net, transfer=method, data=c.DataConfig(source=source))
    assert run_folder(None, None, config) == Path("runs") / name


def test_peek():
    assert arguments.peek(["--net", "x"], "--net") == "x" == arguments.peek(["a", "--net=x"], "--net")
    assert arguments.peek(["--net.z-dim", "3"], "--net") is None
    assert arguments.peek(["--net"], "--net") is None
