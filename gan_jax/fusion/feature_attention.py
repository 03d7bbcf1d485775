"""What a network takes from donors at one place: per position, a softmax over their features and its own; or AFF's gate.

`attention`, with the network's features h, those of K donors h_i and h_0 = h:

    a_i = softmax over i of  <Q n(h), K_i n(h_i)> / sqrt(width) + b_i        n(h) = h / root mean square over channels
    h' = h + gate * sum over donors of a_i (V_i h_i - h)

Slot 0 is the network itself: what it holds is not taken from anyone, and where it holds all, h' is h. With the gate at 0,
as it begins, h' is h to the bit; with the gate at 1 h' is a mixture whose weights sum to 1, so that donors equal to the
network change nothing, and a donor with all of the weight replaces it. Features are read at unit size, or the softmax
would be all or nothing in a residual stream; V_i begin as the identity, and the K_i equal, so that at the start donors
differ by what they make and not by their place.

`aff`, attentional feature fusion (Dai et al., WACV 2021), of one donor y, with M per position and channel:

    M = sigmoid(local(s) + global(mean of s over positions)),  s = n(h + V y)
    h' = h + gate * (1 - M) (V y - h)                          at gate 1: M h + (1 - M) V y

`local` and `global` are Linear-ReLU-Linear over channels with a bottleneck of a quarter. The paper has batch norms in
them, which n stands in for here. All is computed in float32 at least; features are `[N, ..., C]` of any rank.
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
REDUCTION = 4  # of channels within AFF
TINY = 1e-8  # beside mean squares


class Way(NamedTuple):
    """How features are fused.

    Attributes:
      init: `(key, channels, donors, width) -> params` that change nothing.
      fuse: `(params, h [N, ..., C], donors [K, N, ..., C]) -> (h', shares [N, ..., K + 1])`, slot 0 the network's own.
    """

    init: Callable[[jax.Array, int, int, int], Tree]
    fuse: Callable[[Tree, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def init_attention(key: jax.Array, channels: int, donors: int, width: int) -> Tree:
    """Parameters of `attend`: query `[C, width]`, keys `[K + 1, C, width]`, bias `[K + 1]`, values `[K, C, C]`, gate."""
    query, one = jax.random.normal(key, (2, channels, width)) / math.sqrt(channels)
    return {
        "gate": jnp.zeros(()),
        "query": query,
        "keys": jnp.broadcast_to(one, (donors + 1, channels, width)),
        "bias": jnp.zeros(donors + 1),
        "values": jnp.broadcast_to(jnp.eye(channels), (donors, channels, channels)),
    }


def attend(params: Tree, h: jax.Array, donors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features after attention to donors, and the shares of all slots."""
    own, others = at_least_float32(h), at_least_float32(donors)
    slots = jnp.concatenate([own[None], others])
    query = _unit(own) @ params["query"]
    keys = jnp.einsum("k...c,kcd->k...d", _unit(slots), params["keys"])
    logits = jnp.einsum("...d,k...d->...k", query, keys) / math.sqrt(query.shape[-1])
    shares = jax.nn.softmax(logits + params["bias"].reshape((1,) * (h.ndim - 1) + (-1,)))
    taken = jnp.einsum("k...c,kce->k...e", others, params["values"]) - own[None]
    return _moved(h, params["gate"], jnp.einsum("...k,k...e->...e", shares[..., 1:], taken)), shares


def init_aff(key: jax.Array, channels: int, donors: int, width: int) -> Tree:
    """Parameters of `fuse_two`: two bottlenecks, a value map `[C, C]`, a gate."""
    if donors != 1:
        raise ValueError(f"aff fuses a network with one donor, not with {donors}; use attention")
    inner = max(channels // REDUCTION, 1)

    def bottleneck(key: jax.Array) -> Tree:
        keys = jax.random.split(key)
        layer = lambda key, i, o: {
            "kernel": jax.random.normal(key, (i, o)) * math.sqrt(2 / (i + o)),
            "bias": jnp.zeros(o),
        }
        return {"fc0": layer(keys[0], channels, inner), "fc1": layer(keys[1], inner, channels)}

    keys = jax.random.split(key)
    return {
        "gate": jnp.zeros(()),
        "local": bottleneck(keys[0]),
        "global": bottleneck(keys[1]),
        "value": jnp.eye(channels),
    }


def fuse_two(params: Tree, h: jax.Array, donors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features after AFF with one donor, and both shares, means over channels."""
    own = at_least_float32(h)
    other = at_least_float32(donors[0]) @ params["value"]
    both = _unit(own + other)
    everywhere = both.mean(tuple(range(1, h.ndim - 1)), keepdims=True)
    m = jax.nn.sigmoid(_bottleneck(params["local"], both) + _bottleneck(params["global"], everywhere))
    share = m.mean(-1)
    return _moved(h, params["gate"], (1 - m) * (other - own)), jnp.stack([share, 1 - share], -1)


def _bottleneck(params: Tree, h: jax.Array) -> jax.Array:
    for i in range(2):
        layer = params[f"fc{i}"]
        h = (jax.nn.relu(h) if i else h) @ layer["kernel"] + layer["bias"].reshape((1,) * (h.ndim - 1) + (-1,))
    return h


def _unit(h: jax.Array) -> jax.Array:
    return h * jax.lax.rsqrt(jnp.square(h).mean(-1, keepdims=True) + TINY)


def _moved(h: jax.Array, gate: jax.Array, by: jax.Array) -> jax.Array:
    return h + (gate * by).astype(h.dtype)


WAYS: dict[str, Way] = {"attention": Way(init_attention, attend), "aff": Way(init_aff, fuse_two)}
