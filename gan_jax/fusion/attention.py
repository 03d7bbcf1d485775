"""Shares by attention: a query of every group against a key of every donor, behind a gate that is shut at first.

    W_l = W_l^T + gate_l sum_i a_i (W_l^i - W_l^T),    a = softmax(q_l . k_{l,i} / sqrt(d) / temperature)

The query and the keys are free vectors (static attention), so that what was learned collapses into weights exactly. A
gate of 0 is the target to the bit; then only the gate has a gradient, and queries and keys move once it has opened
(as in ReZero). A high temperature keeps shares alike while nobody knows better (Dynamic Convolution, 30 to 1).
"""

from __future__ import annotations

import dataclasses
import zlib

import jax
import jax.numpy as jnp

from gan_jax.fusion.mixture import Shares, Sizes
from gan_jax.trees import Tree, flatten, unflatten

TEMPERATURE = "temperature"


@dataclasses.dataclass(frozen=True)
class Attention:
    """A free query for each group.

    Attributes:
      count: of donors.
      width: d, of queries and keys.
      gate: where gates begin; 0 = the target, 1 = donors alone.
      temperature: where it begins; whoever trains lets it fall.
    """

    count: int
    width: int = 16
    gate: float = 0.0
    temperature: float = 30.0

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """`query/GROUP [d]` or `[d, C]`, `key/GROUP [K, d]`, `open/GROUP []` or `[C]`, and the temperature `[]`."""
        leaves = {TEMPERATURE: jnp.float32(self.temperature)}
        for group, channels in sizes.items():
            keys = jax.random.split(jax.random.fold_in(key, zlib.crc32(group.encode())))
            tail = () if channels is None else (channels,)
            leaves[f"query/{group}"] = jax.random.normal(keys[0], (self.width, *tail))
            leaves[f"key/{group}"] = jax.random.normal(keys[1], (self.count, self.width))
            leaves[f"open/{group}"] = jnp.full(tail, self.gate, jnp.float32)
        return unflatten(leaves)

    def shares(self, gate: Tree) -> Shares:
        """The donors' shares by group: `gate_l a_i`."""
        open_, attention = flatten(gate["open"]), self.attention(gate)
        return {
            group: open_[group][None] * a if open_[group].ndim else open_[group] * a for group, a in attention.items()
        }

    def attention(self, gate: Tree) -> Shares:
        """`a` by group, which sums to 1 over donors."""
        queries, keys = flatten(gate["query"]), flatten(gate["key"])
        scale = gate[TEMPERATURE] * jnp.sqrt(jnp.float32(self.width))
        scores = lambda group: jnp.tensordot(keys[group], queries[group], 1) / scale
        return {group: jax.nn.softmax(scores(group), axis=0) for group in queries}

    def trains(self, path: str) -> bool:
        """All but the temperature."""
        return path != TEMPERATURE

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Gates, queries and keys may be anywhere."""
        return leaf


def cooled(start: float, end: float, progress: jax.Array) -> jax.Array:
    """The temperature after a share `progress` in [0, 1] of the stage: geometric from start to end, `[]`."""
    return (start * (end / start) ** jnp.clip(progress, 0.0, 1.0)).astype(jnp.float32)
