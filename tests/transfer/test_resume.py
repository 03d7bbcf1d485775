"""A run that is stopped and started again is, to the bit, the run that never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import numpy as np
import pytest

from gan_jax.config import ConfigError
from gan_jax.train.processes import LockError, RunLock
from gan_jax.transfer.run import Callbacks, run
from tests.lanes import default_rows
from tests.train.checkpoint_states import assert_same
from tests.train.toy import build_toy, images, run_config


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


@pytest.fixture
def source(tmp_path):
    x, y = images()
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    return f"npz:{tmp_path / 'data.npz'}"


class Fails(Callbacks):
    def __init__(self, at: int, act):
        self.at, self.act, self.notes = at, act, []

    def row(self, row):
        if row["images"] == self.at:
            self.act()

    def note(self, text):
        self.notes.append(text)


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_s")} for line in lines]


class Broken(RuntimeError):
    pass


def fail():
    raise Broken


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("pipeline", "compiler"),
    default_rows([("device", "jit"), ("grain", "jit"), ("grain", "pmap")], [("grain", "jit")]),
)
def test_stopped_and_resumed_is_never_stopped(tmp_path, source, pipeline, compiler):
    config = run_config(source, compile=compiler)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, pipeline=pipeline))
    whole = run(config, tmp_path / "whole")
    assert int(whole.state.images) == 192 and not whole.stopped
    want = rows(tmp_path / "whole")
    assert [row["images"] for row in want] == list(range(16, 193, 16))

    folder = tmp_path / "stopped"
    with pytest.raises(Broken):
        run(config, folder, Fails(112, fail))  # past the save at 64; the rows after it are to be cut
    assert run(config, folder, Fails(96, stop)).stopped  # resumed at 64, saved where SIGTERM found it
    watcher = Fails(-1, fail)
    resumed = run(config, folder, watcher)
    assert any(note.startswith("resumed at") for note in watcher.notes)
    assert not resumed.stopped and resumed.start is None
    assert_same(resumed.state, whole.state)
    assert rows(folder) == want
    assert (folder / "weights" / "manifest.json").exists()
    again = run(config, folder)  # a finished run starts nothing
    assert_same(again.state, whole.state)
    assert rows(folder) == want


def test_another_configuration_is_refused_with_the_difference(tmp_path, source):
    config = run_config(source)
    from gan_jax.transfer.run import claim

    claim(config, tmp_path)
    other = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=1e-3))
    with pytest.raises(ConfigError, match=r"(?s)another configuration.*optim\.lr: 0\.0002 -> 0\.001"):
        run(other, tmp_path)


def test_a_second_process_is_refused(tmp_path, source):
    with RunLock(tmp_path), pytest.raises(LockError):
        run(run_config(source), tmp_path)
