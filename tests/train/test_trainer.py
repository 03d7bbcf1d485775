"""The trainer of a run: what a step costs."""

from __future__ import annotations

import functools

from gan_jax.config import Config, FreezeDConfig, ResNetConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.method import Method, step_flops
from gan_jax.transfer.methods import make_method

CONFIG = Config(net=ResNetConfig(resolution=16, channel_base=128, channel_max=8), train=TrainConfig(batch=8))


@functools.cache
def full_flops():
    """Of fine-tuning."""
    return step_flops(CONFIG, Method())


def test_frozen_blocks_cost_no_backward_pass():
    """With the image-side blocks of D frozen its update neither differentiates their kernels nor goes down to them."""
    pair = build(CONFIG.net)
    full = full_flops()
    one = step_flops(CONFIG, make_method(FreezeDConfig(blocks=1), pair))
    # The block at 16 px: two 3x3 convolutions of 8 channels and a 1x1 at 8 px, over 8 real and 8 generated images.
    # A backward pass costs each twice its forward pass (the kernel's gradient, the input's).
    forward = 2 * 16 * (2 * 16**2 * 9 * 8 * 8 + 8**2 * 8 * 8)
    assert full - one >= 1.8 * forward
    assert full > one > 0.5 * full


def test_what_a_method_adds_costs():
    """A copy of D that is kept and applied in every update is counted; nothing is made of it."""

    def value(ctx):
        return (ctx.task.discriminate(ctx.constants["d"], ctx.fake, ctx.batch, True)[0]).mean(), {}

    extension = Extension(regularisers=(Regulariser("kept_d", "g", value),))
    method = Method(extension=extension, constants=lambda nets: {"d": nets["d"]})
    assert step_flops(CONFIG, method) > 1.1 * full_flops()
