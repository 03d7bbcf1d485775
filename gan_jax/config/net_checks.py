"""Which networks cannot be built, by family, and what to change: the part of `checks` that knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gan_jax.config.nets import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    NetConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
)


def net_problems(net: NetConfig) -> Iterator[str]:
    """One line for everything that is wrong with a pair's configuration, whose values are of their kinds and sizes."""
    for check in CHECKS[type(net)]:
        yield from check(net)
    if net.channels not in (1, 3, 4) and not (isinstance(net, MLPConfig) and net.resolution == 1):
        yield f"net.channels is {net.channels}; use 1 (grey), 3 (RGB) or 4 (RGBA)"
    num_classes = getattr(net, "num_classes", 0)
    if num_classes < 0 or num_classes == 1:
        yield f"net.num_classes is {num_classes}; use 0 (unconditional) or at least 2"


def _doubled(net: Any) -> Iterator[str]:
    least = 8 if isinstance(net, StyleGAN2Config | R3GANConfig) else 16
    if net.resolution < least or net.resolution & (net.resolution - 1):
        yield f"net.resolution is {net.resolution}; use a power of two from {least}"


def _channels(net: Any) -> Iterator[str]:
    if not [*_doubled(net)] and 0 < net.channel_base < net.resolution:
        yield f"net.channel_base {net.channel_base} leaves no channel at {net.resolution} px; use at least as many"


def _kernel(net: ResNetConfig) -> Iterator[str]:
    if net.kernel < 1 or net.kernel % 2 == 0:
        yield f"net.kernel is {net.kernel}; use an odd size, 3 or 5"


def _mixing(net: StyleGAN2Config) -> Iterator[str]:
    if not 0 <= net.style_mixing <= 1:
        yield f"net.style_mixing is {net.style_mixing:g}; use a share from 0 to 1 (0.9 in the paper)"


def _r3gan(net: R3GANConfig) -> Iterator[str]:
    wrong = False
    for name, least in (("widths", 1), ("cardinality", 1), ("blocks", 0)):
        values = getattr(net, name)
        if not values or min(values) < least:
            wrong = True
            yield f"net.{name} is {list(values)}; give one number of at least {least} for each resolution from 4 px"
    sizes = () if wrong else range(max(len(net.widths), len(net.cardinality)))
    for i in sizes:
        width, groups = (values[min(i, len(values) - 1)] for values in (net.widths, net.cardinality))
        if width * net.expansion % groups:
            yield (
                f"net.cardinality {groups} at {4 * 2**i} px does not divide the {width * net.expansion} channels inside a "
                f"block (net.widths {width} x net.expansion {net.expansion}); use a divisor"
            )


def _biggan(net: BigGANConfig) -> Iterator[str]:
    for name in ("g_multipliers", "d_multipliers"):
        values = getattr(net, name)
        if values is not None and (not values or min(values) < 1):
            yield f"net.{name} is {list(values)}; give numbers of at least 1, or None for the published ones"
    slots = max(1, net.resolution.bit_length() - 2)
    if net.hierarchical and net.z_dim % slots:
        yield (
            f"net.z_dim {net.z_dim} does not fall into {slots} equal parts, for the first layer and each block at "
            f"{net.resolution} px; use a multiple of {slots}, or net.hierarchical False"
        )
    if wrong := [size for size in net.attention if size < 4 or size & (size - 1)]:
        yield f"net.attention names {wrong[0]} px, but maps have sizes of 4, 8, 16, ..; () = none"
    if net.hierarchical and net.num_classes and not net.shared_dim:
        yield "net.shared_dim 0 puts a table of classes into each norm; set net.hierarchical False beside it"


def _mlp(net: MLPConfig) -> Iterator[str]:
    if net.resolution < 1:
        yield f"net.resolution is {net.resolution}; use any number of px, or 1 for points of net.channels numbers"
    if net.resolution == 1 and net.channels < 1:
        yield f"net.channels is {net.channels}; use how many numbers each point has"
    for name in ("g_widths", "d_widths"):
        if not (values := getattr(net, name)) or min(values) < 1:
            yield f"net.{name} is {list(values)}; give the width of each hidden layer, one layer or more"
    for name in ("g_slope", "d_slope"):
        if not 0 <= (slope := getattr(net, name)) < 1:
            yield f"net.{name} is {slope:g}; use 0 (ReLU) or a slope below 1 (0.2 is usual)"


def _sngan(net: SNGANConfig) -> Iterator[str]:
    for name, halvings in (("g_widths", len(net.g_widths) - 1), ("d_widths", len(net.d_widths))):
        if not (values := getattr(net, name)) or min(values) < 1:
            yield f"net.{name} is {list(values)}; give one width or more, each at least 1"
        elif net.resolution < 1 or net.resolution % 2**halvings:
            yield (
                f"net.resolution {net.resolution} cannot be halved {halvings} times, as net.{name} {list(values)} wants; "
                f"use a multiple of {2**halvings}"
            )
    if net.d_rest and min(net.d_rest) < 1:
        yield f"net.d_rest is {list(net.d_rest)}; give widths of at least 1, or none"


CHECKS: dict[type, tuple[Callable[[Any], Iterator[str]], ...]] = {
    ResNetConfig: (_doubled, _channels, _kernel),
    DCGANConfig: (_doubled, _channels),
    StyleGAN2Config: (_doubled, _channels, _mixing),
    R3GANConfig: (_doubled, _r3gan),
    BigGANConfig: (_doubled, _biggan),
    MLPConfig: (_mlp,),
    SNGANConfig: (_sngan,),
}
