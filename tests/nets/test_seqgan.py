"""SeqGAN's and RelGAN's networks: the published oracle's likelihoods, and steps that NumPy computes in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from gan_jax.config import RelGANConfig, SeqGANConfig
from gan_jax.interop.foreign import read_foreign
from gan_jax.nets import build
from gan_jax.nets.attention import dropped
from gan_jax.nets.texts import right_padded
from tests.conftest import extra_data
from tests.golden import golden
from tests.nets.families import drawn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle():
    """The variables of SeqGAN's oracle, whose file has the gates' kernels in the order input, forget, output, cell."""
    file = read_foreign(extra_data("text", "seqgan_target_params_py3.pkl"))
    arrays = [file.tensors[name] for name in sorted(file.tensors, key=lambda name: int(name.rpartition(".")[2]))]
    gates = lambda first, axis: np.stack(arrays[first:13:3], axis)
    params = {
        "embed": {"embedding": arrays[0]},
        "lstm0": {"read": gates(1, 1), "again": gates(2, 1), "bias": gates(3, 0)},
        "head": {"kernel": arrays[13], "bias": arrays[14]},
    }
    return {"params": jax.tree.map(jnp.asarray, params)}


def test_the_likelihoods_of_the_published_oracle():
    values = golden("seqgan_oracle.npz")
    g, variables = build(SeqGANConfig()).g, oracle()

    @jax.jit
    def likelihoods(sequences):
        read = jnp.pad(sequences, ((0, 0), (1, 0)))[:, :-1]  # token 0 comes first
        logits = g.apply(variables, right_padded(read, jnp.full((len(read),), 20)))[0]
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), sequences[..., None], 2)[..., 0]
        return -chosen, jax.nn.log_softmax(logits[0, 0])

    for prefix in ("", "random_"):
        nll, first = likelihoods(jnp.asarray(values[f"in/{prefix}sequences"], jnp.int32))
        assert_allclose(nll, values[f"out/{prefix}token_nll"], rtol=1e-5)
    ids = values["out/first_step_top20_ids"].ravel()
    assert_allclose(np.asarray(first)[ids], values["out/first_step_top20_log_probs"].ravel(), rtol=1e-5)
    assert abs(float(nll.mean()) - 11.45) < 0.5 and abs(values["out/token_nll"].mean() - 5.75) < 0.1


def test_a_step_of_an_lstm():
    config = SeqGANConfig(vocab=5, length=4, embedding=2, width=3, d_filters=((1, 2),))
    pair = build(config)
    variables = drawn(pair.g)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    cell = hidden = np.zeros(3)
    logits = []
    for token in (4, 1):
        gates = np.einsum("i,igh->gh", params["embed"]["embedding"][token], params["lstm0"]["read"])
        gates += np.einsum("i,igh->gh", hidden, params["lstm0"]["again"]) + params["lstm0"]["bias"]
        cell = sigmoid(gates[1]) * cell + sigmoid(gates[0]) * np.tanh(gates[3])
        hidden = sigmoid(gates[2]) * np.tanh(cell)
        logits.append(hidden @ params["head"]["kernel"] + params["head"]["bias"])
    text = right_padded(np.array([[4, 1, 0]], np.int32), np.array([2]))
    assert_allclose(pair.g.apply(variables, text)[0][0, :2], logits, rtol=1e-5, atol=1e-6)


def test_filters_read_beyond_a_short_text_once():
    """Of a text of 3 tokens a filter of 2 has two answers, one of 4 has the one that reads a zero behind it."""
    config = SeqGANConfig(vocab=6, length=8, d_embedding=3, d_filters=((2, 4), (4, 5)), d_dropout=0.0)
    net = build(config).d
    variables = drawn(net)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    tokens = np.array([[5, 2, 3, 1, 1]], np.int32)
    x = np.concatenate([params["embed"]["embedding"][tokens[0, :3]], np.zeros((1, 3))])
    answers = []
    for size, starts in ((2, (0, 1)), (4, (0,))):
        part = params[f"filters{size}"]
        windows = [np.einsum("te,tef->f", x[start : start + size], part["kernel"]) + part["bias"] for start in starts]
        answers.append(np.maximum(windows, 0).max(0))
    h = np.concatenate(answers)
    gate, change = (params["highway"][name] for name in ("gate", "change"))
    share = sigmoid(h @ gate["kernel"] + gate["bias"] - 2)
    h = share * np.maximum(h @ change["kernel"] + change["bias"], 0) + (1 - share) * h
    want = h @ params["head"]["kernel"] + params["head"]["bias"]
    assert_allclose(net.apply(variables, right_padded(tokens, np.array([3])))[0][0], want, rtol=1e-5, atol=1e-6)


def test_a_step_of_a_relational_memory():
    config = RelGANConfig(
        vocab=5, length=4, embedding=3, slots=2, heads=2, head_size=3, d_representations=1, d_embedding=2,
        d_filters=((2, 2),), d_hidden=2,
    )  # fmt: skip
    g = build(config).g
    variables = drawn(g)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    part = params["memory"]
    dense = lambda name, x: x @ part[name]["kernel"] + part[name].get("bias", 0.0)

    def norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * part[name]["scale"] + part[name]["bias"]

    memory = np.eye(2, 6)
    x = dense("input", params["embed"]["embedding"][3])
    both = np.concatenate([memory, x[None]])
    heads = [np.einsum("pw,whs->phs", both, part[n]["kernel"]) + part[n]["bias"] for n in ("query", "key", "value")]
    query, key, value = np.moveaxis(norm("norm0", np.stack(heads, 1).reshape(3, -1)).reshape(3, 3, 2, 3), 1, 0)
    scores = np.einsum("phs,qhs->hpq", query[:2], key) / np.sqrt(3)
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    h = norm("norm1", memory + np.einsum("hpq,qhs->phs", shares, value).reshape(2, 6))
    h = norm("norm2", h + dense("mlp1", np.maximum(dense("mlp0", h), 0)))
    take, keep = np.split(dense("gate_input", x) + dense("gate_memory", np.tanh(memory)), 2, -1)
    memory = sigmoid(take) * np.tanh(h) + sigmoid(keep + 1) * memory
    want = memory.reshape(-1) @ params["head"]["kernel"] + params["head"]["bias"]
    got = g.apply(variables, right_padded(np.array([[3, 0]], np.int32), np.array([1])))[0]
    assert_allclose(got[0, 0], want, rtol=1e-4, atol=1e-5)


def test_padding_on_the_left_leaves_the_state_as_it_is():
    g = build(SeqGANConfig(vocab=5, length=4, embedding=2, width=3, d_filters=((1, 2),))).g
    variables = drawn(g)
    tokens = np.array([[3, 2, 4, 1]], np.int32)
    left = {"tokens": jnp.asarray(tokens), "mask": jnp.asarray([[False, False, True, True]])}
    alone = g.apply(variables, right_padded(tokens[:, 2:], np.array([2])))[0]
    assert_allclose(g.apply(variables, left)[0][:, 2:], alone, rtol=1e-6)


def test_what_is_kept_by_dropout_is_scaled_up():
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(4))
    values = np.asarray(dropped(jnp.ones((4, 500)), 0.2, keys, 0))
    assert set(np.unique(values)) == {0, np.float32(1.25)} and abs(values.mean() - 1) < 0.1
