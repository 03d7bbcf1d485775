"""Shares by attention: a query of every group against a key of every donor, behind a gate that is shut at first.

    W_l = W_l^T + gate_l sum_i a_i (W_l^i - W_l^T),    a = softmax(q_l . k_{l,i} / sqrt(d) / temperature)

The query and the keys are free vectors (static attention), so that what was learned collapses into weights exactly. A
gate of 0 is the target to the bit; then only the gate has a gradient, and queries and keys move once it has opened
(as in ReZero). A high temperature keeps shares alike while nobody knows better (Dynamic Convolution, 30 to 1). The source
may be a slot of the softmax itself, so that a query weighs it against donors.
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
class Slots:
    """What a query chooses among: the donors, or the source and the donors.

    Attributes:
      count: of donors.
      width: d, of queries and keys.
      gate: where gates begin; 0 = the target, 1 = what was chosen alone.
      temperature: where it begins; whoever trains lets it fall.
      with_source: whether the source is a slot of the softmax, the first. Then with a gate of 1 the query decides
        between the source and donors, even of one donor; else among donors alone, and the gate between them and the source.
    """

    count: int
    width: int = 16
    gate: float = 0.0
    temperature: float = 30.0
    with_source: bool = False

    @property
    def slots(self) -> int:
        """S: donors, and the source where it is one."""
        return self.count + self.with_source

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """`query/GROUP`, `key/GROUP [S, d]`, `open/GROUP []` or `[C]`, and the temperature `[]`."""
        leaves = {TEMPERATURE: jnp.float32(self.temperature)}
        for group, channels in sizes.items():
            keys = jax.random.split(jax.random.fold_in(key, zlib.crc32(group.encode())))
            leaves[f"query/{group}"] = self.query(keys[0], channels)
            leaves[f"key/{group}"] = jax.random.normal(keys[1], (self.slots, self.width))
            leaves[f"open/{group}"] = jnp.full(() if channels is None else (channels,), self.gate, jnp.float32)
        return unflatten(leaves)

    def query(self, key: jax.Array, channels: int | None) -> jax.Array:
        """Where a group's query begins: a free vector `[d]`, or one for each channel `[d, C]`."""
        return jax.random.normal(key, (self.width, *(() if channels is None else (channels,))))

    def keys(self, gate: Tree) -> dict[str, jax.Array]:
        """Of every slot, by group: `[S, d]`."""
        return flatten(gate["key"])

    def scale(self, gate: Tree) -> jax.Array:
        """What scores are divided by: the temperature times sqrt(d), `[]`."""
        return gate[TEMPERATURE] * jnp.sqrt(jnp.float32(self.width))

    def opened(self, gate: Tree, attention: Shares) -> Shares:
        """The donors' shares `[K, ...]`: their attention, of `[S, ...]`, behind the gates."""
        open_, donors = flatten(gate["open"]), {group: a[-self.count :] for group, a in attention.items()}
        return {group: open_[group][None] * a if open_[group].ndim else open_[group] * a for group, a in donors.items()}

    def trains(self, path: str) -> bool:
        """All but the temperature."""
        return path != TEMPERATURE

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
