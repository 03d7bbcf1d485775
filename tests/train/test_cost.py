from __future__ import annotations

from gan_jax.config import Config, FreezeDConfig, ResNetConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.trainers import step_flops


def test_frozen_blocks_cost_no_backward_pass():
    """With the image-side blocks of D frozen its update neither differentiates their kernels nor goes down to them."""
    net = ResNetConfig(resolution=16, channel_base=128, channel_max=8)
    config, pair = Config(net=net, train=TrainConfig(batch=8)), build(net)

    def cost(blocks: int) -> float:
        method = make_method(FreezeDConfig(blocks=blocks), pair)
        return step_flops(config, (method.trains("g"), method.trains("d") if blocks else lambda path: True))

    full, one, two = cost(0), cost(1), cost(2)
    # The block at 16 px: two 3x3 convolutions of 8 channels and a 1x1 at 8 px, over 8 real and 8 generated images.
    # A backward pass costs each twice its forward pass (the kernel's gradient, the input's).
    forward = 2 * 16 * (2 * 16**2 * 9 * 8 * 8 + 8**2 * 8 * 8)
    assert full - one >= 1.8 * forward
    assert full > one > two > 0.5 * full


def test_what_a_method_adds_costs():
    """A copy of D that is kept and asked in every turn is counted; nothing is made of it."""
    net = ResNetConfig(resolution=16, channel_base=128, channel_max=8)
    config, all_train = Config(net=net, train=TrainConfig(batch=8)), (lambda path: True, lambda path: True)

    def value(ctx):
        return (ctx.task.discriminate(ctx.constants["d"], ctx.fake, ctx.batch, True)[0]).mean(), {}

    term = Regulariser("asked", "g", value)
    extended = step_flops(config, all_train, extension=Extension(regularisers=(term,)), constants=lambda nets: {"d": d})
    assert extended > 1.1 * step_flops(config, all_train)
