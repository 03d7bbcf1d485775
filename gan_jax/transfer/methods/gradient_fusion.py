"""Gradient-based fusion: donors' mixing weights are learned with the target's own adversarial loss.

`theta_l = theta_l^T + sum_i w_{l,i} (theta_l^i - theta_l^T)`: AdaMerging's coefficients (Yang et al., ICLR 2024) under a
GAN's loss in place of an entropy, with donors that were aligned first. There is a mixing weight for each network, block,
leaf or channel: any number, a number between 0 and 1, or parts that sum to 1. Mixing weights begin equal, at `start`, or
at those of Fisher merging (Matena and Raffel, 2022) or gradient matching (Daheim et al., ICLR 2024). After the stage they
are baked into plain weights, which are fine-tuned.

Few images can set few numbers: with 100 or fewer use `global` or `block`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from gan_jax.config import ConfigError, GradientFusionConfig
from gan_jax.fusion.gradient import Coefficients, distance, entropy, fisher_shares, group_shares, matching_shares
from gan_jax.fusion.mixture import Mixture, Shares
from gan_jax.nets import Networks
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.transfer.donors import Donors
from gan_jax.transfer.fisher import information_of
from gan_jax.transfer.fusing import Fusing, fusion
from gan_jax.transfer.method import Method
from gan_jax.transfer.preparation import PrepareContext
from gan_jax.trees import Tree

RULES = {"fisher": fisher_shares, "gradient_matching": matching_shares}


def make(config: GradientFusionConfig, plain: Networks) -> Method:
    """Mixing weights of every generator are learned for `fuse_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `fusion`; mixing weights that begin outside of their constraint.
    """
    count = len(config.donors)
    _check(config)

    def gate(
        context: PrepareContext, group: Callable[[str], str], start: dict[str, Any], donors: Donors, network: str
    ) -> Coefficients:
        starts = None
        if config.init != "start" and network in plain.generators:

            def with_information(params: Tree) -> tuple[Tree, Tree]:
                nets = {**start, network: {**start[network], "params": params}}
                return params, information_of(context, plain, nets, network, config.fisher_samples)

            sources = (start[network], *donors.nets[network])
            target, *informed = map(with_information, (variables["params"] for variables in sources))
            starts = group_shares(RULES[config.init], group, target, informed)
        return Coefficients(count, config.constraint, config.start, starts)

    def terms(name: str, mixture: Mixture, first: Shares) -> Sequence[Regulariser]:
        if config.regularise == "none":
            return ()

        def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
            shares = mixture.shares(ctx.nets[name]["params"])
            loss = entropy(shares) if config.regularise == "entropy" else distance(shares, first)
            return config.strength * loss, {}

        return (Regulariser("shares" if len(plain.generators) == 1 else f"shares_{name}", name, value),)

    return fusion(config, plain, Fusing(gate, terms))


def _check(config: GradientFusionConfig) -> None:
    if config.start is None or config.constraint == "free":
        return
    most = 1.0 if config.constraint == "box" else 1 / max(len(config.donors), 1)
    if not 0 <= config.start <= most:
        raise ConfigError(
            f"transfer.start {config.start:g} is outside of {config.constraint}, where each of {len(config.donors)} "
            f"donors may begin at 0 to {most:g}; use such a value, or transfer.constraint free"
        )
