"""The tool of the mutation tests itself: which text it changes, and what it makes of how pytest ends. It runs none of them."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import pytest

from tests.conftest import REPO

OLD = "return average + decay * (value - average)"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("mutants", REPO / "tools" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def mutant(tool, tmp_path):
    """A mutant of a small package, whose tree is `tmp_path`."""
    for name, text in {
        "gan_jax/train/optim.py": f"def lerp(average, value, decay):\n    {OLD}\n",
        "gan_jax/trees.py": "LIMIT = 3\n",
        "tests/train/test_ema.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tool.Mutant(
        "ema", "turned round", "gan_jax/train/optim.py", OLD, OLD.replace("+", "-"), ("tests/train/test_ema.py",)
    )


def test_the_table_can_be_read(tool):
    assert len(tool.read_table(tool.TABLE)) >= 60


def test_a_mutant_is_put_in_and_taken_out(tool, mutant, tmp_path):
    path = tmp_path / mutant.file
    before = path.read_text()
    with tool.applied(mutant, tmp_path):
        assert path.read_text() == before.replace("+", "-")
    assert path.read_text() == before


def test_a_file_that_moved_is_found_by_the_text(tool, mutant, tmp_path):
    place = tmp_path / "gan_jax" / "train" / "average.py"
    (tmp_path / mutant.file).rename(place)
    assert tool.check(mutant, tmp_path) == place
    (tmp_path / "tests/train/test_ema.py").rename(tmp_path / "tests/test_ema.py")
    assert tool.find_test("tests/train/test_ema.py::test_x", tmp_path) == "tests/test_ema.py::test_x"


def test_a_text_that_is_not_there_once_names_the_mutant(tool, mutant, tmp_path):
    path = tmp_path / mutant.file
    path.write_text(path.read_text() * 2)
    with pytest.raises(tool.MutantError, match="mutant ema: .* occurs 2 times in gan_jax/train/optim.py"):
        tool.check(mutant, tmp_path)
    path.write_text("")
    with pytest.raises(tool.MutantError, match="mutant ema: its old text is not in gan_jax/train/optim.py"):
        tool.check(mutant, tmp_path)
    short = dataclasses.replace(mutant, old="LIMIT = 3", new="LIMIT = 4")  # it could be another one
    with pytest.raises(tool.MutantError, match="mutant ema"):
        tool.check(short, tmp_path)


def test_a_fault_must_be_python_and_its_tests_be_there(tool, mutant, tmp_path):
    with pytest.raises(tool.MutantError, match="mutant ema: with it, .* is no Python"):
        tool.check(dataclasses.replace(mutant, new="return ("), tmp_path)
    with pytest.raises(tool.MutantError, match="0 files are called test_lerp.py"):
        tool.check(dataclasses.replace(mutant, tests=("tests/train/test_lerp.py",)), tmp_path)


@pytest.mark.parametrize(
    ("code", "outcome", "detail"),
    [
        (1, "caught", "tests/x.py::test_y"),
        (0, "survived", "3 tests passed"),
        (None, "caught", "time limit"),
        (-11, "caught", "the process ended by signal 11"),
        (2, "error", "no test ran: tail"),
        (5, "error", "no test ran: tail"),
    ],
)
def test_what_an_exit_code_means(tool, mutant, code, outcome, detail):
    found = tool.judge(mutant, tool.Session(code, "tests/x.py::test_y", 3, 1.5, "tail"))
    assert (found.outcome, found.detail, found.cpu_s) == (outcome, detail, 1.5)


def test_only_new_survivors_count(tool, mutant):
    survivor = tool.Result(mutant, tool.SURVIVED, "", 1.0)
    assert tool.newly_survived([survivor], {}) == ["ema"]
    assert tool.newly_survived([survivor], {"survived": ["ema"]}) == []


def test_results_of_a_part_leave_the_others(tool, mutant):
    other = dataclasses.replace(mutant, name="other", file="gan_jax/trees.py", tests=("tests/test_trees.py",))
    table, test = [mutant, other], mutant.tests[0]
    survivor, caught = tool.Result(mutant, tool.SURVIVED, "", 1.0), tool.Result(other, tool.CAUGHT, "a\nb", 2.0)
    whole = tool.summarise(table, [survivor, caught], {test: 3.0, "tests/test_trees.py": 4.0}, {})
    assert (whole["mutants"], whole["caught"], whole["share"], whole["survived"]) == (2, 1, 0.5, ["ema"])
    assert whole["cpu_s"] == {"tests": 7.0, "mutants": 3.0} and whole["packages"] == {
        "top": "1 of 1",
        "train": "0 of 1",
    }
    part = tool.summarise(table, [dataclasses.replace(survivor, outcome=tool.CAUGHT)], {test: 3.5}, whole)
    assert (part["caught"], part["survived"], part["tests"][test]) == (2, [], 3.5)
    assert part["results"][1] == {"name": "other", "outcome": "caught", "detail": "a", "cpu_s": 2.0}
    assert tool.summarise([other], [], {}, part)["mutants"] == 1  # what left the table leaves the results
