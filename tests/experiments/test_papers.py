"""The papers' configurations: each can run, its method fits its networks, and its plan takes all that the source has."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from gan_jax.cli import train
from gan_jax.cli.arguments import load_experiment
from gan_jax.config import (
    Config,
    FinetuneConfig,
    ResNetConfig,
    ScratchConfig,
    StyleGAN2Config,
    from_dict,
    net_to_dict,
    to_dict,
)
from gan_jax.interop.source import Source
from gan_jax.nets import build
from gan_jax.transfer import start
from gan_jax.transfer.dataset import counted
from gan_jax.transfer.method import Method, step_flops
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.methods.nada import ENCODERS, Encoder
from gan_jax.trees import flatten, match
from tests.conftest import REPO
from tests.train.toy import run_config
from tests.transfer.methods.resumed import NET as MLP

PAPERS = REPO / "experiments" / "papers"
FILES = sorted(path for path in PAPERS.glob("*/*.py"))
NAMES = [str(path.relative_to(PAPERS)) for path in FILES]
SOURCES = {  # what the commands of the READMEs leave there
    "runs/ffhq256": StyleGAN2Config(resolution=256, mapping_layers=8, channel_base=32768),
    "runs/imagenet64": ResNetConfig(resolution=64, channels=3, z_dim=128, channel_base=32768, channel_max=512),
}


@functools.cache
def open_published(path: str) -> Source:
    """A source of the shapes that the file of this name has; nothing of it can be read."""
    pair = build(SOURCES[path])
    leaves = flatten({"g_ema": pair.g.specs(), "d": pair.d.specs()})
    said = {p: {"dtype": str(leaf.dtype), "shape": list(leaf.shape), "digest": None} for p, leaf in leaves.items()}
    return Source(path, path, {"net": net_to_dict(pair.config), "leaves": said}, "0", lambda leaf: pytest.fail(leaf))


COMMANDS = [
    (path.parent.name, line.strip())
    for path in sorted(PAPERS.rglob("README.md"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.startswith("    gan-jax train experiments/")
]


@pytest.fixture(autouse=True)
def _published(monkeypatch):
    monkeypatch.setattr(start, "open_source", open_published)
    words = lambda text: np.array([len(text), 1.0])
    monkeypatch.setitem(ENCODERS, "clip", lambda: Encoder({}, lambda p, x: x.mean((1, 2))[:, :2], words))


def read(path: Path) -> Config:
    config = load_experiment(path, Config)
    assert config.validate() is config
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    return config


def method_of(config: Config) -> Method:
    return make_method(counted(config.transfer, 10), build(config.net))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_it_can_run_and_takes_from_its_source_all_that_it_says(path):
    config = read(path)
    if isinstance(config.transfer, ScratchConfig):
        return
    assert isinstance(config.transfer, FinetuneConfig) and config.net == SOURCES[config.transfer.source]
    made = method_of(config)
    plan = start.plan_transfer(config, lambda transfer, pair: made)
    assert {entry.target.partition("/")[0] for entry in plan.entries} == set(made.starts)
    for entry in plan.entries:
        assert bool(entry.sources) != any(match(pattern, entry.target) for pattern in made.fresh), entry.target
        assert entry.op == "copy" or not entry.sources, entry.target
    pair = made.wrap(build(config.net))
    trained = [leaf for n in ("g", "d") for leaf in flatten(getattr(pair, n).specs()["params"]) if made.trains(n)(leaf)]
    assert trained


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bsa", "cdc", "rick", "transfergan"])
def test_its_step_can_be_traced(name):
    """At the size of the paper, batch and groups and all, where these are peculiar; nothing is compiled."""
    config = read(PAPERS / name / "config.py")
    assert step_flops(config, method_of(config), 10) > 1e9


def test_every_paper_says_what_is_expected_and_how_to_run_it():
    folders = sorted(path for path in PAPERS.iterdir() if path.is_dir() and path.name != "__pycache__")
    table = (PAPERS / "README.md").read_text(encoding="utf-8")
    for folder in folders:
        text = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
        assert f"experiments/papers/{folder.name}/config.py" in text and "scaled, not a reproduction" in text
        assert f"({folder.name}/README.md)" in table


@pytest.mark.parametrize(
    ("folder", "command"), COMMANDS, ids=[f"{folder}-{i}" for i, (folder, _) in enumerate(COMMANDS)]
)
def test_commands_are_understood(folder, command, monkeypatch):
    asked = []
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(
        train, "start_run", lambda config, folder, *rest, **options: asked.append((config, folder)) or 0
    )
    _, verb, *argv = shlex.split(command)
    assert verb == "train" and train.main(argv) == 0
    ((config, out),) = asked
    assert str(out).startswith("runs/") and config.validate() is config
    if "--data.source" in argv:
        assert config.data.source == argv[argv.index("--data.source") + 1]


def test_measured_as_the_papers_do(tmp_path, monkeypatch):
    """Distances to the whole set, clusters around the few images, each under the protocol of what was measured."""
    monkeypatch.syspath_prepend(str(PAPERS))
    from measure import measure

    from gan_jax.tasks.model import save

    images = np.random.default_rng(0).integers(0, 256, (100, 16, 16, 1), np.uint8)
    np.savez(tmp_path / "few.npz", images=images[:10])
    np.savez(tmp_path / "full.npz", images=images)
    config = run_config(f"npz:{tmp_path / 'few.npz'}", kimg=0.016)
    config, pair, key = dataclasses.replace(config, net=MLP), build(MLP), jax.random.key(0)
    save(tmp_path / "run" / "weights", MLP, {"g_ema": pair.g.init(key), "d": pair.d.init(key)}, {})
    (tmp_path / "run" / "config.json").write_text(json.dumps({"config": to_dict(config)}))
    found = measure(tmp_path / "run", f"npz:{tmp_path / 'full.npz'}", "fashion-v1", 80, None, 0)
    assert "-r100-f80-" in found["protocol"] and any(name.startswith("KID") for name in found)
