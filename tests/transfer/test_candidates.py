"""Which pairs a machine has, and which of them a transfer takes where none is named."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from gan_jax.config import Config, ConfigError, DataConfig, FinetuneConfig, MLPConfig
from gan_jax.metrics import MetricError
from gan_jax.nets import build
from gan_jax.surgery import PlanError
from gan_jax.tasks.model import save
from gan_jax.transfer.diagnostics import Ranking, SourceScore, sources
from gan_jax.transfer.diagnostics.sources import candidates, look_at, pick
from gan_jax.transfer.start import plan_transfer

NET = MLPConfig(resolution=8, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pair(folder, *, d: bool = True, net=NET):
    made = build(net)
    trees = {"g_ema": made.g.init(jax.random.key(0))} | ({"d": made.d.init(jax.random.key(1))} if d else {})
    return save(folder, net, trees, {})


def test_pairs_are_found_inside_the_package_in_the_cache_and_under_runs(here):
    assert candidates() == ["embedded:fashion16"]
    pair(here / "runs" / "one" / "weights")
    pair(here / "cache" / "pairs" / "digiface64", d=False)
    (here / "runs" / "unfinished").mkdir()
    broken = here / "runs" / "broken" / "weights"
    pair(broken)
    (broken / "manifest.json").write_text("{")
    pair(here / "runs" / "points" / "weights", net=dataclasses.replace(NET, resolution=1, channels=2))
    assert candidates() == ["embedded:fashion16", "digiface64", "runs/one"]
    assert candidates(leave_out=here / "runs" / "one") == ["embedded:fashion16", "digiface64"]
    assert look_at("digiface64").has == {"g_ema"} and look_at("runs/one/weights").has == {"g_ema", "d"}


def ranking(*scores):
    return lambda *args, **options: Ranking(
        tuple(SourceScore(n, r, 0.0, 0.0, 0.1, 1.0) for n, r in scores), "f", 9, 9, 5
    )


def test_the_one_that_reaches_most_is_taken_and_why_is_said(here, monkeypatch):
    why = "the only pair on this machine; a pair of 64 px in colour: gan-jax weights get digiface64"
    assert pick(["embedded:fashion16"], DataConfig()).why == why
    with monkeypatch.context() as patch:
        patch.setattr(sources, "is_pair_there", lambda name: True)
        left = pick(["embedded:fashion16"], DataConfig(), wanted="--net.num-classes").why
    assert left == "the only pair on this machine that has --net.num-classes"
    pair(here / "a")
    monkeypatch.setattr(sources, "rank_sources", ranking(("a", 0.7), ("embedded:fashion16", 0.2)))
    best = pick(["embedded:fashion16", "a"], DataConfig())
    assert best.name == "a" and "recall 0.70, against 0.20 of embedded:fashion16" in best.why
    monkeypatch.setattr(sources, "rank_sources", ranking(("a", 0.0), ("embedded:fashion16", 0.0)))
    assert "no source resembles these 9 images" in pick(["embedded:fashion16", "a"], DataConfig()).why
    with pytest.raises(ConfigError, match="gan-jax weights get digiface64.*--transfer.source none"):
        pick([], DataConfig())


def test_where_no_source_resembles_the_data_that_is_said(here, monkeypatch):
    pair(here / "a")
    monkeypatch.setattr(sources, "rank_sources", ranking(("a", 0.0), ("embedded:fashion16", 0.0)))
    best = pick(["embedded:fashion16", "a"], DataConfig())
    assert best.name == "a" and "no source resembles these 9 images (recall 0.000 at best, f)" in best.why
    assert "--transfer.source none" in best.why and "reaches the most" not in best.why


@pytest.mark.parametrize("error", [ConfigError("the target has 1 images"), MetricError("too few")])
def test_where_they_cannot_be_compared_the_largest_one_is_taken(here, monkeypatch, error):
    def fail(*args, **options):
        raise error

    pair(here / "a")
    monkeypatch.setattr(sources, "rank_sources", fail)
    best = pick(["a", "embedded:fashion16"], DataConfig())
    assert best.name == "embedded:fashion16" and str(error) in best.why


def test_a_plan_says_what_a_source_lacks_and_the_options_for_that(here):
    pair(here / "g", d=False)
    config = Config(net=NET, transfer=FinetuneConfig(source="g"))
    with pytest.raises(PlanError, match="g holds no discriminator.*--transfer.networks g --transfer.d-warmup-kimg 1"):
        plan_transfer(config)
    alone = dataclasses.replace(config, transfer=FinetuneConfig(source="g", networks="g", d_warmup_kimg=1.0))
    plan = plan_transfer(alone.validate())
    assert plan.totals["fresh"] == 0 and {entry.target.split("/")[0] for entry in plan.entries} == {"g"}


def test_a_summary_of_a_plan_has_ten_lines_at_most(here):
    wider = dataclasses.replace(NET, g_widths=(12,), channels=3)
    pair(here / "a")
    plan = plan_transfer(Config(net=wider, transfer=FinetuneConfig(source="a")))
    lines = plan.summary.splitlines()
    assert len(lines) <= 9 and len(str(plan).splitlines()) > len(lines)
    assert "values: " in lines[0] and any(line.startswith("g: ") for line in lines)
    assert any(line.startswith("of another shape: ") for line in lines)
    many = dataclasses.replace(plan, notes=tuple(f"note {i}" for i in range(30)), unused=("a", "b", "c"))
    lines = many.summary.splitlines()
    assert len(lines) <= 9 and lines[-1].startswith("and ") and "not used of the source: a + 2 more" in lines
