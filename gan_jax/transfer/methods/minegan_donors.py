"""The first stage of MineGAN: frozen generators with a miner before each, and the choice of one of them.

Each of N donors has a share `p = softmax(selection_rate x logits)`, learned with the miners. The loss of both networks
is the sum over donors of p_i times the adversarial loss with donor i's images alone. The shares sum to 1, so real images
count once. All donors see the same draws u, so that their losses differ by donor and not by chance, and one D, the first
source's, discriminates all of them. Donor 0 is the run's G and its loss is the step's own adversarial loss; the losses of
the further donors are added to it.

Adam moves a logit by about the learning rate in each step, too slowly to decide anything within a stage: the rate is
multiplied by `selection_rate`. (The paper does not say how it parametrises p.)

Parameters below `graft`: `miner` of donor 0, `others/g1/..` of the further donors, `logits [N]`. The weights of the
further donors are in `state.constants`, since no step changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.losses import LOSSES
from gan_jax.losses.adversarial import G_SEES_REAL
from gan_jax.random_streams import Purpose
from gan_jax.reserved import GRAFT, LOGITS, MINER, OTHERS
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Network, Regulariser
from gan_jax.train.state import GanState, Variables
from gan_jax.trees import Tree


def mining(count: int, rate: float, warmup_steps: int) -> Extension:
    """The extension of the stage's step: donors' losses, the shares as metrics.

    Args:
      count: number of donors, the run's own G among them.
      rate: factor of the logits.
      warmup_steps: number of steps for which miners and shares stay as they are.
    """

    def warm(ctx: StepContext, network: Network) -> jax.Array | float:
        return jnp.where(ctx.update_count < warmup_steps, 0.0, 1.0) if network == "g" and warmup_steps else 1.0

    def weight(ctx: StepContext, network: Network) -> jax.Array | float:
        return warm(ctx, network) * (shares(ctx.g, rate)[0] if count > 1 else 1.0)

    def donors_loss(network: Network) -> Regulariser:
        def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
            p = shares(ctx.g, rate)
            terms = [p[i] * _loss(ctx, network, donor(ctx.g, ctx.constants, i)) for i in range(1, count)]
            return warm(ctx, network) * sum(terms, start=jnp.zeros(())), {}

        return Regulariser(f"loss_{network}_donors", network, value)

    if count == 1:
        return Extension(weight=weight)

    def metrics(state: GanState) -> dict[str, jax.Array]:
        return {f"p{i}": share for i, share in enumerate(shares(state.nets["g"], rate))}

    return Extension(regularisers=(donors_loss("d"), donors_loss("g")), weight=weight, metrics=metrics)


def shares(g: Variables, rate: float) -> jax.Array:
    """The donors' weights in the loss, `[N]`; they sum to 1."""
    return jax.nn.softmax(rate * g["params"][GRAFT][LOGITS])


def add_donors(g: Variables, miners: Sequence[Tree]) -> Variables:
    """The run's G with the miners of further donors and equal shares; G itself where there are none."""
    if not miners:
        return g
    branches = {OTHERS: {f"g{i}": miner for i, miner in enumerate(miners, 1)}, LOGITS: jnp.zeros(len(miners) + 1)}
    return {**g, "params": {**g["params"], GRAFT: {**g["params"][GRAFT], **branches}}}


def donor_constants(donors: Sequence[Variables]) -> dict[str, Any]:
    """The stage's constants: the plain variables of the further donors, by name."""
    return {f"g{i}": variables for i, variables in enumerate(donors, 1)}


def donor(g: Variables, constants: dict[str, Any], i: int) -> Variables:
    """The variables of donor `i` behind its miner, without what only the stage has."""
    branches = g["params"][GRAFT]
    variables, miner = (constants[f"g{i}"], branches[OTHERS][f"g{i}"]) if i else (g, branches[MINER])
    return {**variables, "params": {**variables["params"], GRAFT: {MINER: miner}}}


def choose(g: Variables, constants: dict[str, Any], rate: float) -> tuple[Variables, list[float], int]:
    """The variables of the donor with the largest share, all shares, and its number."""
    p = np.asarray(shares(g, rate))
    k = int(p.argmax())
    return donor(g, constants, k), [float(share) for share in p], k


def _loss(ctx: StepContext, network: Network, g: Variables) -> jax.Array:
    """A network's adversarial loss with the images of one donor, mean over examples: `[]`."""
    fake = ctx.task.generate(g, ctx.batch, ctx.latent_keys, True)[0]
    x_fake, loss = ctx.augmented(fake, Purpose.AUGMENT_FAKE), LOSSES[ctx.loss.name]
    if network == "d" and ctx.logits is not None:
        return loss(ctx.logits[0], ctx.logits_of(x_fake))[0].mean()
    if ctx.loss.name in G_SEES_REAL:
        of_real, of_fake, _ = ctx.discriminate(ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), x_fake)
        return loss(of_real.logits, of_fake.logits)[1].mean()
    logits_fake = ctx.logits_of(x_fake)
    return loss(jnp.zeros_like(logits_fake), logits_fake)[1].mean()
