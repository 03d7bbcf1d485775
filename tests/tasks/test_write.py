"""Filters by hand, draws by their frequencies, and what texts depend on; `nets/test_transformer.py` has published values."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import SeqGANConfig
from gan_jax.interop import WeightsError
from gan_jax.nets.texts import right_padded
from gan_jax.tasks.decoding import Decoding, drawn, filtered
from gan_jax.tasks.model import Model
from gan_jax.tasks.write import beginnings, make_writer
from tests.nets.families import drawn as variables_of
from tests.nets.families import text_pair

LOGITS = np.log(np.array([[0.4, 0.3, 0.15, 0.1, 0.05]], np.float32))


def kept(decoding, logits=LOGITS, seen=None):
    """Ids that can be chosen, in the only row."""
    return np.flatnonzero(np.isfinite(np.asarray(filtered(jnp.asarray(logits), decoding, seen))[0])).tolist()


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.39}, [0]),
        ({"top_p": 0.41}, [0, 1]),
        ({"top_p": 0.86}, [0, 1, 2, 3]),
        ({"top_p": 0.96}, [0, 1, 2, 3, 4]),
        ({"top_p": 1e-9}, [0]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"min_p": 0.3}, [0, 1, 2]),
        ({"min_p": 1.0}, [0]),
        ({"top_k": 3, "top_p": 0.8}, [0, 1]),  # of 0.85 that top-k leaves, 0.7 are 0.82
        ({"temperature": 0.5, "top_p": 0.8}, [0, 1]),  # squares 16, 9, 2.25, 1, 0.25 of 28.5: 25 are 0.88
        ({"temperature": 2.0, "min_p": 0.5}, [0, 1, 2, 3]),  # roots: 0.1 / 0.4 is 1 / 2
    ],
)
def test_filters(options, ids):
    if options == {"temperature": 2.0, "min_p": 0.5}:
        options = options | {"min_p": 0.499}  # rounding
    assert kept(Decoding(**options)) == ids
    values = np.asarray(filtered(jnp.asarray(LOGITS), Decoding(**options)))[0]
    assert_allclose(values[ids], LOGITS[0, ids] / options.get("temperature", 1.0), rtol=1e-6)


def test_ties():
    """Top-k keeps all that are as likely as its last; top-p as many as it needs, the first ones."""
    tied = np.log(np.array([[0.2, 0.2, 0.2, 0.2, 0.2]], np.float32))
    assert kept(Decoding(top_k=2), tied) == [0, 1, 2, 3, 4]
    assert kept(Decoding(top_p=0.55), tied) == [0, 1, 2]
    assert kept(Decoding(top_k=2, top_p=0.3), tied) == [0, 1]
    late = np.array([[-np.inf, 0.0, 1.0, 0.0, -np.inf]], np.float32)
    assert kept(Decoding(top_p=0.6), late) == [1, 2]  # e / (e + 2) is 0.576
    assert kept(Decoding(top_p=0.99), late) == [1, 2, 3]


def test_the_penalty_of_repetitions_comes_first():
    logits, seen = jnp.array([[2.0, -2.0, 1.0]]), jnp.array([[True, True, False]])
    found = filtered(logits, Decoding(repetition_penalty=4.0, temperature=0.5), seen)
    assert_allclose(found, [[1.0, -16.0, 2.0]])
    assert kept(Decoding(repetition_penalty=4.0, top_k=1), logits, seen) == [2]


def test_top_p_is_the_sorted_definition():
    """Against the order of all tokens in float64, over rows of other shapes of distribution."""
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.standard_normal((20, 300)) * scale for scale in (0.1, 1, 5, 20)]).astype(np.float32)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    for share in (0.1, 0.5, 0.9, 0.999):
        order = np.argsort(-p, 1)
        above = np.cumsum(np.take_along_axis(p, order, 1), 1) - np.take_along_axis(p, order, 1)
        expected = np.zeros(p.shape, bool)
        np.put_along_axis(expected, order, above < share, 1)
        found = np.isfinite(np.asarray(filtered(jnp.asarray(logits), Decoding(top_p=share))))
        edge = np.abs(above - share).min(1) < 1e-6
        assert edge.mean() < 0.2
        assert_array_equal(found[~edge], expected[~edge])


def test_draws_have_the_probabilities():
    """20,000 draws of 11 tokens, which are in groups of 3: chi-squared below its 1e-6 quantile; -inf is never drawn."""
    p = np.array([0.3, 0.0, 0.2, 0.1, 0.1, 0.05, 0.05, 0.1, 0.05, 0.0, 0.05])
    n = 20_000
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (n, 11))
    ids = np.asarray(jax.jit(drawn)(logits, jax.random.split(jax.random.key(0), n)))
    counts = np.bincount(ids, minlength=11)
    assert counts[p == 0].sum() == 0
    expected = n * p[p > 0]
    assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 43.0  # 8 degrees of freedom


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0}, "temperature is 0; use a number above 0; for the likeliest token use greedy"),
        ({"top_k": 0}, "top_k is 0; use at least 1"),
        ({"top_p": 1.5}, "top_p is 1.5; use a share above 0 and up to 1"),
        ({"min_p": -0.1}, "min_p is -0.1; use a share from 0 to 1"),
        ({"repetition_penalty": -1}, "repetition_penalty is -1; use a number above 0"),
    ],
)
def test_values_that_are_none(options, words):
    with pytest.raises(ValueError, match=words):
        Decoding(**options)


# -- the writer --------------------------------------------------------------------------------


def writer(name, **options):
    pair = text_pair(name)
    return make_writer(pair.g, pair.config, Decoding(**options)), variables_of(pair.g), pair.config


@pytest.mark.parametrize("name", ["transformer", "seqgan", "relgan"])
def test_a_text_is_of_its_prompt_and_key_only(name):
    """Alone it is as in a batch, whatever pads its prompt; another key gives another; it ends with its end, then padding."""
    write, variables, config = writer(name, temperature=2.0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), jnp.arange(6))
    ids = np.random.default_rng(0).integers(0, 9, (6, 3)).astype(np.int32)
    lengths = np.array([3, 1, 2, 3, 2, 1])
    whole = jax.device_get(write(variables, right_padded(ids, lengths), keys, 5))
    assert whole["tokens"].shape == (6, 8)
    for row in (1, 2):
        one = {"tokens": ids[row : row + 1, : lengths[row]], "mask": np.ones((1, lengths[row]), bool)}
        alone = jax.device_get(write(variables, one, keys[row : row + 1], 5))
        assert_array_equal(alone["tokens"][0, lengths[row] :], whole["tokens"][row, 3:])
        assert_array_equal(alone["mask"][0, lengths[row] :], whole["mask"][row, 3:])
    other = jax.device_get(write(variables, right_padded(ids, lengths), keys[::-1], 5))
    assert (other["tokens"][:, 3:] != whole["tokens"][:, 3:]).any()
    for tokens, mask in zip(whole["tokens"][:, 3:], whole["mask"][:, 3:]):
        said = tokens[mask]
        assert mask[0] and not (np.diff(mask.astype(int)) > 0).any()
        assert config.eos not in said[:-1] and (tokens[~mask] == config.pad).all()
        assert len(said) == 5 or said[-1] == config.eos


def test_it_stops_once_all_have_ended():
    """The network is not asked for more tokens: its part counts its calls."""
    pair = text_pair("seqgan")
    calls = []

    def go_on(variables, tokens, cache):
        jax.debug.callback(lambda: calls.append(1))
        logits, cache = pair.g.parts["go_on"](variables, tokens, cache)
        return logits.at[:, pair.config.eos].set(1e3), cache

    net = dataclasses.replace(pair.g, parts=pair.g.parts | {"go_on": go_on})
    config = dataclasses.replace(pair.config, pad=7)
    text = jax.device_get(make_writer(net, config)(variables_of(pair.g), beginnings(config, 3), n=50))
    jax.effects_barrier()
    assert len(calls) == 1
    ended = text["tokens"][:, 2] == config.eos
    assert ended.all() and (text["tokens"][:, 3:] == 7).all() and (text["mask"].sum(1) == 3).all()


def test_no_token_comes_twice_under_a_great_penalty():
    """Logits that are all positive, so that the penalty is a division; the prompt counts."""
    pair = text_pair("seqgan")
    lifted = lambda part: lambda *args: (lambda logits, cache: (logits + 50.0, cache))(*pair.g.parts[part](*args))
    net = dataclasses.replace(pair.g, parts={part: lifted(part) for part in ("begin", "go_on")})
    config: Any = dataclasses.replace(pair.config, eos=None)
    decoding = Decoding(greedy=True, repetition_penalty=100.0)
    text = jax.device_get(make_writer(net, config, decoding)(variables_of(pair.g), beginnings(config, 2), n=10))
    assert_array_equal(np.sort(text["tokens"], 1), np.tile(np.arange(11), (2, 1)))


def test_what_is_refused():
    write, variables, config = writer("transformer")
    prompts = beginnings(config, 2)
    for options, words in (
        ({"n": 0}, "n is 0; use at least 1 token"),
        ({"n": 16}, "prompts of 1 tokens and 16 more are beyond the 16 positions"),
        ({"n": 2}, "keys are missing"),
        ({"n": 2, "keys": jax.random.split(jax.random.key(0), 3)}, r"there are 2 prompts and keys \[3\]"),
    ):
        with pytest.raises(ValueError, match=words):
            write(variables, prompts, **options)
    empty = prompts | {"mask": jnp.array([[True], [False]])}
    with pytest.raises(ValueError, match="prompt 1 has no token; begin with that of the start, 9"):
        write(variables, empty, n=2)


def test_a_writer_draws_no_images_and_translates_none():
    model = Model(SeqGANConfig(), {"g_ema": {}}, {}, "runs/x")
    with pytest.raises(WeightsError, match="runs/x makes texts, and has no latents to draw; .*make_writer"):
        model.sample(0, 1)
    with pytest.raises(WeightsError, match="runs/x makes texts, and translates no images"):
        model.translate(np.zeros((1, 8, 8, 3), np.uint8))


def test_every_token_has_a_draw_of_its_own():
    pair = text_pair("seqgan")
    config: Any = dataclasses.replace(pair.config, eos=None)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(4))
    write = make_writer(pair.g, config, Decoding(temperature=1e6))  # all tokens are as likely
    texts = np.asarray(write(variables_of(pair.g), beginnings(config, 4), keys, 8)["tokens"])[:, 1:]
    assert all(len(set(row)) > 2 for row in texts.tolist())
