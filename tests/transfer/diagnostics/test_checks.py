"""Each diagnosis on a case made so that it must fire, and on one where it must not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import ConfigError, DiagnoseConfig
from gan_jax.transfer.diagnostics import checks, failures, new_warnings, read_against

LIMITS = DiagnoseConfig()
RNG = np.random.default_rng(0)


def warned(*rows):
    rows = [{"images": 1000 * (i + 1), **row} for i, row in enumerate(rows)]
    return [check.name for check in checks(rows, LIMITS) if check.warns]


def notes(*rows):
    return " ".join(one.note for one in new_warnings([{"images": i + 1, **row} for i, row in enumerate(rows)], LIMITS))


def test_d_that_knows_its_training_images_is_told_from_one_that_does_not():
    train, fake = np.array([2.0, 3.0, 1.0, 2.0]), np.array([-2.0, -2.0, -1.0, -3.0])
    over = failures.measure_discriminator("hinge", train, np.array([-1.0, -2.0, 1.0, -2.0]), fake)
    # E train 2, E held out -1, E fake -2: r_v = 3 / 4
    assert over == {"d_train": 1.0, "d_fake": 0.0, "r_t": 1.0, "d_held_out": 0.25, "r_v": 0.75}
    assert warned(over) == ["discriminator overfitting", "discriminator too sure"]
    assert "D tells training images (1.00 taken for real) from held-out ones (0.25) apart" in notes(over)
    assert "augment.policy" in notes(over) and "freeze_d" in notes(over)
    same = np.array([1.0, 1.0, -0.5, 0.5])
    fine = failures.measure_discriminator("hinge", same, same + 0.1, fake)
    assert_allclose(fine["r_v"], -0.1 / 2.5)
    assert warned(fine) == []


@pytest.mark.parametrize("loss", ["relativistic", "wasserstein", "least_squares"])
def test_where_zero_means_nothing_a_constant_added_to_all_logits_changes_nothing(loss):
    train, held_out, fake = np.array([2.0, 3.0, 4.0]), np.array([0.0, -1.0, 3.0]), np.array([-3.0, -2.0, -1.0])
    a = failures.measure_discriminator(loss, train, held_out, fake)
    b = failures.measure_discriminator(loss, train + 100, held_out + 100, fake + 100)
    assert "r_t" not in a and a.keys() == b.keys()  # r_t is a sign
    for name in a:
        assert_allclose(a[name], b[name])
    # half-way between 3 and -2 is 0.5
    assert (a["d_train"], a["d_fake"]) == (1.0, 0.0)
    assert_allclose(a["d_held_out"], 1 / 3)


def test_without_held_out_images_or_a_difference_to_generated_ones_there_is_no_r_v():
    ones = np.ones(4)
    assert set(failures.measure_discriminator("hinge", ones, None, -ones)) == {"d_train", "d_fake", "r_t"}
    assert "r_v" not in failures.measure_discriminator("hinge", ones, ones, ones)


def test_spread_is_the_mean_squared_distance_of_pairs_by_definition():
    fake, real = RNG.normal(size=(30, 4)), 3 * RNG.normal(size=(40, 4))
    pairs = lambda x: np.mean([((a - b) ** 2).sum() for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    assert_allclose(failures.measure_collapse(fake, real)["spread"], np.sqrt(pairs(fake) / pairs(real)), rtol=1e-12)


def test_images_that_grow_alike_are_a_collapse():
    real = RNG.normal(size=(200, 8))
    wide, narrow = failures.measure_collapse(real + 1, real), failures.measure_collapse(0.1 * real, real)
    assert_allclose([wide["spread"], narrow["spread"]], [1, 0.1])
    assert warned(wide, wide) == []
    assert warned(wide, narrow) == ["mode collapse", "falling diversity"]
    assert warned({"spread": 0.7}, {"spread": 0.3}) == ["falling diversity"]
    assert "lie 0.10 times as far apart as real ones" in notes(narrow) and "an earlier checkpoint" in notes(narrow)
    assert "lie 0.43 times as far apart as at the first evaluation (1 images)" in notes(
        {"spread": 0.7}, {"spread": 0.3}
    )
    assert warned({"spread": 0.3}, {"spread": 0.7}) == []


def test_coverage_that_falls_from_its_best_is_a_collapse_and_low_coverage_of_the_beginning_is_not():
    assert warned({"coverage": 0.1}, {"coverage": 0.6}, {"coverage": 0.2}) == ["falling coverage"]
    assert warned({"coverage": 0.1}, {"coverage": 0.6}, {"coverage": 0.5}) == []
    assert warned({"coverage": 0.01}, {"coverage": 0.0}) == []  # nothing was there to lose
    assert warned({"coverage": 0.01}) == []
    assert "fell from 0.60 to 0.20" in notes({"coverage": 0.6}, {"coverage": 0.2})


def test_copies_of_training_images_are_told_from_new_ones():
    train, held_out, new = (RNG.normal(size=(n, 6)) for n in (40, 60, 80))
    copies = train[RNG.integers(0, 20, 80)] + 0.01 * RNG.normal(size=(80, 6))
    for reference in (held_out, None):
        copied, fine = failures.measure_memory(copies, train, reference), failures.measure_memory(new, train, reference)
        assert copied["memory"] < 0.05 and copied["memory_closer"] > 0.99
        assert 0.8 < fine["memory"] < 1.25 and 0.35 < fine["memory_closer"] < 0.65
        assert warned(copied) == ["memorisation"] and warned(fine) == []
        assert copied["occupied"] <= 0.5 < fine["occupied"]
    assert "G copies its training images; use more of them (data.shots)" in notes(copied)
    assert failures.measure_memory(new, train[:1], None) == {}
    assert failures.measure_memory(new, np.repeat(train[:1], 4, 0), None) == {}  # all at distance 0 from each other


def test_distance_among_training_images_is_to_the_nearest_other_one():
    train, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [4.0]])
    # among themselves 1, 1, 2: median 1; the two fakes are 0.5 and 1 away: median 0.75
    assert_allclose(failures.measure_memory(fake, train, None)["memory"], 0.75)


def test_worse_than_another_run_after_as_many_images():
    other = [{"images": 1000, "kid": 4.0}, {"images": 3000, "kid": 2.0}]
    assert failures.value_at(other, 2000) == 3.0 and failures.value_at(other, 3000) == 2.0
    assert failures.value_at(other, 500) is None and failures.value_at(other, 3001) is None
    assert failures.value_at(other[:1], 1000) == 4.0
    worse, better = (failures.measure_negative(2000, {"kid": kid}, other) for kid in (6.0, 1.5))
    assert (worse, better) == ({"kid_against": 2.0}, {"kid_against": 0.5})
    assert warned(worse) == ["negative transfer"] and warned(better) == []
    assert "rank-sources" in notes(worse)
    assert (
        failures.measure_negative(9000, {"kid": 1.0}, other)
        == {}
        == failures.measure_negative(2000, {"kid": -0.1}, other)
    )


def test_a_run_to_compare_with_must_be_one_and_must_be_comparable(tmp_path):
    with pytest.raises(ConfigError, match="there is no evaluation"):
        read_against(tmp_path, "p")
    (tmp_path / "evaluations.jsonl").write_text(json.dumps({"images": 8, "protocol": "other", "kid": 1.0}) + "\n")
    with pytest.raises(ConfigError, match="measured under other, and this run under p: give both the same data.source"):
        read_against(tmp_path, "p")
    assert read_against(tmp_path, "other")[0]["kid"] == 1.0


def test_a_warning_is_said_once_and_again_after_it_was_gone():
    bad, good = {"images": 1, "memory": 0.1}, {"images": 2, "memory": 1.0}
    said = lambda *rows: [one.name for one in new_warnings(rows, LIMITS)]
    assert said(bad) == ["memorisation"] and said(bad, bad) == [] and said(bad, good, bad) == ["memorisation"]
    assert said() == []


def test_rows_of_another_protocol_are_not_compared_with():
    rows = [{"spread": 1.0, "coverage": 0.9, "protocol": "a"}, {"spread": 0.4, "coverage": 0.2, "protocol": "b"}]
    assert warned(*rows) == []
    assert warned(*({**row, "protocol": "a"} for row in rows)) == ["falling diversity", "falling coverage"]
