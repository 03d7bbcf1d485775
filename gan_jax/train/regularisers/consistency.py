"""Consistency (bCR, zCR: Zhao et al., 2021): D's logits of similar images are similar, and G's images vary.

bCR varies D's inputs after their augmentation; zCR varies the latents.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.random_streams import Purpose
from gan_jax.train.context import Sample, StepContext
from gan_jax.train.regularisers.regulariser import Extras, Regulariser


def _balanced(ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.logits is not None
    loss = ctx.loss
    vary = lambda sample, purpose: ctx.task.vary(loss.bcr_policy, ctx.keys(purpose), sample)
    distance = lambda a, b: jnp.square(a - b).mean()
    real = lambda: vary(ctx.x_real, Purpose.VARY_REAL)
    fake = lambda: vary(ctx.x_fake, Purpose.VARY_FAKE)
    if loss.bcr_real > 0 and loss.bcr_fake > 0:
        of_real, of_fake, _ = ctx.discriminate(real(), fake())
        terms = loss.bcr_real * distance(ctx.logits[0], of_real.logits)
        terms += loss.bcr_fake * distance(ctx.logits[1], of_fake.logits)
    elif loss.bcr_real > 0:
        terms = loss.bcr_real * distance(ctx.logits[0], ctx.logits_of(real()))
    else:
        terms = loss.bcr_fake * distance(ctx.logits[1], ctx.logits_of(fake()))
    return terms, {}


def _near(ctx: StepContext) -> Sample:
    if ctx.task.near is None:
        raise ValueError("loss.zcr_d and loss.zcr_g need a generator of latents; use 0")
    return ctx.task.near(ctx.g, ctx.batch, ctx.latent_keys, ctx.keys(Purpose.NEAR), ctx.loss.zcr_sigma)


def _latent(ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.logits is not None
    near = ctx.augmented(jax.lax.stop_gradient(_near(ctx)), Purpose.AUGMENT_FAKE)
    return ctx.loss.zcr_d * jnp.square(ctx.logits[1] - ctx.logits_of(near)).mean(), {}


def _diversity(ctx: StepContext) -> tuple[jax.Array, Extras]:
    squares = jax.tree_util.tree_map(lambda a, b: jnp.square(a - b).sum(), ctx.fake, _near(ctx))
    total = sum(jax.tree_util.tree_leaves(squares), start=jnp.zeros(()))
    return -ctx.loss.zcr_g * total / len(ctx.index), {}


BCR = Regulariser(name="bcr", network="d", is_on=lambda loss: max(loss.bcr_real, loss.bcr_fake) > 0, value=_balanced)
ZCR_D = Regulariser(name="zcr_d", network="d", is_on=lambda loss: loss.zcr_d > 0, value=_latent)
ZCR_G = Regulariser(name="zcr_g", network="g", is_on=lambda loss: loss.zcr_g > 0, value=_diversity)
