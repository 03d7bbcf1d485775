"""Copied runs: cases by hand, and the plain search on random texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import copies
from tests.conftest import extra_data
from tests.metrics.text import plain


def test_by_hand():
    """A run of 3; a whole inside a text; a training text; nothing; empty; a run that would cross two texts."""
    samples = ["x a b c y", "b c", "a b c d", "z", "", "d e"]
    found = copies(samples, ["a b c d", "e f"])
    assert_array_equal(found.lengths, [3, 2, 4, 0, 0, 1])
    assert_allclose(found.shares, [3 / 5, 1, 1, 0, np.nan, 1 / 2])
    assert_array_equal(found.equal, [False, False, True, False, False, False])
    assert (found.mean, found.longest) == (10 / 6, 4)
    assert_allclose([found.inside, found.whole], [2 / 6, 1 / 6])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), max_size=9), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(0, 2), max_size=9), min_size=1, max_size=5),
)
def test_runs_are_those_of_a_plain_search(samples, training):
    expected = [plain.longest_run(sample, training) for sample in samples]
    assert_array_equal(copies(samples, training).lengths, expected)


def test_a_long_copy_of_a_book_of_one_token():
    """Every place is like every other one."""
    assert_array_equal(copies([[1] * 700, [1] * 300 + [2]], [[1] * 500]).lengths, [500, 300])


def test_captions():
    """The first training captions are found as a whole, and their words in another order are not."""
    training = extra_data("text", "image_coco.txt").read_text().split("\n")[:2000]
    samples = training[:200]
    found = copies(samples, training)
    assert_array_equal(found.lengths, [len(text.split()) for text in samples])
    assert found.whole == 1
    turned = copies([" ".join(text.split()[::-1]) for text in samples], training)
    assert turned.whole < 0.02 and turned.mean < 4


def test_what_is_refused():
    with pytest.raises(MetricError, match="training is empty"):
        copies(["a"], [])
    with pytest.raises(MetricError, match="samples are strings, training are lists of tokens"):
        copies(["a"], [["a"]])
