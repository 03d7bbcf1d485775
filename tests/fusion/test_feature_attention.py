"""Attention to donors' features and AFF at one place: numbers by hand, and what holds for any features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.features import FUSION_LAYERS, init_aff
from gan_jax.trees import flatten

SHAPES = [(2, 3, 3, 8), (4, 8)]
FUSE = {kind: jax.jit(way.fuse) for kind, way in FUSION_LAYERS.items()}
attend, fuse_two = FUSE["attention"], FUSE["aff"]


def features(shape, donors=2, seed=1):
    h = np.random.default_rng(seed).standard_normal((donors + 1, *shape), np.float32)
    return h[0], h[1:]


def start(kind, channels, donors, width=4):
    return jax.tree.map(
        np.asarray,
        jax.jit(FUSION_LAYERS[kind].init, static_argnums=(1, 2, 3))(jax.random.key(0), channels, donors, width),
    )


def awake(params, gate=0.7, seed=5):
    """Away from the start: every leaf moved."""
    draw = np.random.default_rng(seed)
    moved = jax.tree.map(lambda x: x + 0.3 * draw.standard_normal(x.shape, np.float32), params)
    return {**moved, "gate": np.float32(gate)}


@pytest.mark.parametrize("shape", SHAPES, ids=["maps", "rows"])
@pytest.mark.parametrize("kind", FUSION_LAYERS)
def test_the_start_is_the_target_to_the_bit(kind, shape):
    donors = 1 if kind == "aff" else 2
    h, others = features(shape, donors)
    params = {**awake(start(kind, 8, donors)), "gate": np.float32(0)}
    for dtype in (jnp.float32, jnp.bfloat16):
        new, shares = FUSE[kind](params, h.astype(dtype), (50 * others).astype(dtype))
        assert new.dtype == dtype and shares.dtype == np.float32
        assert_array_equal(new, h.astype(dtype))
    assert shares.shape == (*shape[:-1], donors + 1)
    assert_allclose(shares.sum(-1), 1, rtol=1e-6)
    assert start(kind, 8, donors)["gate"] == 0


def test_attention_by_hand():
    """Two positions, two channels, one donor, in float64 by plain loops."""
    h, others = features((1, 2, 1, 2), 2)
    params = awake(start("attention", 2, 2, 3))
    new, shares = attend(params, h, others)
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    unit = lambda x: x / np.sqrt((x * x).mean())
    for y in range(2):
        slots = [np.asarray(x[0, y, 0], np.float64) for x in (h, *others)]
        query = unit(slots[0]) @ p["query"]
        logits = [query @ (unit(x) @ p["keys"][i]) / np.sqrt(3) + p["bias"][i] for i, x in enumerate(slots)]
        a = np.exp(logits) / np.exp(logits).sum()
        want = slots[0] + p["gate"] * sum(a[i] * (slots[i] @ p["values"][i - 1] - slots[0]) for i in (1, 2))
        assert_allclose(shares[0, y, 0], a, rtol=1e-5)
        assert_allclose(new[0, y, 0], want, rtol=1e-5)


def test_aff_by_hand():
    """The paper's out = M h + (1 - M) y at gate 1, with M = sigmoid(local + global)."""
    h, others = features((1, 2, 1, 4), 1)
    params = awake(start("aff", 4, 1), gate=1.0)
    new, shares = fuse_two(params, h, others)
    p = {path: np.asarray(leaf, np.float64) for path, leaf in flatten(params).items()}
    assert p["local/fc0/kernel"].shape == (4, 1)  # a bottleneck of a quarter
    y = np.asarray(others[0, 0, :, 0], np.float64) @ p["value"]
    x = np.asarray(h[0, :, 0], np.float64)
    s = x + y
    s = s / np.sqrt((s * s).mean(-1, keepdims=True))
    mlp = lambda n, v: (
        np.maximum(v @ p[f"{n}/fc0/kernel"] + p[f"{n}/fc0/bias"], 0) @ p[f"{n}/fc1/kernel"] + p[f"{n}/fc1/bias"]
    )
    m = 1 / (1 + np.exp(-mlp("local", s) - mlp("global", s.mean(0, keepdims=True))))
    assert_allclose(new[0, :, 0], m * x + (1 - m) * y, rtol=1e-5)
    assert_allclose(shares[0, :, 0], np.stack([m.mean(-1), 1 - m.mean(-1)], -1), rtol=1e-5)


