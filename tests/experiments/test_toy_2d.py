"""The toy of points in a plane: its measures against closed forms, and a small run of it."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.conftest import REPO


@pytest.fixture(scope="module")
def toy():
    folder = str(REPO / "experiments" / "toy_2d")
    sys.path.insert(0, folder)
    yield importlib.import_module("toy")
    sys.path.remove(folder)


def test_wasserstein_of_moved_and_of_mirrored_points(toy):
    points = np.random.default_rng(0).normal(size=(64, 2))
    assert_allclose(toy.wasserstein(points, points[::-1]), 0, atol=1e-12)
    # Moving all points alike is the best matching of a set with its copy: the mean difference bounds W1 from below.
    assert_allclose(toy.wasserstein(points, points[::-1] + [3.0, -4.0]), 5, rtol=1e-12)
    # On a line the best matching is by rank.
    line = np.stack([points[:, 0], np.zeros(64)], -1)
    by_rank = np.abs(np.sort(line[:, 0]) - np.sort(-line[:, 0])).mean()
    assert_allclose(toy.wasserstein(line, -line), by_rank, rtol=1e-12)


def test_modes_and_guidance(toy):
    centres = toy.centres()
    assert toy.reached(np.repeat(centres[:4], 5, axis=0)) == (4, 1.0)
    assert toy.reached(0.5 * np.repeat(centres, 5, axis=0)) == (0, 0.0)
    # 1 of 41 points is less than a quarter of the tenth that a mode's share is.
    few = np.concatenate([np.repeat(centres[:1], 40, axis=0), centres[1:2]])
    assert toy.reached(few) == (1, 1.0)
    outside = 1.5 * centres
    assert_allclose(toy.guidance(outside, -7 * centres), 1)
    assert_allclose(toy.guidance(outside, centres), -1)
    assert_allclose(toy.guidance(outside, centres @ [[0, 1], [-1, 0]]), 0, atol=1e-12)


def test_sources_are_what_they_are_called(toy):
    modes = {name: toy.reached(toy.draw(name, 2000, 0).reshape(-1, 2))[0] for name in ("wide", "narrow", "target")}
    assert modes["narrow"] == 3 and modes["target"] == 10
    radii = np.linalg.norm(toy.draw("wide", 2000, 0).reshape(-1, 2), axis=-1)
    assert_allclose([radii.mean(), radii.std()], [2, 0.4], rtol=0.05)


@pytest.mark.slow
def test_a_wide_source_is_ahead_of_scratch_and_better_than_its_g_alone(toy):
    run = importlib.import_module("run")
    found = run.run(seeds=1, pretrain=7, adapt=1)
    w1 = {(row["copied"], row["source"]): row["w1"] for row in found["rows"]}
    assert len(w1) == 7 and {len(curve) for curve in w1.values()} == {2}
    assert w1["both", "wide"][1] < 0.75 * w1["scratch", "–"][1]  # after 100 updates
    assert w1["both", "wide"][0] == w1["G only", "wide"][0] and w1["scratch", "–"][0] == w1["D only", "wide"][0]
    assert w1["D only", "narrow"][1] != w1["D only", "wide"][1]
    recall = {row["source"]: row["recall"] for row in found["rows"] if row["copied"] == "both"}
    assert recall["wide"] > recall["narrow"]
    assert "scratch" in found["points"] and found["floor"] < 0.3
    assert [row["copied"] for row in run.summary(found["rows"], 100).rows][:3] == ["scratch", "both", "G only"]
