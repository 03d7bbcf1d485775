"""What was computed before is computed still: whole states after three steps, and runs of an earlier state that go on."""

from __future__ import annotations

import json

import pytest

from tests.lanes import default_rows
from tests.train.old_runs import FOLDER, KINDS
from tests.train.recorded import RECORD, in_a_process

CASES = ("mlp-conditional, jit 1", "minegan, jit 1", "resnet, jit 2", "lora, population")
SLOW = ("scratch", "lora", "minegan", "ewc")  # of whom others in every test run say as much


def assert_as_recorded(now, here, known, there) -> None:
    """Bit-exact where the record was made; elsewhere norms agree, and whole numbers and keys are equal."""
    assert now["exact"] == known["exact"]
    if here == there:
        assert now["hash"] == known["hash"]
    assert now["norms"].keys() == known["norms"].keys()
    for root, norm in known["norms"].items():
        assert now["norms"][root] == pytest.approx(norm, rel=1e-4), root


@pytest.mark.parametrize("case", default_rows(CASES, CASES[:1]))
def test_states_after_three_steps(case, tmp_path):
    in_a_process("tests.train.recorded", str(tmp_path / "states.json"), "--only", case)
    now, recorded = (json.loads(path.read_text()) for path in (tmp_path / "states.json", RECORD))
    assert_as_recorded(now["states"][case], now["place"], recorded["states"][case], recorded["place"])


@pytest.mark.parametrize("kind", default_rows(KINDS, [kind for kind in KINDS if kind not in SLOW]))
def test_runs_of_an_earlier_state_go_on(kind, tmp_path):
    """From a folder that the code before `Trainer` wrote, whose sources are gone."""
    in_a_process("tests.train.old_runs", kind, str(tmp_path / "end.json"))
    end, ends = (json.loads(path.read_text()) for path in (tmp_path / "end.json", FOLDER / "ends.json"))
    assert any("resumed at" in text and "resumed at 0" not in text for text in end["notes"]), end["notes"]
    assert_as_recorded(end["record"], end["place"], ends["ends"][kind], ends["place"])
