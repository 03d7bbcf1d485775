"""LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: a classifier of digits, for distances between sets of digits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.nets.features.leaves import dense_specs, leaf_specs
from gan_jax.nets.features.steps import Conv, Pool, Steps, run_steps
from gan_jax.nets.features.windows import PRECISION

FEATURES, CLASSES = 84, 10
STEPS: Steps = (
    Conv("c1", 6, (5, 5)), Pool("max", 2, 2), Conv("c3", 16, (5, 5)), Pool("max", 2, 2), Conv("c5", 120, (5, 5)),
)  # fmt: skip


def apply_lenet(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features [N, 84] and logits [N, 10] of `x [N, 32, 32, 1]` in 0 .. 1, ink 1; larger images give a mean over maps."""
    maps = run_steps(params, STEPS, x).mean((1, 2))
    features = jax.nn.relu(_dense(params["f6"], maps))
    return features, _dense(params["f7"], features)


def lenet_specs() -> dict[str, Any]:
    """Returns the leaves, 61,706 values."""
    return leaf_specs(STEPS, 1) | {"f6": dense_specs(120, FEATURES), "f7": dense_specs(FEATURES, CLASSES)}


def _dense(layer: Any, x: jax.Array) -> jax.Array:
    return jnp.dot(x, layer["kernel"], precision=PRECISION) + layer["bias"][None]
