"""Several runs on one page, from folders written by hand."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("matplotlib")
from gan_jax.config import ConfigError  # noqa: E402
from gan_jax.report.run import write_runs_page  # noqa: E402
from tests.report.pages import Page, refers_outside  # noqa: E402
from tests.report.run_folders import (  # noqa: E402
    FUSED,
    PROTOCOL,
    SCRATCH,
    evaluation,
    metric_row,
    write_grid,
    write_rows,
    write_run,
)


@pytest.fixture
def runs(tmp_path):
    a, b, c = (write_run(tmp_path / name / "run") for name in "abc")
    write_run(b, dataclasses.replace(SCRATCH, transfer=FUSED))
    write_rows(a / "evaluations.jsonl", [evaluation(512, 43.5), evaluation(1024, 21.75)])
    write_rows(b / "evaluations.jsonl", [evaluation(1024, 10.25, spread=0.125)])
    write_rows(b / "metrics.jsonl", [metric_row(512), metric_row(1024)])
    write_grid(a, 1024)
    write_grid(b, 1024, channels=3)
    return a, b, c


def words_of(path):
    text = path.read_text(encoding="utf-8")
    assert refers_outside(text) == []
    return " ".join(" ".join(Page(text).texts).split()), text


def test_runs_side_by_side(tmp_path, runs):
    words, text = words_of(write_runs_page(runs, tmp_path / "page.html"))
    for said in ("3 runs side by side", f"{runs[0]} scratch 1,024", "21.750", f"Protocol {PROTOCOL}.", "Loss of D",
                 "gradient_fusion", f"{runs[2]} has no evaluation.", f"{runs[2]} has no images to show yet.",
                 "generated images lie 0.12 times as far apart", "It has not trained yet"):  # fmt: skip
        assert said in words, said
    assert (
        "<strong>10.250</strong>" in text and "spread" not in words.split("Results")[2].split("The last evaluation")[0]
    )
    assert len(Page(text).all("img")) == 20


def test_numbers_of_different_protocols_are_not_compared(tmp_path, runs):
    write_rows(runs[1] / "evaluations.jsonl", [evaluation(1024, 10.25, protocol="other")])
    words, text = words_of(write_runs_page(runs[:2], tmp_path / "page.html", quick=True))
    assert "<strong>" not in text and "must not be compared" in words
    assert f"{runs[1]} has no evaluation under protocol {PROTOCOL}, so it stands in no curve" in words


def test_a_run_is_named_once(tmp_path, runs):
    with pytest.raises(ConfigError, match="named twice"):
        write_runs_page([runs[0], runs[0].parent / "." / "run"], tmp_path / "page.html")
