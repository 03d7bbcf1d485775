"""`gan-jax rank-sources`, on a trained pair and on one that makes noise."""

from __future__ import annotations

from gan_jax.cli.rank_sources import data_as_option
from gan_jax.transfer import diagnostics
from gan_jax.transfer.diagnostics import Ranking, SourceScore
from tests.transfer.diagnostics.test_sources import untrained


def test_the_verb_prints_a_table_with_the_recommended_source_first(cli, tmp_path, monkeypatch):
    untrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    data = ("--data.classes", 0, "--data.shots", 80)
    assert cli("rank-sources", "noise", "embedded:fashion16", *data, "--n", 120) == 0
    words = cli.out.split()
    assert "Precision and FD are worse predictors" in " ".join(words)
    assert words.index("embedded:fashion16") < words.index("noise")
    assert "recommended: embedded:fashion16 (recall " in cli.out
    recalls = [float(words[words.index(name) + 1]) for name in ("embedded:fashion16", "noise")]
    assert recalls[0] > recalls[1] >= 0


def test_notes_and_a_target_that_none_reaches(cli, monkeypatch):
    scores = (SourceScore("b", 0.0, 0.0, 0.0, 1.0, 9.0), SourceScore("a", 0.0, 0.0, 0.0, 2.0, 8.0))
    ranking = Ranking(scores, "f", 9, 9, 5, ("a: 9 of 9 generated samples are copies",))
    monkeypatch.setattr(diagnostics, "rank_sources", lambda *args, **options: ranking)
    assert cli("rank-sources", "a", "b") == 0
    assert "note: a: 9 of 9 generated samples are copies" in cli.out
    assert "none recommended: no source resembles these 9 images" in cli.out and "the least bad source, b" in " ".join(cli.out.split())


def test_data_may_come_first_and_sources_be_left_out(cli, tmp_path, monkeypatch):
    """`rank-sources folder:photos` ranks the pairs of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    assert data_as_option(["folder:photos", "a", "b", "--n", "9"]) == [
        "a",
        "b",
        "--data.source",
        "folder:photos",
        "--n",
        "9",
    ]
    assert data_as_option(["embedded:emoji"]) == ["--data.source", "embedded:emoji"]
    assert data_as_option(["embedded:fashion16", "--n", "9"]) == ["embedded:fashion16", "--n", "9"]
    assert cli("rank-sources", "embedded:fashion-mnist", "--data.shots", 60, "--n", 60) == 0
    assert "recommended: embedded:fashion16" in cli.out
