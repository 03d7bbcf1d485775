"""Elastic weight consolidation for few shots (Li, Zhang, Lu, Shechtman, NeurIPS 2020): a penalty by importance on G.

The penalty is `strength * sum F (theta - theta_source)^2` over G's parameters. F is the Fisher information of the
source: the mean over generated images of the squared gradient of log D(G(z)), D's log-likelihood that the image is
real, with D = sigmoid(logit) whatever the adversarial loss is. It is estimated once, before training.

No official code exists. The one public implementation squares the gradient of a batch's mean loss, which is smaller
by about the size of the batch; its strengths are not comparable with ours. Strengths also depend on the networks, so
sweep them, or let `balance` choose.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, EWCConfig
from gan_jax.nets import Networks as PlainNetworks
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import Networks
from gan_jax.transfer.fisher import information_of
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.methods.l2_sp import squared_distance
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree

MOVE = 0.01  # the relative move of every weight at which a balanced strength makes the penalty `balance`


def make(config: EWCConfig, plain: PlainNetworks) -> Method:
    """All networks start from the source, everything is trained, generators with a penalty by importance.

    Of several generators each has constants under its name, and a term `ewc_NAME`.

    Raises:
      ConfigError: one of the networks would be fresh.
    """
    if config.networks != "both":
        raise ConfigError(
            f"transfer.networks is {config.networks}, but ewc measures importance in the source's G with the source's D; use both"
        )

    alone = len(plain.generators) == 1

    def constants(nets: Networks) -> dict[str, Tree]:
        of_each = {}
        for name in plain.generators:
            params = nets[name]["params"]
            of_each[name] = {
                "start": params,
                "fisher": jax.tree_util.tree_map(jnp.zeros_like, params),
                "strength": jnp.full((), config.strength, jnp.float32),
            }
        return of_each[plain.generators[0]] if alone else of_each

    def measured(context: PrepareContext, nets: Networks, constants: dict[str, Tree], name: str) -> dict[str, Tree]:
        """The constants of a generator with its importance."""
        information = information_of(context, plain, nets, name, config.samples)
        strength = constants["strength"]
        if config.balance is not None:
            strength = balanced(config.balance, information, nets[name]["params"])
        return {**constants, "fisher": information, "strength": strength}

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Tree]) -> PreparedState:
        if alone:
            return PreparedState(nets, measured(context, nets, constants, plain.generators[0]))
        return PreparedState(
            nets, {name: measured(context, nets, constants[name], name) for name in plain.generators}
        )  # fmt: skip

    terms = tuple(
        Regulariser("ewc" if alone else f"ewc_{name}", name, _penalty(name, alone)) for name in plain.generators
    )
    return Method(
        starts=tuple(networks_of("both", plain)), constants=constants, prepare=prepare,
        extension=Extension(regularisers=terms),
    )  # fmt: skip


def balanced(cost: float, information: Tree, params: Tree) -> jax.Array:
    """The strength at which a move of 1 % of every weight has the penalty `cost`: `cost / sum F (0.01 theta)^2`, `[]`.

    Raises:
      ConfigError: Fisher information of 0, for which no strength exists.
    """
    unit = squared_distance(jax.tree_util.tree_map(lambda p: MOVE * p, params), _zeros(params), information)
    if not jnp.isfinite(unit) or unit <= 0:
        raise ConfigError(
            f"transfer.balance needs Fisher information above 0, but a move of 1 % of all weights has {float(unit):g}: "
            "the source's D is sure of every generated image, or does not depend on them; use another source, or "
            "transfer.balance None"
        )
    return (cost / unit).astype(jnp.float32)


def _zeros(tree: Tree) -> Tree:
    return jax.tree_util.tree_map(jnp.zeros_like, tree)


def _penalty(name: str, alone: bool) -> Callable[[StepContext], tuple[jax.Array, Extras]]:
    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        constants, params = ctx.constants if alone else ctx.constants[name], ctx.nets[name]["params"]
        return constants["strength"] * squared_distance(params, constants["start"], constants["fisher"]), {}

    return value
