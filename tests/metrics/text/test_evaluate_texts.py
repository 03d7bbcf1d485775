"""All text metrics of a set of samples, their protocols and notes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import MetricError
from gan_jax.metrics.text import evaluate_texts, pool_bleu, read_texts, self_bleu, text_protocol

SAMPLES = ["a b c d", "a b a b", "c d e", "a b c d", "", "e f g h i"]
REFERENCES = ["a b c e", "c d e f", "a b d", "d c b a"]


def test_values_are_those_of_the_functions():
    found = evaluate_texts(SAMPLES, REFERENCES, training=["a b c d", "z e f g"], n=3, pool=3)
    filled = [text for text in SAMPLES if text][:3]
    assert_allclose(found.values["bleu3"], pool_bleu(SAMPLES, REFERENCES[:3], 3).mean())
    assert_allclose(found.values["bleu2"], pool_bleu(SAMPLES, REFERENCES[:3], 2).mean())
    assert_allclose(found.values["self_bleu2"], self_bleu(filled, 2).mean())
    # 9 words of 20; pairs ab bc cd ba de ef fg gh hi, of 15
    assert_allclose([found.values["distinct1"], found.values["distinct2"]], [9 / 20, 9 / 15])
    assert_allclose([found.values["unique"], found.values["length"]], [5 / 6, 20 / 6])
    # lengths 0 3 4 4 4 5 and 3 4 4 4: shares up to 0, 3, 4 differ by 1/6, 2/6 - 1/4 and 1 - 5/6
    assert_allclose(found.values["length_distance"], 3 / 6 + 1 / 12 + 1 / 6)
    copied = [found.values[name] for name in ("copy_mean", "copy_longest", "copied", "copied_whole")]
    assert_allclose(copied, [(4 + 2 + 2 + 4 + 0 + 3) / 6, 4, 2 / 6, 2 / 6])
    assert found.values.keys() == found.protocols.keys()
    assert [*found.values][:4] == ["bleu2", "bleu3", "self_bleu2", "self_bleu3"]
    assert found.notes == ("1 of 6 samples are empty: 0 in BLEU, left out of self-BLEU",)


def test_protocols_name_what_numbers_depend_on():
    found = evaluate_texts(SAMPLES, REFERENCES, n=3, pool=3)
    bleu, others = found.protocols["bleu3"], found.protocols["self_bleu3"]
    assert bleu.id.startswith("bleu-v1-n3-r3-f6-") and others.id.startswith("self-bleu-v1-n3-r2-f3-")
    assert bleu.title("bleu3") == "BLEU-3 (3 references, whitespace)"
    assert found.protocols["unique"].title("unique") == "unique samples (whitespace)"
    assert bleu.describe() == [
        f"protocol {bleu.id}",
        f"tokens: whitespace; 6 samples; 3 references, {read_texts(REFERENCES[:3]).digest[:12]}",
        "n-grams up to 3; weights 1/3 each; smoothing method1",
    ]
    assert others.describe()[1] == "tokens: whitespace; 3 samples; each with the other 2"
    assert found.protocols["distinct2"].describe()[1:] == ["tokens: whitespace; 6 samples", "n-grams of 2"]


def test_every_field_is_part_of_the_id():
    protocol = evaluate_texts(SAMPLES, REFERENCES, n=2).protocols["bleu2"]
    others = {
        "metric": "bleu-v2",
        "n_references": 3,
        "n_samples": 5,
        "reference_hash": "00",
        "tokenisation": "13a",
        "extractor": "gpt2@00",
        "order": 3,
        "weights": (0.3, 0.7),
        "smoothing": "none",
        "settings": (("seed", 1),),
    }
    assert {*others} == {field.name for field in dataclasses.fields(protocol)}
    ids = {dataclasses.replace(protocol, **{name: value}).id for name, value in others.items()}
    assert len(ids | {protocol.id}) == len(others) + 1


def test_ids_are_stable():
    """A number that was published keeps the name of its protocol."""
    protocol = text_protocol("bleu-v1", read_texts(["a"]), read_texts(["a b"]), order=4, smoothing="method1")
    assert protocol.id == "bleu-v1-n4-r1-f1-9634edcd"


def test_options_change_the_protocol_and_strings_do_not():
    protocol = lambda *args, **options: evaluate_texts(*args, n=2, **options).protocols["bleu2"]
    base = protocol(SAMPLES, REFERENCES)
    assert protocol(SAMPLES, [f" {text}  " for text in REFERENCES]) == base
    words = [[text.split() for text in texts] for texts in (SAMPLES, REFERENCES)]
    assert protocol(*words, tokenisation="whitespace") == base
    ids = [
        protocol(*words).id,
        protocol(*words, tokenisation="gpt2").id,
        protocol(SAMPLES, REFERENCES[::-1]).id,
        protocol(SAMPLES, REFERENCES, smoothing="none").id,
        protocol(SAMPLES, REFERENCES, epsilon=0.2).id,
        protocol(SAMPLES, REFERENCES, tokenisation="13a").id,
        protocol(SAMPLES, REFERENCES, pool=2).id,
    ]
    assert len({*ids, base.id}) == len(ids) + 1
    numbers = [[[ord(word) for word in text] for text in texts] for texts in words]
    assert protocol(*numbers).reference_hash != base.reference_hash


def test_weights_are_part_of_the_protocol():
    texts = read_texts(["a b"])
    weighted = text_protocol("bleu-v1", texts, texts, order=2, weights=[0.3, 0.7], smoothing="none")
    assert weighted.describe()[-1] == "n-grams up to 2; weights 0.3, 0.7; smoothing none"
    with pytest.raises(MetricError, match="2 weights for n = 3"):
        text_protocol("bleu-v1", texts, texts, order=3, weights=[0.3, 0.7])


def test_features():
    random = np.random.default_rng(0)
    p, q = random.normal(size=(40, 3)), random.normal(size=(30, 3)) + 0.5
    found = evaluate_texts(SAMPLES, REFERENCES, sample_features=p, reference_features=q, extractor="gpt2@01")
    assert {"fd", "mauve", "mauve_star", "frontier_integral"} <= {*found.values}
    fd, mauve = found.protocols["fd"], found.protocols["mauve"]
    assert fd.title("fd") == "FD (gpt2)" and mauve.title("mauve_star") == "MAUVE* (gpt2)"
    assert mauve.describe()[-1] == "clusters 3, variance 0.9, scaling 5, restarts 5, seed 0"
    assert any("MAUVE of 30 texts" in note for note in found.notes)
    few = evaluate_texts(SAMPLES, REFERENCES, sample_features=p[:3], reference_features=q)
    assert "fd" not in few.values and any("no Frechet distance" in note and "4 of each" in note for note in few.notes)


def test_samples_that_allow_little():
    found = evaluate_texts(["", ""], REFERENCES)
    assert found.values["bleu4"] == 0 and "self_bleu2" not in found.values and "distinct1" not in found.values
    assert [note.split(":")[0] for note in found.notes] == [
        "2 of 2 samples are empty", "no self-BLEU", "no distinct-1", "no distinct-2",
    ]  # fmt: skip
    assert [*evaluate_texts(["a b"], ["a"], n=1).values][:1] == ["bleu1"]


def test_what_is_refused():
    for options, message in (
        ({"n": 0}, "n is 0"),
        ({"pool": 0}, "pool is 0"),
        ({"smoothing": "exp"}, "no smoothing 'exp'"),
        ({"training": []}, "training is empty"),
        ({"sample_features": np.ones((3, 2))}, "features of one side only"),
    ):
        with pytest.raises(MetricError, match=message):
            evaluate_texts(SAMPLES, REFERENCES, **options)
    with pytest.raises(MetricError, match="no text metric 'rouge'"):
        evaluate_texts(SAMPLES, REFERENCES).protocols["bleu2"].title("rouge")
