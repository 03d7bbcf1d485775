"""StyleGAN2 pairs in the layout of rosinality's stylegan2-pytorch: that of most few-shot papers' checkpoints.

CDC, RSSA, AdAM, RICK and others build on it. A file holds `g_ema`, often `g` and `d`, optimisers, and, where it was
converted from TensorFlow, `latent_avg`. Values are those of stylegan2-ada-pytorch: what is stored is the weight before
the gain of the equalised learning rate, and an up-sampling kernel is one of a transposed convolution, as ours is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.layouts.layout import (
    DROPPED,
    ComputedLeaf,
    ForeignLayout,
    ForeignPair,
    Part,
    Tensors,
    kept_generator,
    prefixes,
    under,
)
from gan_jax.interop.layouts.nvidia import FIR, check_filters
from gan_jax.interop.layouts.stylegan2 import base_and_max
from gan_jax.interop.links import ForeignLayoutError, Link, Links
from gan_jax.nets import build
from gan_jax.nets.stylegan2 import widths

IGNORED = {".kernel": "a constant, the FIR filter [1, 3, 3, 1]"}
LEFT = {  # beginnings of names outside the networks that are kept -> why they are left out
    "g_optim.": "the state of an optimiser of another program",
    "d_optim.": "the state of an optimiser of another program",
    "e_optim.": "the state of an optimiser of another program",
    "g_s.": "the generator that an adaptation started from, not what it made",
    "extra.": "patch heads of an adaptation (CDC), which no discriminator of ours has",
    "ada_aug_p": "how often its training augmented",
}
LATENTS = 4096  # whose mean w their program takes for truncation, where a file has none
W_AVG = "moving/mapping/w_avg"


def generator_links(config: StyleGAN2Config) -> Links:
    """Their names of G's tensors."""
    links: dict[str, Link] = {}
    for i in range(config.mapping_layers):
        links |= _dense(f"style.{i + 1}", f"params/mapping/fc{i}")
    for i, r in enumerate(widths(config)):
        ours = f"params/synthesis/b{r}"
        if r == 4:
            links["input.input"] = Link(f"{ours}/const", "maps", before=1)
        places = {"conv1": "conv1"} if r == 4 else {"conv0": f"convs.{2 * i - 2}", "conv1": f"convs.{2 * i - 1}"}
        for k, (name, theirs) in enumerate(places.items()):
            links |= {
                **_modulated(f"{theirs}.conv", f"{ours}/{name}"),
                f"{theirs}.noise.weight": Link(f"{ours}/{name}/noise_strength", before=1),
                f"{theirs}.activate.bias": Link(f"{ours}/{name}/bias"),
                f"noises.noise_{max(0, 2 * i - 1) + k}": Link(f"constants/synthesis/b{r}/{name}/noise", before=2),
            }
        rgb = "to_rgb1" if r == 4 else f"to_rgbs.{i - 1}"
        links |= _modulated(f"{rgb}.conv", f"{ours}/to_rgb")
        links[f"{rgb}.bias"] = Link(f"{ours}/to_rgb/bias", before=1, after=2)
    return links


def discriminator_links(config: StyleGAN2Config) -> Links:
    """Their names of D's tensors: a layer is a list of (filter,) convolution and activation."""
    links = _conv("convs.0", f"params/b{config.resolution}/from_rgb")
    for i, r in enumerate(list(reversed(widths(config)))[:-1], 1):
        theirs, ours = f"convs.{i}", f"params/b{r}"
        links |= {**_conv(f"{theirs}.conv1", f"{ours}/conv0"), **_conv(f"{theirs}.conv2", f"{ours}/conv1", 1)}
        links[f"{theirs}.skip.1.weight"] = Link(f"{ours}/skip/kernel", "conv")
    links |= _conv("final_conv", "params/b4/conv")
    links |= {**_dense("final_linear.0", "params/b4/fc"), **_dense("final_linear.1", "params/b4/out")}
    return links | {"final_linear.0.weight": Link("params/b4/fc/kernel", "flat")}


