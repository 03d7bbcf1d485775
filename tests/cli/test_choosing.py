"""A folder of images in place of FILE: what words name, and that files and runs keep their exact meaning."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

import gan_jax.data
from gan_jax.cli import choosing
from gan_jax.cli.arguments import given_options
from gan_jax.cli.choosing import data_spec, parse_or_choose
from gan_jax.cli.plan import ShowPlan
from gan_jax.cli.train import Train
from gan_jax.cli.transfer import Transfer
from gan_jax.config import (
    Config,
    ConfigError,
    DCGANConfig,
    FinetuneConfig,
    FreezeDConfig,
    ScratchConfig,
    kind_of,
    to_dict,
)
from gan_jax.transfer.choices import Machine, Pretrained
from gan_jax.transfer.diagnostics import sources


def survey(spec, classes=None, bad="skip", *, whole=False):
    asked.append((spec, classes))
    return SimpleNamespace(
        name=spec,
        count=60,
        sizes=Counter({(80, 80): 60}),
        channels=3,
        alpha=False,
        resolution=80,
        classes=(),
        left_out=(),
        whole=whole is None,
    )


asked: list = []
BASE = Config(transfer=FinetuneConfig())
FACES = Pretrained("faces", DCGANConfig(channel_base=1024))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gan_jax.data, "survey", survey, raising=False)
    monkeypatch.setattr(sources, "candidates", lambda **options: ["faces"])
    monkeypatch.setattr(sources, "look_at", lambda name: Pretrained(name, FACES.net))
    monkeypatch.setattr(sources, "pick", lambda names, data, features, **_: FACES)
    monkeypatch.setattr(choosing, "machine", Machine)
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "a.PNG").touch()
    (tmp_path / "empty").mkdir()
    asked.clear()
    return tmp_path


def parse(*words):
    return parse_or_choose(Transfer, list(words), verb="transfer", base=BASE)


def test_words_that_name_data(here):
    assert data_spec("folder:anything") == "folder:anything" and data_spec("tfds:cifar10:train") == "tfds:cifar10:train"
    assert data_spec("photos") == "folder:photos"
    assert data_spec("empty") is None and data_spec("config.py") is None and data_spec("absent") is None
    (here / "x.npz").touch()
    assert data_spec("x.npz") == "npz:x.npz"
    (here / "photos" / "config.json").touch()  # a run, whatever else lies there
    assert data_spec("photos") is None


def test_typed_options_by_their_dotted_names():
    words = [
        "folder:x",
        "--net.z-dim=8",
        "--train.batch",
        "4",
        "--data.no-mirror",
        "--net",
        "dcgan",
        "--transfer.d-warmup-kimg",
        "1",
    ]
    assert given_options(words) >= {"net.z_dim", "train.batch", "data.mirror", "net", "transfer.d_warmup_kimg"}
    assert "data.source" not in given_options(words)


@pytest.mark.parametrize("words", [("folder:photos",), ("photos",), ("--data.source", "folder:photos")])
def test_data_without_a_file_has_the_rest_chosen(words):
    args, lines = parse(*words, "--net.z-dim", "50", "--data.shots", "20")
    assert args.config.net == DCGANConfig(channel_base=1024, z_dim=50) and args.config.data.source == "folder:photos"
    assert type(args.config.transfer) is FreezeDConfig and args.config.transfer.source == "faces"
    assert args.config.data.shots == 20 and args.start is None
    assert any(line == "shots: 20 of 60 images" for line in lines)


def test_the_source_and_the_networks_that_are_named_are_taken():
    args, lines = parse("photos", "--transfer.source", "other", "--net", "stylegan2", "--net.resolution", "32")
    assert args.config.transfer.source == "other" and type(args.config.net).__name__ == "StyleGAN2Config"
    assert args.config.net.resolution == 32 and any("as asked" in line for line in lines)


@pytest.mark.parametrize("words", [("--transfer.source", "none"), ("--transfer.source=none",), ("--method", "scratch")])
def test_fresh_weights_are_asked_for(words):
    args, lines = parse("folder:photos", *words)
    assert args.config.transfer == ScratchConfig() and any("fresh weights" in line for line in lines)
    with pytest.raises(ConfigError, match="--method ewc needs a source"):
        parse("folder:photos", "--transfer.source", "none", "--method", "ewc")


def test_nothing_is_chosen_where_a_file_says_it_or_no_data_are_named(here, experiment):
    args, lines = parse(str(experiment))
    assert not lines and args.config.net.resolution == 16 and not asked
    args, lines = parse("--method", "freeze_d")
    assert not lines and args.config.net == Config().net and not asked
    args, lines = parse(str(experiment), "--data.source", "folder:photos")
    assert not lines and args.config.data.source == "folder:photos" and not asked


def test_a_run_that_is_there_goes_on_with_its_own_choices(here):
    config = parse("photos", "--train.kimg", "1").args.config
    (here / "r").mkdir()
    (here / "r" / "config.json").write_text(json.dumps({"config": to_dict(config)}))
    asked.clear()
    args, lines = parse("photos", "--out", "r", "--train.kimg", "2")
    assert args.config == dataclasses.replace(config, train=dataclasses.replace(config.train, kimg=2.0))
    assert lines == ("choices: those of the run in r, which goes on",) and not asked


def test_training_from_fresh_weights_takes_images_too_and_is_in_colour(here, cli, fake_run):
    assert cli("train", "photos", "--train.kimg", 1) == 0
    (name, (config, folder), options) = fake_run.calls[-1]
    assert config.transfer == ScratchConfig() and config.net.channels == 3 and config.net.resolution == 64
    assert config.train.kimg == 1 and any(line.startswith("channels: 3") for line in options["notes"])
    assert cli("train", "--data.source", "folder:photos", "--net.resolution", 16) == 0
    (name, (config, folder), options) = fake_run.calls[-1]
    wanted = dataclasses.replace(Config(), net=dataclasses.replace(Config().net, resolution=16, channels=3))
    assert dataclasses.replace(config, data=wanted.data) == wanted and len(options["notes"]) == 1
    assert cli("train", "--data.source", "folder:photos", "--net.channels", 1) == 0
    assert fake_run.calls[-1][1][0].net.channels == 1 and "notes" not in fake_run.calls[-1][2]


def test_a_fusion_takes_images_and_the_networks_of_its_first_donor(here, cli, fake_run):
    cli("fuse", "photos", "--donors", "faces", "others")  # which then looks for what the stage wrote
    (name, (config, folder), options) = fake_run.calls[-1]
    assert config.net == FACES.net and (config.transfer.source, config.transfer.donors) == ("faces", ("others",))
    assert type(config.transfer).__name__ == "GradientFusionConfig" and config.train.kimg == Config().train.kimg
    assert options["notes"][-1].startswith("plan: ")


def test_two_data_sets_are_refused_and_mistakes_are_said_before_anything_is_looked_at(here, capsys):
    with pytest.raises(ConfigError, match="two data sets; name one of them"):
        parse("photos", "--data.source", "folder:other")
    with pytest.raises((SystemExit, ConfigError, ValueError)):
        parse("photos", "--train.bach", "3")
    assert not asked
    with pytest.raises(ConfigError, match="empty is neither a run nor an experiment"):
        parse("empty")


def test_classes_are_known_before_the_networks_are():
    parse("photos", "--data.classes", "3", "5", "--train.batch", "8")
    assert [tuple(map(str, classes)) for _, classes in asked] == [("3", "5")]


def test_a_source_has_the_options_that_are_given(monkeypatch, capsys):
    """A DCGAN has no classes: with --net.num-classes another pair is taken, and that is said."""
    from gan_jax.cli import choosing
    from gan_jax.config import DataConfig, DCGANConfig, ResNetConfig
    from gan_jax.transfer.choices import Pretrained
    from gan_jax.transfer.diagnostics import sources

    nets = {"faces": DCGANConfig(), "clothes": ResNetConfig()}
    monkeypatch.setattr(sources, "candidates", lambda leave_out=None: list(nets))
    monkeypatch.setattr(sources, "look_at", lambda name: Pretrained(name, nets[name], frozenset({"g_ema", "d"})))
    monkeypatch.setattr(sources, "pick", lambda names, *_, **options: [*names, *options.values()])
    assert choosing.net_fields({"net.num_classes", "train.kimg"}) == ("num_classes",)
    assert choosing._source(None, DataConfig(), None, ("num_classes",)) == ["clothes", "--net.num-classes"]
    assert "left aside, since their networks have no --net.num-classes: faces" in capsys.readouterr().out
    assert choosing._source(None, DataConfig(), None) == ["faces", "clothes", ""]


def test_arrays_of_pairs_bring_their_task_too(tmp_path):
    from gan_jax.data import Pairs, prepare

    images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "pairs.npz", inputs=images, images=images)
    np.savez(tmp_path / "maps.npz", inputs=labels, images=images)
    pytest.importorskip("tensorflow_datasets")
    unpaired = prepare(Pairs(images, images[:1], "unpaired"), tmp_path, "two")
    for spec, task, net in [
        (f"npz:{tmp_path}/pairs.npz", "paired", "unet"),
        (f"npz:{tmp_path}/maps.npz", "layout", "spade"),
        (f"tfds:{unpaired}", "unpaired", "translator"),
    ]:
        for cls, verb in ((Train, "train"), (ShowPlan, "plan")):
            config = parse_or_choose(cls, [spec], verb=verb, base=Config(), fresh=True).args.config
            assert (kind_of(config.task), kind_of(config.net), config.data.source) == (task, net, spec)


def test_layouts_bring_the_number_of_their_classes(tmp_path):
    from gan_jax.data.decode import encode_png

    for name, maps in (("labels", (8, 8, 1)), ("images", (8, 8, 3)), ("things", (8, 8, 1))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encode_png(np.zeros(maps, np.uint8)))
    (tmp_path / "labels" / "classes.txt").write_text("sky\nsea\nsand\n", encoding="utf-8")
    spec = f"layouts:{tmp_path}/labels,{tmp_path}/images"
    for words, classes, edges in (
        ([spec], 3, False),
        ([f"{spec},{tmp_path}/things"], 3, True),
        ([spec, "--net.num-labels", "5"], 5, False),
    ):
        net = parse_or_choose(Train, words, verb="train", base=Config(), fresh=True).args.config.net
        assert (net.num_labels, net.edges) == (classes, edges)
