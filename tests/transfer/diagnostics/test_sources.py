"""Ranking sources by recall, against what precision and FD would say."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.config import ConfigError, DataConfig, MLPConfig
from gan_jax.nets import build
from gan_jax.tasks.model import save
from gan_jax.transfer.diagnostics import Ranking, SourceScore, advice, rank_sources, sources
from gan_jax.transfer.diagnostics.sources import rank, score

RNG = np.random.default_rng(0)


def test_recall_prefers_a_source_that_reaches_all_of_the_target_although_precision_and_fd_do_not():
    modes = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0], [6.0, 6.0]])
    target = np.concatenate([mode + RNG.normal(size=(60, 2)) for mode in modes])
    narrow = np.concatenate([mode + 0.9 * RNG.normal(size=(80, 2)) for mode in modes[[0, 3]]])  # half of the modes
    wide = np.array([3.0, 3.0]) + 6 * RNG.normal(size=(160, 2))  # all of them, and much else
    scores = {name: score(name, target, samples) for name, samples in (("narrow", narrow), ("wide", wide))}
    assert scores["narrow"].precision > 0.9 > scores["wide"].precision
    assert scores["narrow"].fd < scores["wide"].fd
    assert scores["wide"].recall > 0.95 > 0.6 > scores["narrow"].recall
    assert [one.source for one in rank(list(scores.values()))] == ["wide", "narrow"]
    tie = [one._replace(recall=0.5) for one in scores.values()]
    assert rank(tie)[0].kid == min(one.kid for one in tie)


def test_only_a_source_that_reaches_something_is_recommended():
    def of(*recalls):
        scores = [SourceScore(f"s{i}", recall, 0.0, 0.0, 0.5 + i, 1.0) for i, recall in enumerate(recalls)]
        return advice(Ranking(rank(scores), "f", 60, 60, 5))

    assert of(0.2, 0.4) == "recommended: s1 (recall 0.400 on f)"
    assert of(0.4, 0.4) == "recommended: s0 (recall 0.400 on f; s1 of the same recall and a higher KID)"
    for nothing in (of(0.0), of(0.0, 0.01)):
        assert nothing.startswith("none recommended: no source resembles these 60 images") and "source none" in nothing
    assert "least bad source, s1" in of(0.0, 0.01)


def test_copies_are_noted_with_their_source():
    """A note of the ranking, and no warning of Python."""
    target = RNG.normal(size=(40, 2))
    found, notes = sources._score("one", target, np.ones((30, 2)), 5, 0)
    assert found == score("one", target, np.ones((30, 2))) and found.recall == 0
    (note,) = notes
    assert note.startswith("one: 30 of 30 generated samples lie more than 5 times in their set")
    assert not sources._score("two", target, RNG.normal(size=(30, 2)), 5, 0)[1]


def untrained(folder):
    """A weights folder of a pair that makes noise."""
    config = MLPConfig(resolution=8, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))
    made = build(config)
    save(folder / "noise", config, {"g_ema": made.g.init(jax.random.key(0)), "d": made.d.init(jax.random.key(1))}, {})
    return str(folder / "noise")


def test_what_cannot_be_ranked_is_said(tmp_path):
    with pytest.raises(ConfigError, match="name at least one source"):
        rank_sources([], DataConfig())
    with pytest.raises(ConfigError, match="5 samples of a source .--n. are too few for 5 neighbours; use at least 6"):
        rank_sources([untrained(tmp_path)], DataConfig(), n=5)
    with pytest.raises(ConfigError, match="target has 3 images, too few for 5 neighbours; use --k 2"):
        rank_sources([untrained(tmp_path)], DataConfig(shots=3), n=50)
    with pytest.raises(
        ConfigError, match="target has 1 images, too few for 5 neighbours; recall needs at least 2 images"
    ):
        rank_sources([untrained(tmp_path)], DataConfig(shots=1), n=50)
    with pytest.raises(ConfigError, match="--k is 0; use at least 1 neighbour"):
        rank_sources([untrained(tmp_path)], DataConfig(), k=0)
    with pytest.raises(ConfigError, match="data.shots is 99999, but embedded:fashion-mnist has 10000 images"):
        rank_sources([untrained(tmp_path)], DataConfig(shots=99_999), n=50)


def test_a_source_that_cannot_be_sampled_is_named(tmp_path):
    """Also as one of several: before any of them is sampled."""
    good, run = untrained(tmp_path), tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"run has no weights and no complete checkpoint yet"):
        rank_sources([good, str(run)], DataConfig())
    made = build(MLPConfig(resolution=8, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,)))
    save(tmp_path / "judge", made.config, {"d": made.d.init(jax.random.key(1))}, {})
    with pytest.raises(ConfigError, match="judge cannot be ranked: it holds d, and no generator to sample"):
        rank_sources([good, str(tmp_path / "judge")], DataConfig())
