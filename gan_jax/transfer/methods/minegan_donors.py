"""The first stage of MineGAN: frozen generators, a miner before each, and which of them the target is mined from.

Each of N donors has a share `p = softmax(selection_rate x logits)`, learned with the miners. Both networks pay the sum
over donors of p_i times the adversarial loss with donor i's images alone, D the same as G: as the shares sum to 1, real
images count once. All donors see the same draws u, so that their terms differ by donor and not by chance, and one D
judges them all: it is the first source's. Donor 0 is the run's own G, and its term the step's own game; the others'
terms are added to it.

Adam moves a logit by about the learning rate in each step, too slowly to decide anything within a stage: the rate is
multiplied by `selection_rate`. (The paper leaves its own parametrisation of p open.)

In the parameters, below `graft`: `miner` of donor 0, `others/g1/..` of the others, `logits [N]`. The others' weights are
in `state.constants`, since no step changes them.
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
from gan_jax.train.state import Variables
from gan_jax.trees import Tree


def mining(count: int, rate: float, warmup_steps: int) -> Extension:
    """What the stage adds to the step.

    Args:
      count: of donors, the run's own G among them.
      rate: what logits are multiplied by.
      warmup_steps: for so many steps the miners and shares stay as they are.
    """

    def warm(ctx: StepContext, network: Network) -> jax.Array | float:
        return jnp.where(ctx.update_count < warmup_steps, 0.0, 1.0) if network == "g" and warmup_steps else 1.0

    def weight(ctx: StepContext, network: Network) -> jax.Array | float:
        return warm(ctx, network) * (shares(ctx.g, rate)[0] if count > 1 else 1.0)

    def pay(network: Network) -> Regulariser:
        def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
            p = shares(ctx.g, rate)
            terms = [p[i] * _term(ctx, network, donor(ctx.g, ctx.constants, i)) for i in range(1, count)]
            return warm(ctx, network) * sum(terms, start=jnp.zeros(())), {}

        return Regulariser(f"loss_{network}_donors", network, value)

    if count == 1:
        return Extension(weight=weight)
    show = lambda state: {f"p{i}": share for i, share in enumerate(shares(state.nets["g"], rate))}
    return Extension(regularisers=(pay("d"), pay("g")), weight=weight, metrics=show)


def shares(g: Variables, rate: float) -> jax.Array:
    """`[N]`, the donors' parts in the mixture."""
    return jax.nn.softmax(rate * g["params"][GRAFT][LOGITS])


def beside(g: Variables, miners: Sequence[Tree]) -> Variables:
    """The run's G with the other donors' miners and with equal shares; without others as it is."""
    if not miners:
        return g
    more = {OTHERS: {f"g{i}": one for i, one in enumerate(miners, 1)}, LOGITS: jnp.zeros(len(miners) + 1)}
    return {**g, "params": {**g["params"], GRAFT: {**g["params"][GRAFT], **more}}}


def kept_donors(others: Sequence[Variables]) -> dict[str, Any]:
    """What the stage keeps: the plain variables of the other donors."""
    return {f"g{i}": one for i, one in enumerate(others, 1)}


def donor(g: Variables, kept: dict[str, Any], i: int) -> Variables:
    """The variables of a donor, behind its miner and without what only the stage has."""
    branches = g["params"][GRAFT]
    own, mine = (kept[f"g{i}"], branches[OTHERS][f"g{i}"]) if i else (g, branches[MINER])
    return {**own, "params": {**own["params"], GRAFT: {MINER: mine}}}


def choose(g: Variables, kept: dict[str, Any], rate: float) -> tuple[Variables, list[float], int]:
    """The donor of the largest share, the shares, and which it is."""
    p = np.asarray(shares(g, rate))
    k = int(p.argmax())
    return donor(g, kept, k), [float(share) for share in p], k


def _term(ctx: StepContext, network: Network, g: Variables) -> jax.Array:
    """What a network pays in the game with one donor, mean over examples."""
    fake = ctx.task.generate(g, ctx.batch, ctx.latent_keys, True)[0]
    made, loss = ctx.augmented(fake, Purpose.AUGMENT_FAKE), LOSSES[ctx.loss.name]
    if network == "d" and ctx.logits is not None:
        return loss(ctx.logits[0], ctx.logits_of(made))[0].mean()
    if ctx.loss.name in G_SEES_REAL:
        of_real, of_fake, _ = ctx.discriminate(ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), made)
        return loss(of_real.logits, of_fake.logits)[1].mean()
    logits_fake = ctx.logits_of(made)
    return loss(jnp.zeros_like(logits_fake), logits_fake)[1].mean()
