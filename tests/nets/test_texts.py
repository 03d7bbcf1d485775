"""What every pair of texts promises: shapes and dtypes, masks, keys, the cache, names of blocks. The rows are `TEXTS`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.nets.inside import module_shapes
from gan_jax.nets.texts import last_of, left_padded, lengths_of, right_padded
from gan_jax.trees import flatten
from tests.nets.families import TEXTS, drawn, text_pair

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
LENGTHS = [5, 5, 4, 2]


def texts():
    ids = np.random.default_rng(0).integers(0, 9, (4, 5)).astype(np.int32)
    return right_padded(ids, np.array(LENGTHS, np.int32))


def keys():
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(4))


@functools.cache
def variables(name):
    return {network: drawn(net) for network, net in text_pair(name).nets.items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TEXTS)
def test_outputs(name, dtype):
    """Without running anything: logits of all tokens, scores of texts or tokens, of ids and of probabilities."""
    pair, text = text_pair(name, dtype), texts()
    soft = text | {"tokens": jnp.zeros((4, 5, getattr(pair.config, "d_vocab", None) or 11))}
    for net in (pair.g, pair.d):
        assert {leaf.dtype for leaf in jax.tree.leaves(net.specs())} == {jnp.dtype("float32")}
    for train in (False, True):
        logits, rest = jax.eval_shape(lambda v, t=train: pair.g.apply(v, text, None, t, keys()), pair.g.specs())
        assert (logits.shape, logits.dtype, rest) == ((4, 5, 11), jnp.float32, {})
        for read in (text, soft):
            scores, rest = jax.eval_shape(
                lambda v, x, t=train: pair.d.apply(v, x, None, t, keys()), pair.d.specs(), read
            )
            assert scores.shape in ((4, pair.config.d_logits), (4, 5, pair.config.d_logits))
            assert (scores.dtype, rest) == (jnp.float32, {})


@pytest.mark.parametrize("name", TEXTS)
def test_a_training_pass(name):
    """A finite gradient in every leaf, through soft tokens from G to D; rows of tables that no token reads have none."""
    pair, text = text_pair(name), texts()
    vocab = getattr(pair.config, "d_vocab", None) or 11

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(values):
        def loss(values):
            logits, _ = pair.g.apply(values["g"], text, None, True, keys())
            soft = jnp.pad(jax.nn.softmax(logits), ((0, 0), (0, 0), (0, vocab - 11)))
            scores, _ = pair.d.apply(values["d"], text | {"tokens": soft}, None, True, keys())
            return jnp.square(jnp.where(text["mask"][..., None], scores, 0) if scores.ndim == 3 else scores).sum()

        return jax.value_and_grad(loss)(values)

    value, slopes = run(variables(name))
    assert np.isfinite(value) and value > 0
    for path, slope in flatten(slopes).items():
        unseen = path.endswith("key/bias")  # which shifts all scores of a query alike
        assert np.isfinite(slope).all() and ((np.abs(slope) > 0).any() or unseen), path


@pytest.mark.parametrize("name", TEXTS)
def test_what_stands_at_masked_places_is_not_read(name):
    """Other ids and further padding change no logit and no score; the cache goes on as the whole text, from either side."""
    pair, text, values = text_pair(name), texts(), variables(name)
    other = {"tokens": jnp.pad(jnp.where(text["mask"], text["tokens"], 5), ((0, 0), (0, 2)), constant_values=3)}
    other["mask"] = jnp.pad(text["mask"], ((0, 0), (0, 2)))
    prompts = left_padded({part: array[:, :2] for part, array in text.items()})

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(values):
        outputs = [(pair.g.apply(values["g"], x)[0], pair.d.apply(values["d"], x)[0]) for x in (text, other)]
        logits, cache = pair.g.parts["begin"](values["g"], prompts, 2)
        cached = [logits]
        for place in (2, 3):
            logits, cache = pair.g.parts["go_on"](values["g"], text["tokens"][:, place], cache)
            cached.append(logits)
        return outputs, jnp.stack(cached, 1)

    ((logits, scores), (of_other, scores_of_other)), cached = jax.device_get(run(values))
    mask = np.asarray(text["mask"])
    assert np.abs(logits).max() > 0.01
    assert_allclose(of_other[:, :5][mask], logits[mask], rtol=1e-4, atol=1e-5)
    if scores.ndim == 3:
        scores, scores_of_other = scores[mask], scores_of_other[:, :5][mask]
    assert_allclose(scores_of_other, scores, rtol=1e-4, atol=1e-5)
    whole = [i for i, n in enumerate(LENGTHS) if n > 3]
    assert_allclose(cached[whole], logits[whole, 1:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TEXTS)
def test_dropout_is_by_the_key_of_each_example(name):
    pair, text = text_pair(name), texts()
    run = jax.jit(lambda v, text, keys: pair.d.apply(v, text, None, True, keys)[0], compiler_options=QUICK)
    rows = lambda part: run(variables(name)["d"], {k: v[part] for k, v in text.items()}, keys()[part])
    whole = run(variables(name)["d"], text, keys())
    assert_allclose(jnp.concatenate([rows(slice(0, 2)), rows(slice(2, 4))]), whole, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(whole - pair.d.apply(variables(name)["d"], text)[0])).max() > 1e-3


@pytest.mark.parametrize("name", TEXTS)
def test_blocks_are_modules_and_cover_the_networks(name):
    pair = text_pair(name)
    d, g = (set(net.specs()["params"]) for net in (pair.d, pair.g))
    assert {*pair.d_blocks, *pair.d_head} | {"places", "types", "norm"} >= d >= {*pair.d_blocks, *pair.d_head}
    assert {*pair.g_blocks} | {"places", "norm", "head"} >= g >= {*pair.g_blocks}
    assert {*pair.d_blocks} <= {*module_shapes(pair, "d")}


def test_left_and_right_padding():
    text = texts()
    left = left_padded(text)
    assert_array_equal(lengths_of(left["mask"]), LENGTHS)
    assert_array_equal(last_of(left["mask"]), 4)
    assert_array_equal(last_of(text["mask"]), np.array(LENGTHS) - 1)
    for row, (of_left, mask) in enumerate(zip(np.asarray(left["tokens"]), np.asarray(left["mask"]))):
        assert_array_equal(of_left[mask], np.asarray(text["tokens"])[row, : LENGTHS[row]])
        assert not mask[: 5 - LENGTHS[row]].any()
