"""Two gradients that pull apart: one of them gives way (PCGrad; Yu et al., NeurIPS 2020), leaf by leaf."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.trees import Tree

TINY = 1e-30  # of a squared length, below which there is no direction to give way to


def give_way(gradient: Tree, main: Tree) -> tuple[Tree, jax.Array]:
    """`gradient` without what of it points against `main`, and the share of leaves where something did, `[]`.

    Of every leaf: where <g, m> < 0, `g - <g, m> / |m|^2 m`; else g as it is.
    """

    def one(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
        inner = jnp.vdot(g, m, precision=jax.lax.Precision.HIGHEST)
        against = jnp.minimum(inner, 0.0) / jnp.maximum(jnp.square(m).sum(), TINY)
        return g - against * m, inner < 0

    leaves, tree = jax.tree_util.tree_flatten(gradient)
    pairs = [one(g, m) for g, m in zip(leaves, jax.tree_util.tree_leaves(main), strict=True)]
    conflicts = jnp.stack([conflict for _, conflict in pairs]).astype(jnp.float32).mean()
    return jax.tree_util.tree_unflatten(tree, [g for g, _ in pairs]), conflicts
