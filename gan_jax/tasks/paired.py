"""The task of images from images of pairs (pix2pix; Isola et al., 2017).

D is updated first, on the translations that G's update then makes again: the same networks and the same dropout. D's loss
is halved. G has the adversarial loss and the mean absolute difference from the target.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.config import Config, PairedTask
from gan_jax.nets import Pair
from gan_jax.random_streams import Purpose
from gan_jax.tasks.translation import fooling, judging, pair_functions
from gan_jax.train.context import LossOutput, StepContext
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import init_augment
from gan_jax.train.state import Networks
from gan_jax.train.task import Phase, Task


def paired_task(pair: Pair, config: Config, extension: Extension = NO_EXTENSION) -> Task:
    """Makes the task of a generator `g` and a discriminator `d`.

    Batches are `{"input": [B, H, W, in_channels], "image": [B, H, W, C]}`, float in [-1, 1].
    """
    options = config.task
    assert isinstance(options, PairedTask)
    same_draws = lambda ctx: ctx.step_keys(Purpose.G_LATENTS)

    def inputs(ctx: StepContext) -> tuple[StepContext, Networks]:
        fake, _ = ctx.task.generate(ctx.g, ctx.batch, ctx.latent_keys, True)
        return ctx.replace(fake=jax.lax.stop_gradient(fake)), {}

    def g_loss(ctx: StepContext) -> LossOutput:
        fake, collections = ctx.task.generate(ctx.g, ctx.batch, ctx.latent_keys, True)
        ctx = ctx.replace(fake=fake, g_collections=collections)
        adversarial, ctx = fooling(ctx, config, extension, fake)
        l1 = jnp.abs(fake[..., -ctx.batch["image"].shape[-1] :] - ctx.batch["image"]).mean()
        value = adversarial * extension.weight(ctx, "g") + (options.l1 * l1 if extension.adversarial else 0.0)
        return LossOutput(value, ctx, {"g": collections}, {"loss_g": adversarial, "l1": l1})

    return Task(
        nets=dict(pair.nets),
        phases=(
            judging(config, extension, inputs, same_draws),
            Phase("g", ("g",), g_loss, latent_keys=same_draws, start_kimg=config.d_warmup_kimg),
        ),
        init_extras=lambda: init_augment(config.augment),
        **pair_functions(pair, config),
    )
