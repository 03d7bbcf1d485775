"""Mixing weights by query-key attention: one query per group, one key per donor, and a gate that starts closed.

    W_l = W_l^T + gate_l sum_i a_i (W_l^i - W_l^T),    a = softmax(q_l . k_{l,i} / sqrt(d) / temperature)

The query is a free vector (static attention). The keys are free vectors too, or linear maps of descriptors of the donors.
Nothing depends on the input, so the mixture bakes into plain weights exactly. With a gate of 0 the result is exactly the
target; then only the gate has a gradient, and queries and keys move once it has opened (as in ReZero). A high temperature
keeps the mixing weights nearly equal early in training (Dynamic Convolution, 30 to 1). The source may be a slot of the
softmax itself, so that a query weighs it against the donors.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.fusion.mixture import Shares, Sizes
from gan_jax.random_streams import path_key
from gan_jax.trees import Tree, flatten, unflatten

TEMPERATURE, DESCRIPTORS = "temperature", "descriptors"


@dataclasses.dataclass(frozen=True)
class QueryKeyAttention:
    """The slots of the softmax that a query attends to: the donors, or the source and the donors.

    Attributes:
      count: K, the number of donors.
      width: d, the size of queries and keys.
      gate: initial value of the gates; 0 = the target, 1 = the attended mixture alone.
      temperature: initial temperature; the training loop anneals it.
      with_source: whether the source is the first slot of the softmax. If so, and with a gate of 1, the query decides
        between the source and the donors, even with a single donor. If not, the query decides among donors, and the gate
        between them and the source.
      descriptors: `[S, M]` descriptors of the slots' networks. Keys are trained linear maps of them, so that similar
        networks have similar keys; None = free keys.
    """

    count: int
    width: int = 16
    gate: float = 0.0
    temperature: float = 30.0
    with_source: bool = False
    descriptors: Any = None

    @property
    def slots(self) -> int:
        """S, the number of slots: the donors, and the source with `with_source`."""
        return self.count + self.with_source

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """Makes `query/GROUP`, `key/GROUP [S, d]`, `open/GROUP []` or `[C]`, and the temperature `[]`.

        With descriptors the tree also holds them, `[S, M]`, and keys are maps of them, `key/GROUP [M, d]`.

        Raises:
          ValueError: the number of descriptors differs from the number of slots.
        """
        leaves = {TEMPERATURE: jnp.float32(self.temperature)}
        rows, size = self.slots, 1.0
        if self.descriptors is not None:
            if len(self.descriptors) != self.slots:
                raise ValueError(f"{len(self.descriptors)} descriptors are not one for each of {self.slots} slots")
            leaves[DESCRIPTORS] = jnp.asarray(self.descriptors, jnp.float32)
            rows = leaves[DESCRIPTORS].shape[1]
            size = float(rows) ** -0.5
        for group, channels in sizes.items():
            keys = jax.random.split(path_key(key, group))
            leaves[f"query/{group}"] = self.query(keys[0], channels)
            leaves[f"key/{group}"] = jax.random.normal(keys[1], (rows, self.width)) * size
            leaves[f"open/{group}"] = jnp.full(() if channels is None else (channels,), self.gate, jnp.float32)
        return unflatten(leaves)

    def query(self, key: jax.Array, channels: int | None) -> jax.Array:
        """Draws a group's initial query: a free vector `[d]`, or one for each channel `[d, C]`."""
        return jax.random.normal(key, (self.width, *(() if channels is None else (channels,))))

    def keys(self, gate: Tree) -> dict[str, jax.Array]:
        """Returns the keys of all slots by group, `[S, d]`."""
        keys = flatten(gate["key"])
        return (
            keys
            if self.descriptors is None
            else {group: gate[DESCRIPTORS] @ key_map for group, key_map in keys.items()}
        )

    def scale(self, gate: Tree) -> jax.Array:
        """Returns the divisor of the scores: the temperature times sqrt(d), `[]`."""
        return gate[TEMPERATURE] * jnp.sqrt(jnp.float32(self.width))

    def gated(self, gate: Tree, attention: Shares) -> Shares:
        """Multiplies attention `[S, ...]` by the gates: the donors' mixing weights `[K, ...]`, by group."""
        open_, donors = flatten(gate["open"]), {group: a[-self.count :] for group, a in attention.items()}
        return {group: open_[group][None] * a if open_[group].ndim else open_[group] * a for group, a in donors.items()}

    def trains(self, path: str) -> bool:
        """Whether a leaf is trained: all but the temperature and the descriptors."""
        return path not in (TEMPERATURE, DESCRIPTORS)

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Returns the leaf unchanged: gates, queries and keys are unbounded."""
        return leaf


@dataclasses.dataclass(frozen=True)
class Attention(QueryKeyAttention):
    """Static attention: a free query for each group."""

    def shares(self, gate: Tree) -> Shares:
        """Computes the donors' mixing weights by group: `gate_l a_i`."""
        return self.gated(gate, self.attention(gate))

    def attention(self, gate: Tree) -> Shares:
        """Computes `a` by group, `[S]` or `[S, C]`, which sums to 1 over slots."""
        queries, keys, scale = flatten(gate["query"]), self.keys(gate), self.scale(gate)
        return {
            group: jax.nn.softmax(jnp.tensordot(keys[group], queries[group], 1) / scale, axis=0) for group in queries
        }


def annealed_temperature(start: float, end: float, progress: jax.Array) -> jax.Array:
    """Anneals the temperature geometrically from start to end: its value `[]` at `progress` in [0, 1] of the stage."""
    return (start * (end / start) ** jnp.clip(progress, 0.0, 1.0)).astype(jnp.float32)