@pytest.mark.parametrize("kind", FUSION_LAYERS)
def test_every_leaf_has_a_finite_gradient_away_from_the_start(kind):
    donors = 1 if kind == "aff" else 2
    h, others = features((4, 3, 3, 32), donors)
    begin = start(kind, 32, donors)
    weight = features(h.shape, 0, seed=3)[0]
    slope_of = jax.jit(jax.grad(lambda p: (weight * FUSION_LAYERS[kind].fuse(p, h, others)[0]).sum()))
    for path, slope in flatten(slope_of(awake(begin))).items():
        rows = slope.reshape(slope.shape[0] if path in ("keys", "values", "bias") else 1, -1)
        assert np.isfinite(rows).all() and (abs(np.asarray(rows)).max(1) > 1e-4).all(), path
    asleep = flatten(slope_of(begin))
    assert {path for path, slope in asleep.items() if np.any(slope)} == {"gate"}  # which wakes the others


def test_donors_equal_to_the_target_change_nothing_and_share_alike():
    h, _ = features((2, 3, 3, 8))
    params = {**start("attention", 8, 3, 4), "gate": np.float32(1)}
    new, shares = attend(params, h, np.stack([h] * 3))
    assert_allclose(new, h, rtol=1e-5, atol=1e-6)
    assert_allclose(shares, 0.25, rtol=1e-5)
    other = features((2, 3, 3, 8), seed=9)[0]
    new, shares = attend(params, h, np.stack([other] * 3))
    assert_allclose(shares[..., 1], shares[..., 2], rtol=1e-6)
    one, alone = attend({**start("attention", 8, 1, 4), "gate": np.float32(1)}, h, other[None])
    odds = lambda a: a[..., 1] / a[..., 0]  # one donor: as each of three
    assert_allclose(odds(alone), odds(shares), rtol=1e-4)
    assert (abs(one - h).max() > 1e-2) and (abs(one - new).max() > 1e-3)


def test_a_donor_with_all_of_the_weight_replaces_the_target():
    h, others = features((2, 3, 3, 8))
    params = {**start("attention", 8, 2, 4), "gate": np.float32(1), "bias": np.array([0.0, 0.0, 60.0], np.float32)}
    assert_allclose(attend(params, h, others)[0], others[1], rtol=1e-5, atol=1e-6)
    params = {**params, "bias": np.array([60.0, 0.0, 0.0], np.float32)}
    assert_allclose(attend(params, h, others)[0], h, rtol=1e-6)


def test_relabelling_donors_permutes_shares_only():
    h, others = features((2, 3, 3, 8), 3)
    params = awake(start("attention", 8, 3, 4))
    order = np.array([2, 0, 1])
    slots = np.array([0, 3, 1, 2])
    renamed = {
        **params,
        "keys": params["keys"][slots],
        "bias": params["bias"][slots],
        "values": params["values"][order],
    }
    new, shares = attend(params, h, others)
    again, permuted = attend(renamed, h, others[order])
    assert_allclose(again, new, rtol=1e-5, atol=1e-6)
    assert_allclose(permuted, shares[..., slots], rtol=1e-5)


def test_aff_of_several_donors_is_an_error():
    with pytest.raises(ValueError, match="aff fuses a network with one donor, not with 2; use attention"):
        init_aff(jax.random.key(0), 8, 2, 4)
