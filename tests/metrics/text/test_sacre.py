"""The sacreBLEU of a corpus and the tokens of 13a: numbers of sacrebleu 2.6.0."""

from __future__ import annotations

import json

import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import sacre_bleu, tokenise_13a
from tests.conftest import extra_data

HYPOTHESES = ["The cat sat, on the mat.", "A dog", "it's 4-5 o'clock"]
REFERENCES = [
    ["the cat sat on the mat.", "The cat, it sat on a mat."],
    ["A dog barks.", "Dogs"],
    ["it's 4 o'clock", "4-5"],
]
CASES = [
    ({}, 43.47208719449914, (15, 9, 3, 1), (15, 12, 9, 7), "case:mixed|eff:no|tok:13a|smooth:exp"),
    (
        {"lowercase": True, "smoothing": "floor", "value": 0.3},
        46.713797772820016,
        (15, 9, 4, 1),
        (15, 12, 9, 7),
        "case:lc|eff:no|tok:13a|smooth:floor[0.30]",
    ),
    (
        {"n": 6, "effective_order": True, "smoothing": "add-k", "value": 0.5},
        29.988141423656415,
        (15, 9.5, 3.5, 1.5, 0.5, 0.5),
        (15, 12.5, 9.5, 7.5, 5.5, 3.5),
        "case:mixed|eff:yes|tok:13a|smooth:add-k[0.50]",
    ),
    (
        {"n": 2, "tokenisation": "whitespace", "smoothing": "none"},
        58.3874208121142,
        (10, 3),
        (11, 8),
        "case:mixed|eff:no|tok:none|smooth:none",
    ),
    (
        {"n": 6, "tokenisation": "whitespace"},
        23.707707423499667,
        (10, 3, 1, 0, 0, 0),
        (11, 8, 5, 3, 2, 1),
        "case:mixed|eff:no|tok:none|smooth:exp",
    ),
    (
        {"n": 7, "tokenisation": "whitespace", "effective_order": True},
        23.707707423499667,
        (10, 3, 1, 0, 0, 0, 0),
        (11, 8, 5, 3, 2, 1, 0),
        "case:mixed|eff:yes|tok:none|smooth:exp",
    ),
    ({"n": 7, "tokenisation": "whitespace"}, 0.0, (10, 3, 1, 0, 0, 0, 0), (11, 8, 5, 3, 2, 1, 0), "eff:no|tok:none"),
]


@pytest.mark.parametrize("options, score, counts, totals, signature", CASES)
def test_numbers_are_those_of_sacrebleu(options, score, counts, totals, signature):
    found = sacre_bleu(HYPOTHESES, REFERENCES, **options)
    assert_allclose(found.score, score, rtol=1e-12)
    assert (found.counts, found.totals) == (counts, totals)
    assert found.signature.startswith("nrefs:2|") and signature in found.signature


def test_a_corpus_without_a_match_and_empty_ones():
    assert sacre_bleu(["a b"], [["c d"]]).score == 0
    empty = sacre_bleu([""], [["a"]])
    assert (empty.score, empty.brevity_penalty, empty.signature.split("|")[0]) == (0, 0, "nrefs:1")
    assert sacre_bleu(["", "a b c d"], [["a", "b"], ["a b c d"]]).signature.startswith("nrefs:var|")


def test_tokens_are_those_of_mteval():
    for text, tokens in (
        ('He said: "3,000.50 a.m." (x-1), & it\'s 4-5.', 'He said : " 3,000.50 a . m . " ( x-1 ) , & it\'s 4 - 5 .'),
        ("a,b. 1.5,2 .5 5. -- 7-x &quot;q&quot; &amp;lt; <skipped>Z/y", 'a , b . 1.5,2 . 5 5 . -- 7 - x " q " < Z / y'),
        ("état{x}~`^ ...,", "état { x } ~ ` ^ . . . ,"),
        ("over-\nrun\nend \n", "overrun end"),
        ("", ""),
    ):
        assert tokenise_13a(text) == tokens.split()


def test_golden_values():
    golden = json.loads(extra_data("..", "golden", "text_bleu.json").read_text())
    hypotheses, references = golden["hypotheses"], golden["references"]
    options = {
        "default": {},
        "tokenize_none": {"tokenisation": "whitespace"},
        "lowercase": {"lowercase": True},
        "smooth_floor": {"smoothing": "floor"},
        "order2": {"n": 2},
    }
    cases = [
        (golden["bleu_sacrebleu_corpus"][name], sacre_bleu(hypotheses, references, **options[name])) for name in options
    ]
    zeros = golden["bleu_sacrebleu_zero_counts"]
    some = [[texts[i] for i in zeros["hypothesis_indices"]] for texts in (hypotheses, references)]
    for name, values in zeros["results"].items():
        cases.append((values, sacre_bleu(*some, smoothing=name.replace("_", "-"))))
    for values, found in cases:
        assert_allclose(found.score, values["score"], rtol=1e-12)
        assert_allclose(found.precisions, values["precisions"], rtol=1e-12)
        assert_allclose(found.brevity_penalty, values["bp"], rtol=1e-12)
        assert found.signature == values["signature"].rpartition("|")[0]
        assert [*found.counts] == values["counts"] and [*found.totals] == values["totals"]
        assert (found.hypothesis_length, found.reference_length) == (values["sys_len"], values["ref_len"])


def test_lists_of_tokens_are_not_split_again():
    found = sacre_bleu([["A-1.", "b"]], [[["a-1.", "B"]]], lowercase=True, n=2)
    assert_allclose(found.score, 100)
    assert found.counts == (2, 1) and "|tok:none|" in found.signature


def test_what_is_refused():
    for options, message in (
        ({"smoothing": "method1"}, "no smoothing 'method1'; there are exp, floor, add-k, none"),
        ({"smoothing": "exp", "value": 0.5}, "smoothing exp has no value"),
        ({"smoothing": "floor", "value": -1}, "value is -1"),
        ({"n": 0}, "n is 0"),
        ({"tokenisation": "intl"}, "no tokenisation 'intl'"),
    ):
        with pytest.raises(MetricError, match=message):
            sacre_bleu(["a"], [["a"]], **options)
    for hypotheses, references, message in (
        ([], [], "empty"),
        ("a", ["a"], "one string"),
        (["a"], ["a"], "is a string"),
    ):
        for lowercase in (False, True):
            with pytest.raises(MetricError, match=message):
                sacre_bleu(hypotheses, references, lowercase=lowercase)
