"""`gan-jax rank-sources`, on a trained pair and on one that makes noise."""

from __future__ import annotations

from tests.transfer.diagnostics.test_sources import untrained


def test_the_verb_prints_a_table_with_the_recommended_source_first(cli, tmp_path):
    noise = untrained(tmp_path)
    data = ("--data.classes", 0, "--data.shots", 80)
    assert cli("rank-sources", noise, "embedded:fashion16", *data, "--n", 120) == 0
    said = cli.out
    assert "recommended: embedded:fashion16 (recall " in said
    assert "Precision and FD are worse predictors" in " ".join(said.split())
    rows = [line.split() for line in said.splitlines() if line[:3].strip() == "" and line.count(".") >= 4]
    assert [float(row[-5]) for row in rows] == sorted([float(row[-5]) for row in rows], reverse=True)
    assert rows[0][0] == "embedded:fashion16" and len(rows) == 2


def test_without_a_source_it_says_what_to_name(cli):
    assert cli("rank-sources") == 2
    assert "name at least one source" in cli.err
