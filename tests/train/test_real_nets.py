"""The networks that ship, small: a step of theirs is the same step however many devices share it."""

from __future__ import annotations

import pytest

from gan_jax.config import DCGANConfig, LossConfig, ResNetConfig, StyleGAN2Config
from tests.lanes import default_rows
from tests.train.games import assert_parity, make_config

SMALL = {"channels": 1, "z_dim": 4, "channel_base": 64, "channel_max": 4}
RESNET, DCGAN = ResNetConfig(resolution=16, **SMALL), DCGANConfig(resolution=16, **SMALL)
STYLEGAN2 = StyleGAN2Config(resolution=16, w_dim=6, mapping_layers=2, **SMALL)

GAMES = {
    "resnet": make_config(net=RESNET),
    "dcgan": make_config(net=DCGAN),  # batch norm in D, which sees real and generated images in two passes
    "resnet, conditional, r1": make_config(LossConfig(r1_gamma=1.0), ("color", "translation"), 3, net=RESNET),
    "dcgan, relativistic, r1": make_config(LossConfig("relativistic", r1_gamma=1.0), net=DCGAN, batch=16),
    "dcgan, 2 d_steps": make_config(LossConfig("non_saturating"), net=DCGAN, d_steps=2),
    "stylegan2, path length": make_config(LossConfig("non_saturating", r1_gamma=1.0, path_length=2.0), net=STYLEGAN2),
}


# One image for each of the eight devices (two where the batch is 16): a batch norm that is not synchronised shows.
@pytest.mark.parametrize(
    ("name", "compiler"),
    default_rows([*((name, "jit") for name in GAMES), ("resnet", "pmap"), ("dcgan", "pmap")], []),
)
def test_one_device_and_eight_compute_the_same_gradients(name, compiler):
    # Ten times what the toy needs: a bias before a batch norm has a gradient that cancels, up to the rounding of its
    # terms, which are many here (7e-6 under JAX 0.8.0). Kernels' gradients are about 1.
    assert_parity(GAMES[name], [(compiler, 8)], atol=2e-5)
