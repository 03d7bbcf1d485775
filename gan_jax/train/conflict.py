"""Projection of conflicting gradients (PCGrad; Yu et al., NeurIPS 2020), leaf by leaf."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.trees import Tree

TINY = 1e-30  # squared length below which a gradient has no direction


def project_conflict(gradient: Tree, main: Tree) -> tuple[Tree, jax.Array]:
    """Removes from `gradient` the part that points against `main`; the second value is the share of such leaves, `[]`.

    For every leaf, g becomes `g - <g, m> / |m|^2 m` where <g, m> < 0.
    """

    def project(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
        inner = jnp.vdot(g, m, precision=jax.lax.Precision.HIGHEST)
        against = jnp.minimum(inner, 0.0) / jnp.maximum(jnp.square(m).sum(), TINY)
        return g - against * m, inner < 0

    leaves, tree = jax.tree_util.tree_flatten(gradient)
    pairs = [project(g, m) for g, m in zip(leaves, jax.tree_util.tree_leaves(main), strict=True)]
    conflicts = jnp.stack([conflict for _, conflict in pairs]).astype(jnp.float32).mean()
    return jax.tree_util.tree_unflatten(tree, [g for g, _ in pairs]), conflicts
