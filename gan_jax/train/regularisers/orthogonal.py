"""Orthogonal regularisation of the filters of each kernel (BigGAN)."""

from __future__ import annotations

from gan_jax.losses import orthogonal_penalty
from gan_jax.train.regularisers.regulariser import Regulariser

ORTHOGONAL_G = Regulariser(
    name="orthogonal_g",
    network="g",
    is_on=lambda loss: loss.orthogonal_g > 0,
    value=lambda ctx: (ctx.loss.orthogonal_g * orthogonal_penalty(ctx.g["params"]), {}),
)
ORTHOGONAL_D = Regulariser(
    name="orthogonal_d",
    network="d",
    is_on=lambda loss: loss.orthogonal_d > 0,
    value=lambda ctx: (ctx.loss.orthogonal_d * orthogonal_penalty(ctx.d["params"]), {}),
)
