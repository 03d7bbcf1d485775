from __future__ import annotations

import sys
import tomllib

import pytest

from gan_jax import extras
from tests.conftest import REPO


def test_returns_the_module():
    assert extras.require("json", extra="data") is sys.modules["json"]
    extras.check("json", extra="data")


@pytest.mark.parametrize("ask", [extras.require, extras.check])
def test_names_the_extra(ask):
    with pytest.raises(ImportError, match=r"this data source needs no_such.module: pip install 'gan_jax\[data\]'"):
        ask("no_such.module", extra="data")


def test_gives_the_cause(monkeypatch, tmp_path):
    """Installed, and broken by something else that is missing."""
    (tmp_path / "half_there.py").write_text("import no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"this needs half_there: .*\(No module named 'no_such_thing'\)"):
        extras.require("half_there", extra="dev")


@pytest.mark.parametrize("extra", sorted(extras._PURPOSE))
def test_every_extra_that_errors_name_is_one(extra):
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
