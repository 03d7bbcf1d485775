"""Directly trained mixing weights: their gate, and where they start by Fisher information.

The gate is that of gradient-based fusion: AdaMerging's coefficients under a GAN's loss. Constraints: `free` allows any
number; `box` clips to [0, 1] after every update; `simplex` is a softmax of trained logits over the donors and the target.
All mixing weights start at `start`, by default 1 / (K + 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.fusion.mixture import Shares, Sizes
from gan_jax.trees import Tree, flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Initial mixing weights from Fisher information: Fisher merging and gradient matching, by group.
#
# Both rules give every single parameter a mixing weight. A group's mixing weights are the least-squares fit to these, over
# what is added to the target: `w_i = sum a_i tau_i^2 / sum tau_i^2`, tau_i = theta_i - theta_T.

IMPORTANCE_FLOOR = 1e-6  # of a leaf's mean information, so that parameters without information get equal mixing weights


def fisher_shares(target: jax.Array, donors: Sequence[jax.Array]) -> list[jax.Array]:
    """Computes `F_i / sum F` of every parameter: one array per donor, in the leaf's shape (Matena and Raffel, 2022)."""
    floor = _floor(target, donors)
    total = sum((information + floor for information in donors), start=target + floor)
    return [(information + floor) / total for information in donors]


def matching_shares(target: jax.Array, donors: Sequence[jax.Array]) -> list[jax.Array]:
    """Computes `a (H_0 + H_i) / (H_0 + sum a H_j)` of every parameter, a = 1 / (K + 1) (Daheim et al., ICLR 2024, diagonal).

    With equal information everywhere it is task arithmetic with the factor `2 a / (1 + K a)`.
    """
    a, floor = 1 / (len(donors) + 1), _floor(target, donors)
    total = target + floor + sum((a * (information + floor) for information in donors), start=jnp.zeros_like(target))
    return [a * (target + information + 2 * floor) / total for information in donors]


def _floor(target: jax.Array, donors: Sequence[jax.Array]) -> jax.Array:
    """Returns a lower bound of the information. It is relative, as a GAN's may have any scale: a confident D has almost none."""
    return IMPORTANCE_FLOOR * jnp.stack([target, *donors]).mean() + 1e-30


def group_shares(
    rule: Callable[[jax.Array, Sequence[jax.Array]], list[jax.Array]],
    group: Callable[[str], str],
    target: tuple[Tree, Tree],
    donors: Sequence[tuple[Tree, Tree]],
) -> dict[str, jax.Array]:
    """Computes the mixing weights `[K]` of every group.

    Args:
      rule: `fisher_shares` or `matching_shares`.
      group: path of a leaf -> its group.
      target: the target's parameters and their information, plain trees.
      donors: the same two trees for each donor.
    """
    params, information = (flatten(tree) for tree in target)
    flat_donors = [(flatten(theta), flatten(f)) for theta, f in donors]
    above: dict[str, list[jax.Array]] = {}
    for path, leaf in params.items():
        shares = rule(information[path], [f[path] for _, f in flat_donors])
        moved = [jnp.square(theta[path] - leaf) for theta, _ in flat_donors]
        rows = [(jnp.stack([(a * t).sum(), t.sum()])) for a, t in zip(shares, moved, strict=True)]
        above.setdefault(group(path), []).append(jnp.stack(rows))  # [K, 2]
    sums = {name: sum(rows[1:], start=rows[0]) for name, rows in above.items()}
    even = 1 / (len(donors) + 1)  # for donors that equal the target
    return {name: jnp.where(s[:, 1] > 0, s[:, 0] / jnp.maximum(s[:, 1], 1e-30), even) for name, s in sums.items()}


# ----------------------------------------------------------------------------------------------------------------------
# The gate.

Constraint = Literal["free", "box", "simplex"]
FLOOR = 1e-4  # a mixing weight of 0 has no logit


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """Trained mixing weights.

    Attributes:
      count: K, the number of donors.
      constraint: allowed values of the mixing weights.
      start: initial mixing weight of each donor; None = 1 / (K + 1).
      starts: group -> initial mixing weights `[K]`, in place of `start`, such as those of `fisher_shares`.
    """

    count: int
    constraint: Constraint = "simplex"
    start: float | None = None
    starts: Mapping[str, Any] | None = None

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """Makes `{"alpha": {group: [K] or [K, C]}}`; for a simplex logits `[K + 1, ...]`, the target's first."""
        return {"alpha": unflatten({group: self._first(group, channels) for group, channels in sizes.items()})}

    def _first(self, group: str, channels: int | None) -> jax.Array:
        each = 1 / (self.count + 1) if self.start is None else self.start
        shares = jnp.full((self.count,), each) if self.starts is None else jnp.asarray(self.starts[group], jnp.float32)
        if self.constraint == "simplex":
            probabilities = jnp.concatenate([1 - shares.sum(keepdims=True), shares])
            shares = jnp.log(jnp.maximum(probabilities, FLOOR))
        return shares if channels is None else jnp.repeat(shares[:, None], channels, 1)

    def shares(self, gate: Tree) -> Shares:
        """Computes the donors' mixing weights by group."""
        alpha = flatten(gate["alpha"])
        if self.constraint == "simplex":
            return {group: jax.nn.softmax(logits, axis=0)[1:] for group, logits in alpha.items()}
        return alpha

    def trains(self, path: str) -> bool:
        """Whether a leaf is trained: always."""
        return True

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Clips a leaf to [0, 1] for the constraint `box`."""
        return jnp.clip(leaf, 0.0, 1.0) if self.constraint == "box" else leaf


def distance(shares: Shares, start: Shares) -> jax.Array:
    """Computes `sum (w - w_0)^2` over groups and donors, `[]`; channels of a group count as their mean."""
    each = [jnp.square(shares[group] - start[group]).reshape(len(shares[group]), -1).mean(1).sum() for group in shares]
    return jnp.stack(each).sum()


def entropy(shares: Shares) -> jax.Array:
    """Computes the entropy of (target, donors) in nats, mean over groups: `[]`. Mixing weights are read as probabilities."""

    def group_entropy(w: jax.Array) -> jax.Array:
        probabilities = jnp.concatenate([1 - w.sum(0, keepdims=True), w])
        p = jnp.clip(probabilities, 1e-7, 1.0)
        return -(p * jnp.log(p)).sum(0).mean()

    return jnp.stack([group_entropy(w) for w in shares.values()]).mean()
