"""What a fresh clone stands on: the environment script, the lists of packages, CI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPO


def make_venv(folder: Path, python: Path | str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(REPO / "tools" / "venv.sh"), str(folder)]
    environment = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def fake_python(folder: Path, body: str) -> Path:
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_python_too_old(tmp_path):
    python = fake_python(tmp_path, 'case "$*" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    done = make_venv(tmp_path / "v", python)
    assert done.returncode == 1 and f"needs Python 3.11 or newer; {python} is Python 3.9.2." in done.stderr


def test_python_not_there(tmp_path):
    done = make_venv(tmp_path / "v", tmp_path / "none")
    assert done.returncode == 1 and "is not there" in done.stderr


def test_python_without_venv_names_the_package(tmp_path):
    python = fake_python(tmp_path, f'case "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')
    done = make_venv(tmp_path / "v", python)
    assert done.returncode == 1 and "apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "v").exists()


def lines_of(name: str) -> list[str]:
    return [line for line in (REPO / name).read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_constraints_are_names_and_versions_only(name):
    lines = lines_of(name)
    assert len(lines) > 15
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line)] == []


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> dict[str, str]:
    """`{package: lower bound}` of everything that pyproject.toml asks for with one."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    pairs = (re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement) for requirement in asked)
    return {canonical(pair[1]): pair[2] for pair in pairs if pair}


def test_the_oldest_constraints_are_the_lower_bounds():
    oldest = {
        canonical(name): version
        for name, _, version in (line.partition("==") for line in lines_of("constraints-oldest.txt"))
    }
    linters = {"ruff", "basedpyright"}  # judged with one version only
    part = lambda version: tuple(int(n) for n in version.split("."))
    wanted = {name: part(bound) for name, bound in requirements().items() if name not in linters}
    assert {name for name in wanted if name not in oldest} == set()
    for name, bound in wanted.items():
        assert part(oldest[name])[: len(bound)] == bound, name


def test_the_constraints_cover_what_is_asked_for():
    pinned = {canonical(line.partition("==")[0]) for line in lines_of("constraints.txt")}
    assert set(requirements()) <= pinned


def test_ci_runs_the_readmes_test_command_and_pins_its_actions():
    assert (REPO / ".ci" / "run").read_text().rstrip().endswith("make test")
    assert os.access(REPO / ".ci" / "run", os.X_OK)
    assert "make test" in (REPO / "README.md").read_text()
    workflow = (REPO / ".github" / "workflows" / "ci.yml").read_text()
    uses = re.findall(r"uses: (\S+)", workflow)
    assert uses and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in uses)
    assert "cancel-in-progress: true" in workflow
