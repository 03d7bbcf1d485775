from __future__ import annotations

import re

import pytest

from tests.report.run_folders import evaluation, metric_row, write_rows, write_run

pytest.importorskip("matplotlib")


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "r")
    write_rows(folder / "metrics.jsonl", [metric_row(64)])
    write_rows(folder / "evaluations.jsonl", [evaluation(64, 43.5)])
    return folder


def test_one_run(cli, run, tmp_path):
    assert cli("report", run) == 0
    assert cli.out == f"report: {run / 'report.html'}\n"
    assert "43.500" in (run / "report.html").read_text()
    assert cli("report", run, "--quick", "--out", tmp_path / "new" / "page.html") == 0
    assert "were not read, as asked" in (tmp_path / "new" / "page.html").read_text()


def test_several_runs(cli, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "other")
    assert cli("report", run, other, "--quick") == 0
    assert cli.out == "report: report.html\n" and "2 runs side by side" in (tmp_path / "report.html").read_text()


def test_what_is_wrong_is_a_sentence(cli, run, tmp_path):
    for argv, said in (
        ((), "name a run folder: gan-jax report runs/NAME"),
        ((tmp_path / "no",), "does not exist; name the folder that gan-jax train, transfer or fuse wrote"),
        ((tmp_path,), "is no run: it holds no config.json"),
        ((run, "--n", 0), "--n is 0; use at least 1"),
        ((run, "--out", run / "config.json" / "x.html"), "is a file; use another folder"),
        ((run, "--out", run / "config.json"), "give it the ending .html"),
        ((run, run), "named twice"),
    ):
        assert cli("report", *argv) == 2, argv
        assert said in cli.err and "Traceback" not in cli.err, (argv, cli.err)


def test_help_is_short_and_has_two_examples(cli):
    assert cli("report", "--help") == 0
    assert len(re.findall(r"(?m)^.\s+--[a-z]", cli.out)) <= 25 and cli.out.count("gan-jax report run") == 2