def guess_config(g: Mapping[str, np.ndarray], d: Mapping[str, np.ndarray] | None = None) -> StyleGAN2Config:
    """The configuration that a generator's (and a discriminator's) tensors have, from names and shapes alone.

    Raises:
      ForeignLayoutError: this is no such generator, or its widths are none of ours.
    """
    needed = ("style.1.weight", "input.input", "conv1.conv.weight", "to_rgb1.conv.weight")
    if missing := [name for name in needed if name not in g]:
        raise ForeignLayoutError(f"these are no tensors of rosinality's StyleGAN2 generator (no {missing[0]})")
    count = sum(bool(re.fullmatch(r"convs\.\d+\.conv\.weight", name)) for name in g)
    width = {4: g["conv1.conv.weight"].shape[1]}
    width |= {8 << i: g[f"convs.{2 * i + 1}.conv.weight"].shape[1] for i in range(count // 2)}
    base, largest = base_and_max(width)
    features = None if d is None else d["final_conv.0.weight"]
    return StyleGAN2Config(
        resolution=max(width),
        channels=g["to_rgb1.conv.weight"].shape[1],
        z_dim=g["style.1.weight"].shape[1],
        w_dim=g["style.1.weight"].shape[0],
        mapping_layers=sum(bool(re.fullmatch(r"style\.\d+\.weight", name)) for name in g),
        channel_base=base,
        channel_max=largest,
        mbstd_group=4 if features is None or features.shape[1] > features.shape[0] else 0,
    )


def find(tensors: Tensors) -> ForeignPair:
    """The moving average of G, D where there is one, and the mean w or how to make it."""
    kept, copies = kept_generator([p for p in prefixes(tensors, "conv1.conv.modulation.weight") if p != "g_s."])
    g = {} if kept is None else under(tensors, kept)
    d_prefixes = prefixes(tensors, "final_conv.0.weight")
    d = under(tensors, d_prefixes[0]) if d_prefixes else None
    config = guess_config(g, d)
    check_filters({**g, **(d or {})}, ".kernel", (1.0, 4.0))
    links = {f"{kept}{name}": link for name, link in generator_links(config).items()}
    g_tensors = {f"{kept}{name}": array for name, array in g.items()}
    computed = {}
    if average := [name for name in tensors if name.rpartition(".")[2] == "latent_avg"]:
        links[average[0]], g_tensors[average[0]] = Link(W_AVG), tensors[average[0]].reshape(-1)
    else:
        computed = {
            f"g_ema/{W_AVG}": ComputedLeaf(f"the mean of w over {LATENTS:,} latents, as their program does", average_w)
        }
    parts = {"g_ema": Part("", g_tensors, links)}
    if d is not None:
        parts["d"] = Part(d_prefixes[0], d, discriminator_links(config))
    left_out = {name: DROPPED for name in tensors if any(name.startswith(prefix) for prefix in copies)}
    for beginning, why in LEFT.items():
        left_out |= {name: why for name in tensors if name.startswith(beginning)}
    return ForeignPair(config, parts, IGNORED, left_out, computed)


def average_w(config: StyleGAN2Config, variables: Any) -> np.ndarray:
    """The mean of `w [w_dim]` over latents from a fixed seed, for a generator with zeros in its place."""
    z = jax.random.normal(jax.random.key(0), (LATENTS, config.z_dim))
    return np.asarray(jax.jit(build(config).g.parts["map"])(variables, z)[:, 0].mean(0))


def names(config: StyleGAN2Config) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file.

    Raises:
      ForeignLayoutError: it has something that this layout has no place for.
    """
    if config.num_classes or config.discriminator != "residual":
        what = f"num_classes={config.num_classes}" if config.num_classes else f"a D of kind {config.discriminator!r}"
        raise ForeignLayoutError(f"rosinality's StyleGAN2 is unconditional with a residual D; this pair has {what}")
    if config.z_dim != config.w_dim:
        raise ForeignLayoutError(f"rosinality's StyleGAN2 has z_dim = w_dim; these are {config.z_dim}, {config.w_dim}")
    g = {f"g_ema.{name}": link for name, link in generator_links(config).items()}
    return {"g_ema": ("", g | {"latent_avg": Link(W_AVG)}), "d": ("d.", discriminator_links(config))}


def constants(config: StyleGAN2Config) -> dict[str, np.ndarray]:
    """The filters that their program keeps with every layer that resamples; those that double the size sum to 4."""
    steps = range(len(widths(config)) - 1)
    filters = {f"g_ema.convs.{2 * i}.conv.blur.kernel": 4 * FIR for i in steps}
    filters |= {f"g_ema.to_rgbs.{i}.upsample.kernel": 4 * FIR for i in steps}
    return filters | {f"d.convs.{i + 1}.{layer}.0.kernel": FIR for i in steps for layer in ("conv2", "skip")}


def _dense(theirs: str, ours: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"{ours}/kernel", "dense"), f"{theirs}.bias": Link(f"{ours}/bias")}


def _conv(theirs: str, ours: str, place: int = 0) -> dict[str, Link]:
    bias = Link(f"{ours}/bias")
    return {f"{theirs}.{place}.weight": Link(f"{ours}/kernel", "conv"), f"{theirs}.{place + 1}.bias": bias}


def _modulated(theirs: str, ours: str) -> dict[str, Link]:
    kernel = Link(f"{ours}/kernel", "conv", before=1)
    return {f"{theirs}.weight": kernel, **_dense(f"{theirs}.modulation", f"{ours}/affine")}


LAYOUT = ForeignLayout(StyleGAN2Config, find, names, constants, keys=("g_ema",))
