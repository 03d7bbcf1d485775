"""`gan-jax rank-sources`, on a trained pair and on one that makes noise."""

from __future__ import annotations

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


def test_without_a_source_it_says_what_to_name(cli):
    assert cli("rank-sources") == 2
    assert "name at least one source" in cli.err
