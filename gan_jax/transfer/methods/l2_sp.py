"""L2-SP (Li, Grandvalet, Davoine, ICML 2018; a baseline of Freeze-D's paper): a penalty on the distance from the start.

The penalty is `strength * sum (theta - theta_start)^2`. For leaves that the source lacks the start is their fresh value.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.config import L2SPConfig
from gan_jax.nets import Networks as PlainNetworks
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Network, Regulariser
from gan_jax.train.state import Networks
from gan_jax.transfer.method import Method, networks_of
from gan_jax.trees import Tree


def make(config: L2SPConfig, plain: PlainNetworks) -> Method:
    """Everything is trained; each network that starts from the source has a penalty with its own strength."""
    d_strength = config.strength if config.d_strength is None else config.d_strength
    strengths: dict[Network, float] = {
        **dict.fromkeys(plain.generators, config.strength), **dict.fromkeys(plain.discriminators, d_strength),
    }  # fmt: skip
    starts = tuple(networks_of(config.networks, plain))
    names: list[Network] = [name for name in strengths if name in starts and strengths[name] > 0]

    def constants(nets: Networks) -> dict[str, Tree]:
        return {name: nets[name]["params"] for name in names}

    terms = tuple(Regulariser(f"l2_sp_{name}", name, _penalty(name, strengths[name])) for name in names)
    return Method(starts=starts, constants=constants, extension=Extension(regularisers=terms))


def _penalty(network: Network, strength: float) -> Callable[[StepContext], tuple[jax.Array, Extras]]:
    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        params = ctx.nets[network]["params"]
        return strength * squared_distance(params, ctx.constants[network]), {}

    return value


def squared_distance(params: Tree, start: Tree, weights: Tree | None = None) -> jax.Array:
    """The sum over all leaves of `weights * (params - start)^2`, `[]`; weights of None are 1."""
    squares = jax.tree_util.tree_map(lambda p, s: jnp.square(p - s), params, start)
    if weights is not None:
        squares = jax.tree_util.tree_map(jnp.multiply, weights, squares)
    return sum((leaf.sum() for leaf in jax.tree_util.tree_leaves(squares)), start=jnp.zeros(()))
