"""Consistency: D is to judge alike what is alike (bCR, zCR: Zhao et al., 2021), and G to make different things.

bCR varies what D sees, whichever augmentation it already went through; zCR varies the latents.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.tasks.task import Sample
from gan_jax.train.draws import Purpose
from gan_jax.train.regularisers.regulariser import Extras, Regulariser
from gan_jax.train.turn import Turn


def _balanced(turn: Turn) -> tuple[jax.Array, Extras]:
    assert turn.logits is not None
    loss = turn.loss
    vary = lambda sample, purpose: turn.task.vary(loss.bcr_policy, turn.keys(purpose), sample)
    apart = lambda a, b: jnp.square(a - b).mean()
    real = lambda: vary(turn.seen, Purpose.VARY_REAL)
    fake = lambda: vary(turn.made, Purpose.VARY_FAKE)
    if loss.bcr_real > 0 and loss.bcr_fake > 0:
        varied_real, varied_fake, _ = turn.judge(real(), fake())
        terms = loss.bcr_real * apart(turn.logits[0], varied_real) + loss.bcr_fake * apart(turn.logits[1], varied_fake)
    elif loss.bcr_real > 0:
        terms = loss.bcr_real * apart(turn.logits[0], turn.judge_one(real()))
    else:
        terms = loss.bcr_fake * apart(turn.logits[1], turn.judge_one(fake()))
    return terms, {}


def _near(turn: Turn) -> Sample:
    if turn.task.near is None:
        raise ValueError("loss.zcr_d and loss.zcr_g want a generator of latents; use 0")
    return turn.task.near(turn.g, turn.batch, turn.latents, turn.keys(Purpose.NEAR), turn.loss.zcr_sigma)


def _latent(turn: Turn) -> tuple[jax.Array, Extras]:
    assert turn.logits is not None
    near = turn.augmented(jax.lax.stop_gradient(_near(turn)), Purpose.AUGMENT_FAKE)
    return turn.loss.zcr_d * jnp.square(turn.logits[1] - turn.judge_one(near)).mean(), {}


def _diversity(turn: Turn) -> tuple[jax.Array, Extras]:
    squares = jax.tree_util.tree_map(lambda a, b: jnp.square(a - b).sum(), turn.fake, _near(turn))
    total = sum(jax.tree_util.tree_leaves(squares), start=jnp.zeros(()))
    return -turn.loss.zcr_g * total / len(turn.index), {}


BCR = Regulariser(name="bcr", network="d", wanted=lambda loss: max(loss.bcr_real, loss.bcr_fake) > 0, value=_balanced)
ZCR_D = Regulariser(name="zcr_d", network="d", wanted=lambda loss: loss.zcr_d > 0, value=_latent)
ZCR_G = Regulariser(name="zcr_g", network="g", wanted=lambda loss: loss.zcr_g > 0, value=_diversity)
