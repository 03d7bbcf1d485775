from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from gan_jax.cli.main import main


class Cli:
    """Runs the command line in this process: `cli("train", "--out", "x")` -> exit code; what it printed is kept."""

    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *argv: object) -> int:
        self._capsys.readouterr()
        code = main([str(word) for word in argv])
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def cli(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    return Cli(capsys)


@pytest.fixture
def fake_run(monkeypatch):
    """Stands in for `gan_jax.transfer.run`, whose real work the tests of that package check; records its calls."""
    fake = types.ModuleType("gan_jax.transfer.run")
    fake.calls = []
    fake.result = types.SimpleNamespace(stopped=False, prepared={})
    fake.error = None

    def record(name):
        def call(*args, **kwargs):
            fake.calls.append((name, args, kwargs))
            if fake.error is not None:
                raise fake.error
            return fake.result

        return call

    for name in ("run", "transplant_weights", "evaluate_model"):
        setattr(fake, name, record(name))
    fake.plan_transfer = lambda config: FakePlan()
    fake.Callbacks = object  # what `report.watch` derives from
    monkeypatch.setitem(sys.modules, "gan_jax.transfer.run", fake)
    return fake


class FakePlan:
    summary = "THE PLAN in short"

    def __str__(self) -> str:
        return "THE PLAN"

    def to_json(self) -> str:
        return '{"entries": []}'


@pytest.fixture
def experiment(tmp_path) -> Path:
    folder = tmp_path / "my_experiment"
    folder.mkdir()
    (folder / "config.py").write_text(
        "from gan_jax.config import *\n"
        "def config():\n"
        "    return Config(net=ResNetConfig(resolution=16, channels=3), optim=OptimConfig(lr=5e-4, b1=0.5),\n"
        "                  transfer=FreezeDConfig(blocks=3, source='embedded:x'))\n"
    )
    return folder / "config.py"
