"""Fusion layers: a network's features mixed with donors' at one module, by attention per position or by AFF.

`attention`, with the network's features h, those of K donors h_i and h_0 = h:

    a_i = softmax over i of  <Q n(h), K_i n(h_i)> / sqrt(width) + b_i        n(h) = h / root mean square over channels
    h' = h + gate * sum over donors of a_i (V_i h_i - h)

Slot 0 is the network itself; where it has all of the weight, h' is h. With the gate at 0, its initial value, h' is exactly
h. With the gate at 1, h' is a mixture whose weights sum to 1: donors equal to the network change nothing, and a donor with
all of the weight replaces it. Features are normalised before queries and keys, since the softmax would saturate on a
residual stream. V_i start as the identity and all K_i start equal, so that at first donors differ by their features alone,
not by their index.

`aff`, attentional feature fusion (Dai et al., WACV 2021), of one donor y, with M per position and channel:

    M = sigmoid(local(s) + global(mean of s over positions)),  s = n(h + V y)
    h' = h + gate * (1 - M) (V y - h)                          at gate 1: M h + (1 - M) V y

`local` and `global` are Linear-ReLU-Linear over channels with a bottleneck of a quarter. The paper has batch norms in
them; here n replaces these. Everything is computed in at least float32; features are `[N, ..., C]` of any rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.nets.layers import at_least_float32
from gan_jax.trees import Tree

Kind = Literal["attention", "aff"]
REDUCTION = 4  # of channels in the bottlenecks of AFF
TINY = 1e-8  # added to mean squares


class FusionLayer(NamedTuple):
    """A fusion layer.

    Attributes:
      init: `(key, channels, donors, width) -> params` with which the layer is the identity.
      fuse: `(params, h [N, ..., C], donors [K, N, ..., C]) -> (h', shares [N, ..., K + 1])`, slot 0 being the network.
    """

    init: Callable[[jax.Array, int, int, int], Tree]
    fuse: Callable[[Tree, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def init_attention(key: jax.Array, channels: int, donors: int, width: int) -> Tree:
    """Initialises `attend`: query `[C, width]`, keys `[K + 1, C, width]`, bias `[K + 1]`, values `[K, C, C]`, gate."""
    query, key_map = jax.random.normal(key, (2, channels, width)) / math.sqrt(channels)
    return {
        "gate": jnp.zeros(()),
        "query": query,
        "keys": jnp.broadcast_to(key_map, (donors + 1, channels, width)),
        "bias": jnp.zeros(donors + 1),
        "values": jnp.broadcast_to(jnp.eye(channels), (donors, channels, channels)),
    }


def attend(params: Tree, h: jax.Array, donors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fuses features by attention; returns them and the weights of all slots."""
    target, sources = at_least_float32(h), at_least_float32(donors)
    slots = jnp.concatenate([target[None], sources])
    query = _unit(target) @ params["query"]
    keys = jnp.einsum("k...c,kcd->k...d", _unit(slots), params["keys"])
    logits = jnp.einsum("...d,k...d->...k", query, keys) / math.sqrt(query.shape[-1])
    shares = jax.nn.softmax(logits + params["bias"].reshape((1,) * (h.ndim - 1) + (-1,)))
    values = jnp.einsum("k...c,kce->k...e", sources, params["values"]) - target[None]
    return _moved(h, params["gate"], jnp.einsum("...k,k...e->...e", shares[..., 1:], values)), shares


def init_aff(key: jax.Array, channels: int, donors: int, width: int) -> Tree:
    """Initialises `fuse_two`: two bottlenecks, a value map `[C, C]`, a gate."""
    if donors != 1:
        raise ValueError(f"aff fuses a network with one donor, not with {donors}; use attention")
    inner = max(channels // REDUCTION, 1)

    def bottleneck(key: jax.Array) -> Tree:
        keys = jax.random.split(key)

        def layer(key: jax.Array, i: int, o: int) -> Tree:
            return {"kernel": jax.random.normal(key, (i, o)) * math.sqrt(2 / (i + o)), "bias": jnp.zeros(o)}

        return {"fc0": layer(keys[0], channels, inner), "fc1": layer(keys[1], inner, channels)}

    keys = jax.random.split(key)
    return {
        "gate": jnp.zeros(()),
        "local": bottleneck(keys[0]),
        "global": bottleneck(keys[1]),
        "value": jnp.eye(channels),
    }


def fuse_two(params: Tree, h: jax.Array, donors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fuses features with one donor by AFF; returns them and both weights as means over channels."""
    target = at_least_float32(h)
    other = at_least_float32(donors[0]) @ params["value"]
    both = _unit(target + other)
    everywhere = both.mean(tuple(range(1, h.ndim - 1)), keepdims=True)
    m = jax.nn.sigmoid(_bottleneck(params["local"], both) + _bottleneck(params["global"], everywhere))
    share = m.mean(-1)
    return _moved(h, params["gate"], (1 - m) * (other - target)), jnp.stack([share, 1 - share], -1)


def _bottleneck(params: Tree, h: jax.Array) -> jax.Array:
    for i in range(2):
        layer = params[f"fc{i}"]
        h = (jax.nn.relu(h) if i else h) @ layer["kernel"] + layer["bias"].reshape((1,) * (h.ndim - 1) + (-1,))
    return h


def _unit(h: jax.Array) -> jax.Array:
    return h * jax.lax.rsqrt(jnp.square(h).mean(-1, keepdims=True) + TINY)


def _moved(h: jax.Array, gate: jax.Array, by: jax.Array) -> jax.Array:
    return h + (gate * by).astype(h.dtype)


FUSION_LAYERS: dict[str, FusionLayer] = {
    "attention": FusionLayer(init_attention, attend),
    "aff": FusionLayer(init_aff, fuse_two),
}
