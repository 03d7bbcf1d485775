"""Transformers of texts against values that Hugging Face's models returned; what padding, keys and dtypes change, and do not."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import TransformerConfig
from gan_jax.interop.layouts.huggingface import discriminator_links, generator_links
from gan_jax.interop.links import export_tensors
from gan_jax.nets import build
from gan_jax.nets.texts import last_of, left_padded, lengths_of, positions_of, right_padded, shifted_left
from gan_jax.tasks.decoding import Decoding, filtered
from gan_jax.tasks.write import make_writer
from gan_jax.trees import flatten
from tests.golden import close, golden, imported, there_and_back, under
from tests.nets.families import drawn

SIZES = {"width": 32, "layers": 2, "heads": 4, "positions": 64, "length": 16}
ENCODER = {"d_width": 32, "d_layers": 2, "d_heads": 4, "d_mlp": 64, "d_positions": 64}
CONFIGS = {
    "gpt2": TransformerConfig(300, bos=299, eos=299, pad=299, **SIZES, **ENCODER),
    "bert": TransformerConfig(300, bos=299, eos=299, pad=299, **SIZES, **ENCODER, d_logits=3),
    "roberta": TransformerConfig(
        300, bos=0, eos=2, pad=1, **SIZES, **(ENCODER | {"d_positions": 66}), d_kind="roberta", d_pad=1, d_types=1,
        d_logits=2, d_epsilon=1e-5,
    ),
}  # fmt: skip
WIDE = [pytest.param(False, id="float32"), pytest.param(True, id="float64")]


@functools.cache
def arrays(name):
    return golden(f"text_{name}_tiny.npz")


def config_of(name, wide=False):
    return dataclasses.replace(CONFIGS[name], dtype="float64" if wide else "float32")


def setting(name, wide):
    """(network, its links, variables, arrays, the beginning of expected values, tolerances of outputs and gradients)."""
    values, config = arrays(name), config_of(name, wide)
    pair = build(config)
    net, links = (pair.g, generator_links(config)) if name == "gpt2" else (pair.d, discriminator_links(config))
    state = under(values, "net/")
    if name == "gpt2":
        assert_array_equal(state.pop("lm_head.weight"), state["transformer.wte.weight"])
    if wide:
        state = {key: array.astype(np.float64) for key, array in state.items()}
    variables = imported(state, links, {}, net.specs())
    return net, links, variables, values, "64/" if wide else "/", (1e-9, 1e-9) if wide else (1e-5, 1e-4)


def text_of(values, start="", ids="input_ids"):
    text = {
        "tokens": jnp.asarray(values[f"in/{start}{ids}"]),
        "mask": jnp.asarray(values[f"in/{start}attention_mask"]) > 0,
    }
    for ours, theirs in (("types", "token_type_ids"), ("positions", "position_ids")):
        if not start and f"in/{theirs}" in values:
            text[ours] = jnp.asarray(values[f"in/{theirs}"])
    return text


def same_gradients(gradients, links, values, start, tolerance):
    """Compares with `grad/*`; those that are zero there absolutely."""
    for name, found in export_tensors(gradients, links).items():
        expected = values[f"grad{start}{name}"]
        if np.abs(expected).max() < 1e-6:
            assert np.abs(found).max() < 1e-6, name
        elif "embeddings" in name and not expected.any(-1).all():  # torch leaves the row of padding out
            rows = expected.any(-1)
            close(found[rows], expected[rows], tolerance, name)
        else:
            close(found, expected, tolerance, name)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_is_a_leaf_and_back(name):
    links = generator_links(CONFIGS[name]) if name == "gpt2" else discriminator_links(CONFIGS[name])
    state = {key: array for key, array in under(arrays(name), "net/").items() if key != "lm_head.weight"}
    pair = build(CONFIGS[name])
    there_and_back(state, links, {}, (pair.g if name == "gpt2" else pair.d).specs())


@pytest.mark.parametrize("wide", WIDE)
def test_gpt2(wide):
    """Logits, hidden states, the loss and its gradients; and the logits with padding on the left."""
    with jax.enable_x64(wide):
        net, links, variables, values, start, (near, slopes) = setting("gpt2", wide)
        text, left = text_of(values), text_of(values, "left_")
        shown = jnp.asarray(values["in/loss_mask"]) > 0

        @jax.jit
        def run(variables):
            def loss(variables):
                logits, _, inner = net.apply_with_intermediates(variables, text)
                ids = text["tokens"][:, 1:, None]
                nll = -jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), ids, 2)[..., 0]
                return jnp.where(shown, nll, 0).sum() / shown.sum(dtype=nll.dtype), (
                    logits,
                    inner,
                    jnp.where(shown, nll, 0),
                )

            (value, outputs), slope = jax.value_and_grad(loss, has_aux=True)(variables)
            return value, outputs, slope, net.apply(variables, left)[0], net.apply(variables, left | plain)[0]

        plain = {"positions": jnp.broadcast_to(jnp.arange(16, dtype=jnp.int32), (4, 16))}
        value, (logits, inner, nll), slope, of_left, of_plain = jax.device_get(run(variables))
        mask, left_mask = (values[f"in/{side}attention_mask"][..., None] for side in ("", "left_"))
        for found, name in (
            (logits, "logits"), (inner["norm"], "last_hidden_state"), (inner["block0"], "hidden_state_1"),
        ):  # fmt: skip
            close(found * mask, values[f"out{start}{name}"], near, name)
        close((inner["embed"] + inner["places"]) * mask, values[f"out{start}hidden_state_0"], near)
        close(of_left * left_mask, values[f"out{start}left_logits"], near)
        close(of_plain * left_mask, values[f"out{start}left_logits_default_positions"], near)
        close(nll, values[f"out{start}token_loss"], near)
        assert_allclose(value, values[f"out{start}loss"], rtol=near)
        same_gradients(flatten(slope), links, values, start, slopes)


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_encoders(name, wide):
    """Scores, hidden states, the pooled state, the loss and gradients; and scores of soft tokens with their gradient."""
    with jax.enable_x64(wide):
        net, links, variables, values, start, (near, slopes) = setting(name, wide)
        text, labels = text_of(values), jnp.asarray(values["in/labels"])
        soft = jnp.asarray(values["in/soft_tokens"], jnp.float64 if wide else jnp.float32)
        of_soft = {key: array for key, array in text.items() if key != "positions"}
        if name == "roberta":  # as their model has it: every place counts, padded or not
            of_soft["positions"] = jnp.broadcast_to(2 + jnp.arange(soft.shape[1], dtype=jnp.int32), soft.shape[:2])

        @jax.jit
        def run(variables, soft):
            def loss(variables):
                logits, _, inner = net.apply_with_intermediates(variables, text)
                losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
                return losses.mean(), (logits, inner, losses)

            def first(soft):
                scores = net.apply(variables, of_soft | {"tokens": soft})[0]
                return scores[:, 0].sum(), scores

            return jax.value_and_grad(loss, has_aux=True)(variables), jax.value_and_grad(first, has_aux=True)(soft)

        ((value, (logits, inner, losses)), slope), ((_, scores), soft_slope) = jax.device_get(run(variables, soft))
        mask = values["in/attention_mask"][..., None]
        close(logits, values[f"out{start}logits"], near)
        close(inner["block1"] * mask, values[f"out{start}last_hidden_state"], near)
        close(inner["norm"] * mask, values[f"out{start}hidden_state_0"], near)
        close(losses, values[f"out{start}example_loss"], near)
        if name == "bert":
            close(np.tanh(inner["pool"]), values[f"out{start}pooler"], near)
        assert_allclose(value, values[f"out{start}loss"], rtol=near)
        close(scores, values[f"out{start}soft_logits"], near)
        same_gradients(flatten(slope), links, values, start, slopes)
        if not wide:
            close(soft_slope, values["grad_in/soft_tokens"], slopes)


def test_positions_of_roberta_without_their_ids():
    """Counted from the mask they are those that the model takes from the ids, but for the row where a token is masked."""
    values = arrays("roberta")
    mask = values["in/attention_mask"]
    places = np.asarray(positions_of({"mask": jnp.asarray(mask) > 0})) + CONFIGS["roberta"].d_first
    rows = [0, 1, 2]
    assert_array_equal((places * mask)[rows], (values["in/position_ids"] * mask)[rows])


# -- writing -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2():
    """(generator, variables, arrays) with the decoding of the samples."""
    net, _, variables, values, _, _ = setting("gpt2", False)
    return net, variables, values


def test_greedy_texts_are_the_published_models(gpt2):
    net, variables, values = gpt2
    prompts = text_of(values, "gen_")
    plain = dataclasses.replace(CONFIGS["gpt2"], eos=None)
    text = make_writer(net, plain)(variables, prompts, n=20)
    assert_array_equal(text["tokens"], values["out/greedy_ids"])
    assert_array_equal(text["mask"][:, 9:], True)
    ended = dataclasses.replace(plain, eos=int(values["in/gen_eos_token_id"]))
    text = make_writer(net, ended)(variables, prompts, n=20)
    assert_array_equal(text["tokens"], values["out/greedy_eos_ids"])
    ends = values["out/greedy_eos_ids"][:, 9:] == ended.eos
    behind = np.cumsum(ends, 1) - ends > 0
    assert behind.any() and not behind.all()
    assert_array_equal(text["mask"][:, 9:], ~behind)


def test_cached_logits_are_those_of_the_whole_text(gpt2):
    """For prompts padded on the left and on the right; by ids, and by probabilities that are all on one token."""
    net, variables, values = gpt2
    prompts, following = text_of(values, "gen_"), jnp.asarray(values["out/greedy_ids"][:, 9:])
    lengths = np.asarray(lengths_of(prompts["mask"]))
    rows = [np.asarray(tokens)[-n:] for tokens, n in zip(prompts["tokens"], lengths)]
    right = right_padded(np.stack([np.pad(row, (0, 9 - len(row)), constant_values=7) for row in rows]), lengths)
    assert_array_equal(left_padded(right)["mask"], prompts["mask"])

    @jax.jit
    def run(prompts):
        logits, cache = net.parts["begin"](variables, prompts, 20)
        first, soft_cache = logits, cache

        def go_on(carry, tokens):
            hard, soft = carry
            logits, hard = net.parts["go_on"](variables, tokens, hard)
            of_soft, soft = net.parts["go_on"](variables, jax.nn.one_hot(tokens, 300), soft)
            return (hard, soft), (logits, of_soft)

        _, (logits, of_soft) = jax.lax.scan(go_on, (cache, soft_cache), following.T[:3])
        return jnp.stack([first, *logits], 1), jnp.stack([first, *of_soft], 1)

    for side in (prompts, right):
        for found in run(side):
            close(found, values["out/greedy_logits"][:, :4], 1e-5)


def test_filters_and_samples_are_the_published_ones(gpt2):
    net, variables, values = gpt2
    checks = json.loads(bytes(values["meta"]))["checks"]
    logits = jnp.asarray(values["in/filter_logits"])
    for options, expected in zip(checks["filter_settings"], values["out/filter_probs"], strict=True):
        found = np.asarray(jax.nn.softmax(filtered(logits, Decoding(**options))))
        rows = np.arange(len(expected)) != (checks["filter_tied_row"] if "top_p" in options else -1)
        assert_allclose(found[rows], expected[rows], atol=1e-6, rtol=0)
        assert_array_equal(found[rows] == 0, expected[rows] == 0)
    plain = dataclasses.replace(CONFIGS["gpt2"], eos=None)
    write = make_writer(net, plain, Decoding(**checks["sample_setting"]))
    text = write(variables, text_of(values, "gen_"), n=20, noise=values["in/gumbel"])
    assert_array_equal(text["tokens"], values["out/gumbel_sample_ids"])


# -- padding, keys, dtypes ---------------------------------------------------------------------

TINY = TransformerConfig(
    11, 6, 9, 10, 10, 8, 2, 2, positions=16, d_width=8, d_layers=1, d_heads=2, d_mlp=12, d_positions=16
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    pair = build(TINY)
    return pair, drawn(pair.g), drawn(pair.d)


def test_what_stands_at_masked_places_changes_neither_outputs_nor_gradients(tiny):
    pair, g, d = tiny
    lengths = jnp.array([6, 3, 1])
    text = right_padded(jax.random.randint(jax.random.key(0), (3, 6), 0, 9, jnp.int32), lengths)
    other = text | {"tokens": jnp.where(text["mask"], text["tokens"], 5)}
    longer = {name: jnp.pad(values, ((0, 0), (0, 4))) for name, values in other.items()}
    left = left_padded(text)

    @jax.jit
    def run(g, d, text):
        def loss(variables):
            logits, scores = pair.g.apply(variables["g"], text)[0], pair.d.apply(variables["d"], text)[0]
            last = jnp.take_along_axis(logits, last_of(text["mask"])[:, None, None], 1)[:, 0]
            read, said = shifted_left(text)
            nll = -jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), said["tokens"][..., None], 2)[..., 0]
            both = read["mask"] & said["mask"]
            return jnp.where(both, nll, 0).sum() + jnp.square(last).sum(), (last, scores)

        def score(variables):
            return jnp.square(pair.d.apply(variables, text)[0]).sum()

        (value, outputs), slopes = jax.value_and_grad(loss, has_aux=True)({"g": g, "d": d})
        return value, outputs, slopes["g"], jax.grad(score)(d)

    value, (last, scores), g_slopes, d_slopes = run(g, d, text)
    assert np.abs(np.asarray(scores)).min() > 0 and value > 0
    for name, changed in (("other ids", other), ("longer", longer), ("left", left)):
        found, (of_last, of_scores), g_found, d_found = run(g, d, changed)
        assert_allclose(found, value, rtol=1e-5, err_msg=name)
        assert_allclose(of_last, last, rtol=1e-4, atol=1e-5, err_msg=name)
        for path, slope in flatten(g_slopes).items():
            assert_allclose(flatten(g_found)[path], slope, rtol=1e-3, atol=2e-5, err_msg=f"{name} {path}")
        if name != "left":  # D reads the first place
            assert_allclose(of_scores, scores, rtol=1e-4, atol=1e-6, err_msg=name)
            for path, slope in flatten(d_slopes).items():
                assert_allclose(flatten(d_found)[path], slope, rtol=1e-3, atol=2e-5, err_msg=f"{name} {path}")


def test_dropout_is_by_the_key_of_each_example(tiny):
    """Whatever the batch; nothing is dropped without keys or in evaluation; about its share is."""
    pair, g, d = tiny
    text = right_padded(jax.random.randint(jax.random.key(0), (4, 5), 0, 9, jnp.int32), jnp.array([5, 5, 4, 2]))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(4))
    for net, variables in ((pair.g, g), (pair.d, d)):
        run = jax.jit(lambda text, keys, net=net, variables=variables: net.apply(variables, text, None, True, keys)[0])
        rows = lambda part, run=run: run({name: values[part] for name, values in text.items()}, keys[part])
        whole, plain = run(text, keys), net.apply(variables, text)[0]
        assert_allclose(jnp.concatenate([rows(slice(0, 2)), rows(slice(2, 4))]), whole, rtol=1e-5, atol=1e-6)
        assert np.abs(np.asarray(whole - plain)).max() > 1e-2
        assert np.abs(np.asarray(run(text, keys[::-1]) - whole)).max() > 1e-2
        assert_array_equal(net.apply(variables, text, None, True)[0], plain)


@pytest.mark.parametrize("network", ["g", "d"])
def test_bfloat16_is_near_float32(tiny, network):
    pair, g, d = tiny
    half = build(dataclasses.replace(TINY, dtype="bfloat16"))
    variables = g if network == "g" else d
    text = right_padded(jax.random.randint(jax.random.key(0), (4, 5), 0, 9, jnp.int32), jnp.array([5, 5, 4, 2]))
    exact, (found, _) = pair.nets[network].apply(variables, text)[0], half.nets[network].apply(variables, text)
    assert found.dtype == jnp.float32
    difference = np.abs(np.asarray(found - exact)).max() / np.abs(np.asarray(exact)).max()
    assert 1e-5 < difference < 0.05


def test_scores_of_every_token(tiny):
    config = dataclasses.replace(TINY, d_per_token=True, d_logits=1)
    net = build(config).d
    text = right_padded(jnp.ones((2, 5), jnp.int32), jnp.array([5, 3]))
    scores, _ = net.apply(drawn(net), text)
    assert scores.shape == (2, 5, 1) and set(net.specs()["params"]) >= {"head"} and "pool" not in net.specs()["params"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"width": 30, "heads": 4},
            "net.width 30 is no multiple of net.heads 4; use one that is, or set net.head_size",
        ),
        ({"d_width": 30, "d_heads": 4}, "net.d_width 30 is no multiple of net.d_heads 4"),
        ({"positions": 10}, "net.length 64 is more than net.positions 10; use as many positions at least"),
        ({"d_kind": "roberta", "d_pad": 1, "d_positions": 65}, "use 66 at least"),
        ({"bos": 50257}, "net.bos is 50257, which is no id of 50,257 tokens; use one from 0 to 50,256"),
        ({"dropout": 1.0}, "net.dropout is 1; use a share from 0 up to, but not 1"),
    ],
)
def test_configurations_that_cannot_be(options, words):
    [problem] = dataclasses.replace(TransformerConfig(), **options).problems()
    assert words in problem
    assert not [*TransformerConfig().problems()]
