"""Random weights under which activations neither die nor grow: what graphs are compared with."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.trees import flatten, unflatten


def random_params(specs: Any, seed: int) -> Any:
    """Leaves of these shapes: He-normal kernels, spread and shifted statistics, weights of heads that are not negative."""
    rng = np.random.default_rng(seed)
    leaves = {}
    for path, spec in flatten(specs).items():
        name = path.rsplit("/", 1)[-1]
        if name == "kernel":
            leaf = rng.normal(size=spec.shape) * (2 / np.prod(spec.shape[:-1])) ** 0.5
        elif name in ("scale", "var"):
            leaf = rng.uniform(0.5, 1.5, spec.shape)
        elif name == "weight":
            leaf = rng.uniform(0, 0.5, spec.shape)
        else:
            leaf = rng.normal(size=spec.shape) * 0.3
        leaves[path] = jnp.asarray(leaf, jnp.float32)
    return unflatten(leaves)
