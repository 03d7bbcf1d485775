"""Where shares begin, by how much each network's weights matter to it: Fisher merging and gradient matching, by group.

Both give every single weight a share of its own. A group's shares are those that come nearest to these, in the least
squares of what is added to the target: `w_i = sum a_i tau_i^2 / sum tau_i^2`, tau_i = theta_i - theta_T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from gan_jax.trees import Tree, flatten

FLOOR = 1e-6  # of a leaf's mean information, so that weights that matter to nobody are shared alike


def fisher_shares(target: jax.Array, donors: Sequence[jax.Array]) -> list[jax.Array]:
    """`F_i / sum F` of every weight (Matena and Raffel, 2022): arrays like the informations, one for each donor."""
    floor = _floor(target, donors)
    whole = sum((one + floor for one in donors), start=target + floor)
    return [(one + floor) / whole for one in donors]


def matching_shares(target: jax.Array, donors: Sequence[jax.Array]) -> list[jax.Array]:
    """`a (H_0 + H_i) / (H_0 + sum a H_j)` of every weight, a = 1 / (K + 1) (Daheim et al., ICLR 2024, diagonal).

    With equal informations it is task arithmetic with the factor `2 a / (1 + K a)`.
    """
    a, floor = 1 / (len(donors) + 1), _floor(target, donors)
    whole = target + floor + sum((a * (one + floor) for one in donors), start=jnp.zeros_like(target))
    return [a * (target + one + 2 * floor) / whole for one in donors]


def _floor(target: jax.Array, donors: Sequence[jax.Array]) -> jax.Array:
    """Informations of GANs may be of any scale: the loss of a D that is sure of everything has next to none."""
    return FLOOR * jnp.stack([target, *donors]).mean() + 1e-30


def group_shares(
    rule: Callable[[jax.Array, Sequence[jax.Array]], list[jax.Array]],
    group: Callable[[str], str],
    target: tuple[Tree, Tree],
    donors: Sequence[tuple[Tree, Tree]],
) -> dict[str, jax.Array]:
    """The shares `[K]` of every group.

    Args:
      rule: `fisher_shares` or `matching_shares`.
      group: path of a leaf -> its group.
      target: parameters and their information, plain trees.
      donors: the same of each.
    """
    params, information = (flatten(tree) for tree in target)
    others = [(flatten(theta), flatten(f)) for theta, f in donors]
    above: dict[str, list[jax.Array]] = {}
    for path, leaf in params.items():
        shares = rule(information[path], [f[path] for _, f in others])
        moved = [jnp.square(theta[path] - leaf) for theta, _ in others]
        rows = [(jnp.stack([(a * t).sum(), t.sum()])) for a, t in zip(shares, moved, strict=True)]
        above.setdefault(group(path), []).append(jnp.stack(rows))  # [K, 2]
    sums = {name: sum(rows[1:], start=rows[0]) for name, rows in above.items()}
    even = 1 / (len(donors) + 1)  # of donors that are the target
    return {name: jnp.where(s[:, 1] > 0, s[:, 0] / jnp.maximum(s[:, 1], 1e-30), even) for name, s in sums.items()}
