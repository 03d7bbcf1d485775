"""Shares by attention: a query of every group against a key of every donor, behind a gate that is shut at first.

    W_l = W_l^T + gate_l sum_i a_i (W_l^i - W_l^T),    a = softmax(q_l . k_{l,i} / sqrt(d) / temperature)

The query is a free vector (static attention), and so are the keys, or they are made of descriptors of the donors, so that
what was learned collapses into weights exactly. A gate of 0 is the target to the bit; then only the gate has a gradient,
and queries and keys move once it has opened (as in ReZero). A high temperature keeps shares alike while nobody knows better
(Dynamic Convolution, 30 to 1). The source may be a slot of the softmax itself, so that a query weighs it against donors.
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
class Slots:
    """What a query chooses among: the donors, or the source and the donors.

    Attributes:
      count: of donors.
      width: d, of queries and keys.
      gate: where gates begin; 0 = the target, 1 = what was chosen alone.
      temperature: where it begins; whoever trains lets it fall.
      with_source: whether the source is a slot of the softmax, the first. Then with a gate of 1 the query decides
        between the source and donors, even of one donor; else among donors alone, and the gate between them and the source.
      descriptors: `[S, M]` of what stands in the slots, of which keys are trained linear maps, so that those who are alike
        have keys that are alike; None = free keys.
    """

    count: int
    width: int = 16
    gate: float = 0.0
    temperature: float = 30.0
    with_source: bool = False
    descriptors: Any = None

    @property
    def slots(self) -> int:
        """S: donors, and the source where it is one."""
        return self.count + self.with_source

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """`query/GROUP`, `key/GROUP [S, d]`, `open/GROUP []` or `[C]`, and the temperature `[]`.

        With descriptors these `[S, M]` too, and maps of them for keys, `key/GROUP [M, d]`.

        Raises:
          ValueError: another number of descriptors than of slots.
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
        """Where a group's query begins: a free vector `[d]`, or one for each channel `[d, C]`."""
        return jax.random.normal(key, (self.width, *(() if channels is None else (channels,))))

    def keys(self, gate: Tree) -> dict[str, jax.Array]:
        """Of every slot, by group: `[S, d]`."""
        keys = flatten(gate["key"])
        return keys if self.descriptors is None else {group: gate[DESCRIPTORS] @ by for group, by in keys.items()}

    def scale(self, gate: Tree) -> jax.Array:
        """What scores are divided by: the temperature times sqrt(d), `[]`."""
        return gate[TEMPERATURE] * jnp.sqrt(jnp.float32(self.width))

    def opened(self, gate: Tree, attention: Shares) -> Shares:
        """The donors' shares `[K, ...]`: their attention, of `[S, ...]`, behind the gates."""
        open_, donors = flatten(gate["open"]), {group: a[-self.count :] for group, a in attention.items()}
        return {group: open_[group][None] * a if open_[group].ndim else open_[group] * a for group, a in donors.items()}

    def trains(self, path: str) -> bool:
        """All but the temperature and the descriptors."""
        return path not in (TEMPERATURE, DESCRIPTORS)

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Gates, queries and keys may be anywhere."""
        return leaf


@dataclasses.dataclass(frozen=True)
class Attention(Slots):
    """A free query for each group."""

    def shares(self, gate: Tree) -> Shares:
        """The donors' shares by group: `gate_l a_i`."""
        return self.opened(gate, self.attention(gate))

    def attention(self, gate: Tree) -> Shares:
        """`a` by group, `[S]` or `[S, C]`, which sums to 1 over slots."""
        queries, keys, scale = flatten(gate["query"]), self.keys(gate), self.scale(gate)
        return {
            group: jax.nn.softmax(jnp.tensordot(keys[group], queries[group], 1) / scale, axis=0) for group in queries
        }


def cooled(start: float, end: float, progress: jax.Array) -> jax.Array:
    """The temperature after a share `progress` in [0, 1] of the stage: geometric from start to end, `[]`."""
    return (start * (end / start) ** jnp.clip(progress, 0.0, 1.0)).astype(jnp.float32)
