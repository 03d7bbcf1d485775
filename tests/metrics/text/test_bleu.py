"""BLEU and self-BLEU: numbers of nltk, a case by hand, the plain definition on random texts, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import corpus_bleu, pool_bleu, pool_matches, read_texts, scores, self_bleu, sentence_bleu
from gan_jax.metrics.text.matches import own_matches, self_matches
from tests.conftest import extra_data
from tests.metrics.text import plain

HYPOTHESES = ["a b a b c d", "c d e", "a", "", "b b b b b", "f g h"]
REFERENCES = [["a b c d", "b a b c"], ["c d e f", "d e c d e"], ["a b"], ["a"], ["b b", "a b b b c"], ["a b"]]
POOL = [text for texts in REFERENCES for text in texts]


# nltk 3.10.4: sentence_bleu and corpus_bleu with SmoothingFunction(epsilon).method1
def test_numbers_are_those_of_nltk():
    own = [0.7937005259840998, 0.7165313105737893, 0.07925722298092992, 0, 0.4641588833612779, 0]
    assert_allclose(sentence_bleu(HYPOTHESES, REFERENCES, 3), own, rtol=1e-12)
    pool = [0.7598356856515925, 0.5623413251903491, 0.1778279410038923, 0, 0.26591479484724945, 0.11362193664674995]
    assert_allclose(pool_bleu(HYPOTHESES, POOL), pool, rtol=1e-12)
    others = [0.408248290463863, 0.5773502691896257, 0.316227766016838, 0, 0.08187307530779821, 0]
    assert_allclose(self_bleu(HYPOTHESES, 2), others, rtol=1e-12)
    weighted = [0.8383362554714645, 0.6237767360393223, 0.2427099164182149, 0, 0.5477225575051662, 0]
    assert_allclose(
        sentence_bleu(HYPOTHESES, REFERENCES, weights=(0.5, 0.2, 0, 0.1), epsilon=0.25), weighted, rtol=1e-12
    )
    assert_allclose(corpus_bleu(HYPOTHESES, REFERENCES), 0.4294847964297299, rtol=1e-12)
    assert_allclose(corpus_bleu(HYPOTHESES, REFERENCES, 5), 0.2174395936009232, rtol=1e-12)
    assert_allclose(
        corpus_bleu(HYPOTHESES, REFERENCES, weights=(0.7, 0.3), smoothing="none"), 0.6003423348484476, rtol=1e-12
    )


def test_without_smoothing_an_order_without_a_match_scores_0():
    values = [0.816496580927726, 0.7165313105737893, 0, 0, 0.5477225575051662, 0]
    found = sentence_bleu(HYPOTHESES, REFERENCES, 2, smoothing="none")
    assert_allclose(found, values, rtol=1e-12)
    assert_array_equal(found[[2, 3, 5]], 0)
    # an order without weight may be without a match, and the precision of unigrams alone is left
    assert_allclose(sentence_bleu(["a"], [["a b"]], weights=[1, 0], smoothing="none"), [np.exp(-1)], rtol=1e-12)


def test_the_example_by_hand():
    """5 of 7 words and 4 of 6 pairs, and a reference of 7 words: no penalty."""
    hypothesis, references = "the cat the cat on the mat", ["the cat is on the mat", "there is a cat on the mat"]
    counts = own_matches([hypothesis], [references], 2)
    assert_array_equal(counts.matched, [[5, 4]])
    assert_array_equal(counts.totals, [[7, 6]])
    assert_array_equal(counts.closest, [7])
    assert_allclose(sentence_bleu([hypothesis], [references], 2), [(5 / 7 * 4 / 6) ** 0.5], rtol=1e-14)


def test_of_two_closest_lengths_the_shorter_counts():
    assert_array_equal(pool_matches(["a b c"], ["a b", "a b c d"]).closest, [2])
    assert_array_equal(pool_matches(["a b c"], ["a b c d", "a b c d e"]).closest, [4])
    assert_array_equal(own_matches(["a b c", "a"], [["a b c d", "a b"], ["a b c"]]).closest, [2, 3])
    assert_array_equal(self_matches(["a b c", "a b", "a b c d", "a", "a b"]).closest, [2, 2, 3, 2, 2])


def test_golden_values():
    golden = json.loads(extra_data("..", "golden", "text_bleu.json").read_text())
    hypotheses, references = golden["hypotheses"], golden["references"]
    filled = [text for text in hypotheses if text]
    for n in range(2, 6):
        values = golden["bleu_nltk"][f"bleu{n}"]
        own = sentence_bleu(hypotheses, references, n)
        assert_allclose(own, values["sentence_own_references"], rtol=1e-12)
        assert_allclose(own.mean(), values["sentence_own_references_mean"], rtol=1e-12)
        unsmoothed = np.array(values["sentence_own_references_no_smoothing"])
        assert_allclose(
            sentence_bleu(hypotheses, references, n, smoothing="none"),
            np.where(unsmoothed > 1e-60, unsmoothed, 0),
            rtol=1e-12,
        )
        pool = pool_bleu(hypotheses, golden["reference_pool"], n)
        assert_allclose(pool, values["sentence_pool"], rtol=1e-12)
        assert_allclose(pool.mean(), values["texygen_bleu_mean"], rtol=1e-12)
        assert_allclose(corpus_bleu(hypotheses, references, n), values["corpus_nltk_method1"], rtol=1e-12)
        assert_allclose(self_bleu(filled, n), values["self_bleu_sentences"], rtol=1e-12)
        assert_allclose(self_bleu(filled, n).mean(), values["self_bleu"], rtol=1e-12)


TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=2, max_size=7)
OPTIONS = st.tuples(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=1, max_size=6).filter(any),
    st.sampled_from([None, 0.1, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, OPTIONS)
def test_counted_bleu_is_the_plain_one(samples, references, options):
    weights, epsilon = options
    smoothing = {"smoothing": "none"} if epsilon is None else {"epsilon": epsilon}
    for found, pools in (
        (pool_bleu(samples, references, weights=weights, **smoothing), [references] * len(samples)),
        (self_bleu(samples, weights=weights, **smoothing), [samples[:i] + samples[i + 1 :] for i in range(len(samples))]),
        (sentence_bleu(samples, [references[: 1 + i % 2] for i in range(len(samples))], weights=weights, **smoothing),
         [references[: 1 + i % 2] for i in range(len(samples))]),
    ):  # fmt: skip
        expected = [plain.bleu(text, pool, weights, epsilon) for text, pool in zip(samples, pools)]
        assert_allclose(found, expected, rtol=1e-12, atol=0)


def test_one_count_serves_several_orders():
    counts = pool_matches(HYPOTHESES, POOL, 5)
    for n in (1, 2, 5):
        assert_array_equal(scores(counts, n), pool_bleu(HYPOTHESES, POOL, n))
    with pytest.raises(MetricError, match="counted up to 5; count them up to 6"):
        scores(counts, 6)


def test_strings_lists_and_ids_are_the_same_texts():
    words = [text.split() for text in HYPOTHESES]
    ids = [[ord(word) for word in text] for text in words]
    values = self_bleu(HYPOTHESES, 2)
    assert_array_equal(self_bleu(words, 2), values)
    assert_array_equal(self_bleu(ids, 2), values)
    assert_array_equal(self_bleu([np.array(text, np.int32) for text in ids], 2), values)
    assert_array_equal(self_bleu(np.array([[1, 2, 3], [1, 2, 4]]), 2), self_bleu(["a b c", "a b d"], 2))
    assert_array_equal(self_bleu(["ab", "a b"], 1, tokenisation="characters"), self_bleu(["a b", "a _ b"], 1))


BAD = {
    "one string": ("a b", ["a"], {}, "hypotheses is one string; give a list"),
    "no hypotheses": ([], ["a"], {}, "hypotheses is empty"),
    "no references": (["a"], [], {}, "references is empty"),
    "a number": (3, ["a"], {}, "hypotheses is int"),
    "a dict": ({"a": 1}, ["a"], {}, "hypotheses is dict"),
    "none among them": (["a", None], ["a"], {}, r"hypotheses\[1\] is a NoneType"),
    "mixed": (["a", ["b"]], ["a"], {}, r"hypotheses\[1\] is a list, hypotheses\[0\] is a string"),
    "two forms": (["a"], [["a"]], {}, "hypotheses are strings, references are lists of tokens"),
    "words and ids": ([["a"]], [[1]], {}, "tokens of hypotheses are words, those of references ids"),
    "mixed tokens": ([["a", 1]], [["a"]], {}, r"token 1 of hypotheses\[0\] is 1; give tokens all as"),
    "floats": ([[0.5]], [[1]], {}, r"token 0 of hypotheses\[0\] is float"),
    "booleans": ([[True]], [[1]], {}, r"token 0 of hypotheses\[0\] is bool"),
    "n 0": (["a"], ["a"], {"n": 0}, "n is 0; the order"),
    "n 2.5": (["a"], ["a"], {"n": 2.5}, "n is 2.5; the order"),
    "n True": (["a"], ["a"], {"n": True}, "n is True; the order"),
    "weights": (["a"], ["a"], {"n": 2, "weights": [1.0]}, "1 weights for n = 2"),
    "negative": (["a"], ["a"], {"weights": [1.0, -1.0]}, "none below 0"),
    "zero": (["a"], ["a"], {"weights": [0.0, 0.0]}, "one above"),
    "words": (["a"], ["a"], {"weights": "ab"}, "weights is 'ab'"),
    "smoothing": (["a"], ["a"], {"smoothing": "exp"}, "no smoothing 'exp'; there are none, method1"),
    "epsilon": (["a"], ["a"], {"epsilon": 0}, "epsilon is 0"),
    "tokenisation": (
        ["a"],
        ["a"],
        {"tokenisation": "nltk"},
        "no tokenisation 'nltk' of strings; there are whitespace, 13a",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    hypotheses, pool, options, message = BAD[name]
    with pytest.raises(MetricError, match=message):
        pool_bleu(hypotheses, pool, **options)


def test_references_of_each_hypothesis_are_refused():
    for references, message in (
        ([["a"]], "1 lists of references for 2 hypotheses"),
        (None, "0 lists of references for 2"),
        (["a", ["b"]], r"references\[0\] is a string; give a list"),
        ([["a"], []], "hypothesis 1 has no references"),
        ([["a"], None], "hypothesis 1 has no references"),
        ([["a"], [3]], r"references\[1\]\[0\] is a int"),
    ):
        with pytest.raises(MetricError, match=message):
            sentence_bleu(["a", "b"], references)
    with pytest.raises(MetricError, match="hypotheses are lists of tokens, references.0. are strings"):
        sentence_bleu([["a", "b"]], [["a", "b"]])
    with pytest.raises(MetricError, match="there is one sample"):
        self_bleu(["a b"])


def test_only_empty_texts():
    assert_array_equal(pool_bleu(["", ""], [""]), [0, 0])
    assert_array_equal(self_bleu([[], []]), [0, 0])
    assert read_texts([[], []]).kind is None
