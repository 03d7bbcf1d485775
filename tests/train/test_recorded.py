"""What was computed before is computed still: whole states after three steps, and runs of an earlier state that go on."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import pytest

from gan_jax.config import Config, read_record
from gan_jax.transfer.run import run
from tests.lanes import default_rows
from tests.train.old_runs import FOLDER, KINDS
from tests.train.recorded import RECORD, end_state, leaves, place, record

CASES = ("mlp-conditional, jit 1", "minegan, jit 1", "resnet, jit 2", "lora, population")
SLOW = ("scratch", "lora", "minegan", "ewc")  # of whom others in every test run say as much


def assert_as_recorded(state, known, where) -> None:
    """To the bit where the record was made; elsewhere norms agree, and whole numbers and keys are equal."""
    now = record(state)
    assert now["exact"] == known["exact"]
    if place() == where:
        assert now["hash"] == known["hash"]
    assert now["norms"].keys() == known["norms"].keys()
    for root, norm in known["norms"].items():
        assert now["norms"][root] == pytest.approx(norm, rel=1e-4), root


@pytest.mark.parametrize("case", default_rows(CASES, CASES[:1]))
def test_states_after_three_steps(case):
    recorded = json.loads(RECORD.read_text())
    assert_as_recorded(end_state(case), recorded["states"][case], recorded["place"])


@pytest.mark.parametrize("kind", default_rows(KINDS, [kind for kind in KINDS if kind not in SLOW]))
def test_runs_of_an_earlier_state_go_on(kind, tmp_path):
    """From a folder that the code before `Trainer` wrote, whose sources are gone."""
    with zipfile.ZipFile(FOLDER / f"{kind}.zip") as archive:
        archive.extractall(tmp_path)
    config, _ = read_record(Config, tmp_path / kind / "config.json")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=f"npz:{FOLDER / 'data.npz'}"))
    resumed = run(config, tmp_path / kind, quiet=True)
    notes = [json.loads(line)["text"] for line in (tmp_path / kind / "notes.jsonl").read_text().splitlines()]
    assert any("resumed at" in text and "resumed at 0" not in text for text in notes), notes
    ends = json.loads((FOLDER / "ends.json").read_text())
    assert_as_recorded(leaves(resumed.state), ends["ends"][kind], ends["place"])
