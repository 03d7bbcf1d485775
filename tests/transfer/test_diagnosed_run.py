"""Diagnoses in a whole run: numbers in its evaluations, sentences to whoever watches, a page that says them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gan_jax.config import (
    CheckpointConfig,
    Config,
    ConfigError,
    DataConfig,
    DiagnoseConfig,
    EvalConfig,
    LogConfig,
    MLPConfig,
    TrainConfig,
)
from gan_jax.report.comparison import diagnoses
from gan_jax.transfer.run import Callbacks, run

CONFIG = Config(
    data=DataConfig(classes=(9,), shots=80),
    net=MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,)),
    train=TrainConfig(kimg=0.032, batch=8, steps_per_dispatch=2, devices=1),
    checkpoint=CheckpointConfig(every_kimg=0.016),
    evaluate=EvalConfig(every_kimg=0.016, n_fake=100, stats_batches=0),
    diagnose=DiagnoseConfig(images=40, memory=1e9, worse=0.5),
    log=LogConfig(tensorboard=False),
)
NUMBERS = {"d_train", "d_held_out", "d_fake", "r_t", "spread", "memory", "memory_closer", "occupied"}


class Watch(Callbacks):
    def __init__(self):
        self.notes, self.rows = [], []

    def note(self, text):
        self.notes.append(text)

    def evaluation(self, row):
        self.rows.append(row)


def test_a_run_measures_warns_once_and_goes_on_where_it_was(tmp_path):
    first = Watch()
    run(CONFIG, tmp_path / "scratch", first)
    assert len(first.rows) == 2 and all(NUMBERS <= row.keys() for row in first.rows)
    assert all("kid_against" not in row for row in first.rows)
    assert [note.partition(":")[0] for note in first.notes].count("memorisation") == 1
    written = [json.loads(line) for line in (tmp_path / "scratch" / "evaluations.jsonl").read_text().splitlines()]
    assert written == first.rows

    again = Watch()  # from the checkpoint in the middle: the same numbers, and nothing is said twice
    run(CONFIG, tmp_path / "scratch", again, at=16)
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in again.rows] == [
        {k: v for k, v in row.items() if k != "seconds"} for row in first.rows[1:]
    ]
    assert not [note for note in again.notes if note.startswith("memorisation")]

    other = Watch()  # the same configuration: as good as itself
    run(CONFIG, tmp_path / "again", other, against=tmp_path / "scratch")
    assert [row["kid_against"] for row in other.rows] == [1.0, 1.0]
    assert len([note for note in other.notes if note.startswith("negative transfer: KID is 1.00 times")]) == 1

    table, warnings = diagnoses({"adapted": other.rows}, CONFIG.diagnose)
    results = {row["name"]: row["result"] for row in table.rows}
    assert results["memorisation"] == results["negative transfer"] == "warns"
    assert len(warnings) == list(results.values()).count("warns")


def test_a_run_without_evaluations_or_without_diagnoses(tmp_path):
    blind = dataclasses.replace(CONFIG, evaluate=EvalConfig(features=None))
    with pytest.raises(ConfigError, match="--against .* evaluate.features is None; name a network"):
        run(blind, tmp_path / "blind", against=tmp_path)
    off = dataclasses.replace(CONFIG, diagnose=DiagnoseConfig(images=0), checkpoint=CheckpointConfig(every_kimg=None))
    watch = Watch()
    run(off, tmp_path / "off", watch)
    assert not NUMBERS & watch.rows[-1].keys()
    assert [note for note in watch.notes if "warn" in note or "diagnos" in note] == []
