"""Initial mixing weights from Fisher information: Fisher merging and gradient matching, by group.

Both rules give every single parameter a mixing weight. A group's mixing weights are the least-squares fit to these, over
what is added to the target: `w_i = sum a_i tau_i^2 / sum tau_i^2`, tau_i = theta_i - theta_T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from gan_jax.trees import Tree, flatten

FLOOR = 1e-6  # of a leaf's mean information, so that parameters without information get equal mixing weights


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
    return FLOOR * jnp.stack([target, *donors]).mean() + 1e-30


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
