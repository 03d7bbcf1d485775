"""Elastic weight consolidation for few shots (Li, Zhang, Lu, Shechtman, NeurIPS 2020): G pays where it matters.

The penalty is `strength * sum F (theta - theta_source)^2` over G's parameters. F is the Fisher information of the
source: the mean over generated images of the squared gradient of log D(G(z)), D's log-likelihood that the image is
real, with D = sigmoid(logit) whatever loss the game is played with. It is estimated once, before training.

No official code exists. The one public implementation squares the gradient of a batch's mean loss, which is smaller
by about the size of the batch; strengths are not comparable with those. They depend on the networks too, so sweep
them, or let `balance` choose.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, EWCConfig
from gan_jax.nets import Pair
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import Networks
from gan_jax.transfer.importance import g_information
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods.l2_sp import squared_distance
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree

MOVE = 0.01  # share of each weight that the cost of a balanced strength is that of


def make(config: EWCConfig, pair: Pair) -> Method:
    """Both networks start from the source, everything is trained, G is held by importance.

    Raises:
      ConfigError: one of the networks would be fresh.
    """
    if config.networks != "both":
        raise ConfigError(
            f"transfer.networks is {config.networks}, but ewc asks the source's D what matters in the source's G; use both"
        )

    def constants(nets: Networks) -> dict[str, Tree]:
        params = nets["g"]["params"]
        return {
            "start": params,
            "fisher": jax.tree_util.tree_map(jnp.zeros_like, params),
            "strength": jnp.full((), config.strength, jnp.float32),
        }

    def prepare(context: PrepareContext, nets: Networks, kept: dict[str, Tree]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        found = g_information(context, g, d, config.samples)
        strength = kept["strength"] if config.balance is None else balanced(config.balance, found, g["params"])
        return PreparedState(nets, {**kept, "fisher": found, "strength": strength})

    term = Regulariser("ewc", "g", _value)
    return Method(starts=("g", "d"), constants=constants, prepare=prepare, extension=Extension(regularisers=(term,)))


def balanced(cost: float, information: Tree, params: Tree) -> jax.Array:
    """The strength at which a move of 1 % of every weight costs so much: `cost / sum F (0.01 theta)^2`, `[]`.

    Raises:
      ConfigError: nothing matters, so no strength does.
    """
    unit = squared_distance(jax.tree_util.tree_map(lambda p: MOVE * p, params), _zeros(params), information)
    if not jnp.isfinite(unit) or unit <= 0:
        raise ConfigError(
            f"transfer.balance wants Fisher information above 0, but a move of 1 % of all weights has {float(unit):g}: "
            "the source's D is sure of every generated image, or does not depend on them; use another source, or "
            "transfer.balance None"
        )
    return (cost / unit).astype(jnp.float32)


def _zeros(tree: Tree) -> Tree:
    return jax.tree_util.tree_map(jnp.zeros_like, tree)


def _value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    kept = ctx.constants
    return kept["strength"] * squared_distance(ctx.g["params"], kept["start"], kept["fisher"]), {}
