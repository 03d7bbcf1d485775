"""Which networks: one dataclass per family, and `NetConfig`, any of them."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """ResNet pair of SNGAN: generator with batch norm, discriminator with spectral norm."""

    resolution: int = 32  # height and width, px; a power of two from 16
    channels: int = 1  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else conditional normalisation and a projection discriminator
    z_dim: int = 64  # latent size
    channel_base: int = 1024  # width of a block at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 32  # largest width of a block
    kernel: int = 3  # size of the residual branches' convolutions, px; odd
    depth: int = 1  # residual blocks at each resolution
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; parameters, statistics and losses stay float32


@dataclasses.dataclass(frozen=True)
class DCGANConfig:
    """DCGAN pair: transposed convolutions in G, strided ones in D, batch norm in both."""

    resolution: int = 64  # height and width, px; a power of two from 16
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    z_dim: int = 100  # latent size
    channel_base: int = 4096  # width at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 512  # largest width
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config:
    """StyleGAN2 pair, in its ADA version: mapping and modulated convolutions in G, no batch norm anywhere."""

    resolution: int = 256  # height and width, px; a power of two from 8
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels enter the mapping, and D projects on them
    z_dim: int = 512  # latent size
    w_dim: int = 512  # style size
    mapping_layers: int = 8  # of G's mapping network
    channel_base: int = 32768  # width at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 512  # largest width
    style_mixing: float = 0.9  # share of training images whose upper layers take another latent's styles; 0 = off
    discriminator: Literal["residual", "skip", "orig"] = "residual"  # D's architecture
    d_mapping_layers: int = 8  # of D's mapping network, where conditional
    mbstd_group: int = 4  # examples in a group of minibatch standard deviation; 0 = off
    clamp: float | None = None  # cut activations at +- this; 256 where dtype is bfloat16
    low_precision: int = 4  # how many of the highest resolutions compute in dtype; 4 px never does
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype of the highest resolutions


@dataclasses.dataclass(frozen=True)
class R3GANConfig:
    """R3GAN pair: residual blocks with grouped convolutions, no norm, no style; lists go from 4 px upwards.

    The last value of a list holds at all higher resolutions, and those above `resolution` wait for growth.
    """

    resolution: int = 64  # height and width, px; a power of two from 8
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels enter G beside the latents, and D projects on them
    z_dim: int = 64  # latent size
    widths: tuple[int, ...] = (768, 768, 768, 768, 384, 192, 96)  # channels at 4, 8, .. px
    cardinality: tuple[int, ...] = (96, 96, 96, 96, 48, 24, 12)  # groups of the 3x3 convolutions
    blocks: tuple[int, ...] = (2,)  # residual blocks at each resolution
    expansion: int = 2  # channels inside a block, in multiples of its width
    g_embed: int | None = None  # size of G's class embedding; None = z_dim
    d_embed: int | None = None  # size of D's class embedding; None = the width at 4 px
    low_precision: int = 4  # how many of the highest resolutions compute in dtype; 4 px never does
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype of the highest resolutions


@dataclasses.dataclass(frozen=True)
class BigGANConfig:
    """BigGAN pair: spectral norm everywhere, batch norm that class and latents modulate, attention.

    Widths are multiples of `width`; those of the paper hold where none are given.
    """

    resolution: int = 128  # height and width, px; a power of two from 16
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels modulate G's norms, and D projects on them
    z_dim: int = 120  # latent size; with hierarchical, a multiple of the blocks + 1
    width: int = 96  # channels in multiples of this
    g_multipliers: tuple[int, ...] | None = None  # of G's maps at 4, 8, .. px
    d_multipliers: tuple[int, ...] | None = None  # of what D's blocks write, from the image downwards
    d_size: int | None = None  # of D's last maps, px; None = 4, but 8 at 32 px; further blocks keep the size
    d_wide: bool = True  # whether D's blocks are inside as wide as what they write; else as what they read
    hierarchical: bool = True  # whether every block of G gets a part of the latents, beside the first layer
    shared_dim: int = 128  # size of the class embedding that all of G's norms share; 0 = a table in each norm
    attention: tuple[int, ...] = (64,)  # sizes of the maps that attention follows, px; () = none
    d_attention: tuple[str, ...] | None = None  # D's blocks that it follows; None = those that write such sizes
    g_spectral: bool = True  # whether G has spectral norm too
    d_gain: bool = False  # a learned factor of D's class term, which starts at 0 where growth adds classes
    init: Literal["orthogonal", "normal", "xavier"] = "orthogonal"  # of kernels; normal has standard deviation 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; parameters, statistics and softmax stay float32


@dataclasses.dataclass(frozen=True)
class MLPConfig:
    """Fully connected pair: of images of any size, or of points, which are images of 1 x 1 px with `channels` numbers."""

    resolution: int = 28  # height and width, px; 1 = points
    channels: int = 1  # 1 grey, 3 RGB, 4 RGBA; of points how many numbers each has
    num_classes: int = 0  # 0 = unconditional; else labels enter G's first layer beside z, and D projects on them
    z_dim: int = 64  # latent size
    g_widths: tuple[int, ...] = (256, 256)  # G's hidden layers, from the latents to the image
    d_widths: tuple[int, ...] = (256, 256)  # D's hidden layers, from the image to the logit
    g_slope: float = 0.0  # of G's activations below zero: 0 = ReLU, 0.2 = the usual leaky ReLU
    d_slope: float = 0.2  # of D's activations below zero
    bounded: bool = True  # whether G ends in tanh, as images want; False = it ends in a linear layer, for points
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and what G returns stay float32


@dataclasses.dataclass(frozen=True)
class SNGANConfig:
    """SNGAN pair as published and pretrained elsewhere; the defaults are those for 32 px. To grow, see ResNetConfig."""

    resolution: int = 32  # height and width, px; a multiple of 2 for each doubling in G and each halving in D
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else conditional normalisation and a projection discriminator
    z_dim: int = 128  # latent size
    g_widths: tuple[int, ...] = (256, 256, 256, 256)  # of G's maps, each twice as large as the ones before
    d_widths: tuple[int, ...] = (128, 128)  # of what D's blocks write that halve the size, from the image downwards
    d_rest: tuple[int, ...] = (128, 128)  # of what D's further blocks write, which keep the size
    upsample: Literal["bilinear", "nearest"] = "bilinear"  # how G doubles sizes
    cut_skips: bool = True  # whether D's shortcuts read what the block's first ReLU leaves; False as in the paper
    # how an evaluation finds singular values: by one more power iteration, or from stored vectors of both sides
    estimate: Literal["refined", "stored"] = "refined"
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; D's head and what G returns stay float32


NetConfig = ResNetConfig | DCGANConfig | StyleGAN2Config | R3GANConfig | BigGANConfig | MLPConfig | SNGANConfig
