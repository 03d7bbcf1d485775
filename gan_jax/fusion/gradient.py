"""Shares that are trained as they are: the gate of gradient-based fusion (AdaMerging's coefficients under a GAN's loss).

`free`: any number. `box`: between 0 and 1, held there after every update. `simplex`: a softmax over the donors and the
target, of logits. Where shares begin: all at `start`, or at 1 / (K + 1) each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.fusion.mixture import Shares, Sizes
from gan_jax.trees import Tree, flatten, unflatten

Constraint = Literal["free", "box", "simplex"]
FLOOR = 1e-4  # a share of 0 has no logit


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """Trained shares.

    Attributes:
      count: of donors.
      constraint: where shares may be.
      start: of each donor's shares; None = 1 / (K + 1).
      starts: group -> `[K]` of this group's, in place of `start`, such as those of `curvature.fisher_shares`.
    """

    count: int
    constraint: Constraint = "simplex"
    start: float | None = None
    starts: Mapping[str, Any] | None = None

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """`{"alpha": {group: [K] or [K, C]}}`; of a simplex logits `[K + 1, ...]`, the target's first."""
        return {"alpha": unflatten({group: self._first(group, channels) for group, channels in sizes.items()})}

    def _first(self, group: str, channels: int | None) -> jax.Array:
        each = 1 / (self.count + 1) if self.start is None else self.start
        shares = jnp.full((self.count,), each) if self.starts is None else jnp.asarray(self.starts[group], jnp.float32)
        if self.constraint == "simplex":
            whole = jnp.concatenate([1 - shares.sum(keepdims=True), shares])
            shares = jnp.log(jnp.maximum(whole, FLOOR))
        return shares if channels is None else jnp.repeat(shares[:, None], channels, 1)

    def shares(self, gate: Tree) -> Shares:
        """The donors' shares by group."""
        alpha = flatten(gate["alpha"])
        if self.constraint == "simplex":
            return {group: jax.nn.softmax(logits, axis=0)[1:] for group, logits in alpha.items()}
        return alpha

    def trains(self, path: str) -> bool:
        """Everything is trained."""
        return True

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Into the box."""
        return jnp.clip(leaf, 0.0, 1.0) if self.constraint == "box" else leaf


def distance(shares: Shares, start: Shares) -> jax.Array:
    """`sum (w - w_0)^2` over all shares, each group's channels as their mean: `[]`."""
    each = [jnp.square(shares[group] - start[group]).reshape(len(shares[group]), -1).mean(1).sum() for group in shares]
    return jnp.stack(each).sum()


def entropy(shares: Shares) -> jax.Array:
    """Mean over groups of the entropy of (target, donors), nats: `[]`. Shares are taken for probabilities."""

    def one(w: jax.Array) -> jax.Array:
        whole = jnp.concatenate([1 - w.sum(0, keepdims=True), w])
        p = jnp.clip(whole, 1e-7, 1.0)
        return -(p * jnp.log(p)).sum(0).mean()

    return jnp.stack([one(w) for w in shares.values()]).mean()
