"""Distinct n-grams, unique texts and lengths: golden values and cases by hand."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import distinct, length_distance, unique_share
from tests.conftest import extra_data
from tests.metrics.text.plain import grams


def test_the_four_definitions_by_hand():
    """Pairs: ab ba ab | ab bc | none | none: 3 distinct of 5, 8 tokens, 4 texts; of each text 2/3 and 2/2."""
    found = distinct(["a b a b", "a b c", "a", ""], 2)
    assert_allclose(found.over_ngrams, 3 / 5)
    assert_allclose(found.over_tokens, 3 / 8)
    assert_allclose(found.per_text, 3 / 4)
    assert_allclose(found.mean_of_texts, (2 / 3 + 1) / 2)


def test_nothing_to_divide_by_is_nan():
    found = distinct(["a", "b"], 2)
    assert math.isnan(found.over_ngrams) and math.isnan(found.mean_of_texts)
    assert (found.over_tokens, found.per_text) == (0, 0)
    assert math.isnan(distinct([""], 1).over_tokens)


def test_golden_values():
    golden = json.loads(extra_data("..", "golden", "text_bleu.json").read_text())
    for n, values in golden["distinct"].items():
        found = distinct(golden["hypotheses"], int(n))
        assert_allclose(found.over_ngrams, values["distinct_over_ngrams"], rtol=1e-12)
        assert_allclose(found.over_tokens, values["distinct_over_tokens"], rtol=1e-12)
        assert_allclose(found.per_text, values["unique_per_sentence_texygen"], rtol=1e-12)
        assert_allclose(found.mean_of_texts, values["sentence_mean"], rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=12), min_size=1, max_size=6), st.integers(1, 4))
def test_counts_are_those_of_sets(texts, n):
    counts = [grams(text, n) for text in texts]
    kinds, total = len(set().union(*counts)), sum(map(sum, (count.values() for count in counts)))
    found = distinct(texts, n)
    assert_allclose(found.over_ngrams, kinds / total)
    assert_allclose(found.mean_of_texts, sum(len(c) / sum(c.values()) for c in counts) / len(texts))


def test_unique_texts_and_lengths():
    assert unique_share(["a b", "a  b", "c", "c d"]) == 3 / 4
    assert length_distance(["a b", "a"], ["c", "d e"]) == 0
    assert length_distance(["a b c", "a b c d"], ["a", "a b"]) == 2
    assert_allclose(length_distance(["a", "a", "a b c d"], ["a"]), 1)  # a third has to go 3
    with pytest.raises(MetricError, match="n is 0"):
        distinct(["a"], 0)
    with pytest.raises(MetricError, match="references is empty"):
        length_distance(["a"], [])
