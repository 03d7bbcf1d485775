"""SPADE pairs in the layout of the published code: configuration from names and shapes, and names.

G and D lie in files of their own there (`latest_net_G.pth`, `latest_net_D.pth`). Kernels under spectral norm are stored
as `weight_orig` with both vectors. Of the channels of labels a file tells the number alone: which of them stands for places
without a label and which for edges follows from the published sets (184 of COCO-Stuff, 151 of ADE20K, 36 of Cityscapes),
else all are labels, unless the user names the configuration.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from gan_jax.config import NetConfig, SPADEConfig
from gan_jax.interop.layouts.layout import (
    ForeignLayout,
    ForeignPair,
    Part,
    Tensors,
    kept_generator,
    prefixes,
    under,
)
from gan_jax.interop.links import ForeignLayoutError, Link, Links, MapsLink
from gan_jax.nets.spade import HIDDEN, layer_name, widths

IGNORED = {".num_batches_tracked": "a counter of training steps"}
G_MARK, D_MARK = "head_0.norm_0.mlp_shared.0.weight", "discriminator_0.model0.0.weight"
# channels of semantics -> (labels, places without a label, edges), of the published sets
PUBLISHED = {184: (182, True, True), 151: (150, True, False), 36: (35, False, True)}
BLOCKS = {"head_0": "first", "G_middle_0": "middle0", "G_middle_1": "middle1"} | {f"up_{i}": f"up{i}" for i in range(5)}


def generator_links(config: SPADEConfig) -> Links:
    """Their names of G's tensors."""
    links = _plain("fc", "stem") | _plain("conv_img", "to_rgb")
    width, read = widths(config), 16 * config.width
    for theirs, ours in BLOCKS.items():
        if ours not in width:
            continue
        parts = {"norm_0": "norm0", "norm_1": "norm1"} | ({"norm_s": "norm_skip"} if read != width[ours] else {})
        for their_norm, norm in parts.items():
            base, path = f"{theirs}.{their_norm}", f"{ours}/{norm}"
            for their_conv, conv in (("mlp_shared.0", "shared"), ("mlp_gamma", "gamma"), ("mlp_beta", "beta")):
                links |= _plain(f"{base}.{their_conv}", f"{path}/{conv}")
            if config.norm == "batch":
                for name, leaf in (("running_mean", "mean"), ("running_var", "var")):
                    links[f"{base}.param_free_norm.{name}"] = Link(f"batch_stats/{path}/{leaf}")
        for i in (0, 1):
            links |= _spectral(f"{theirs}.conv_{i}", f"{ours}/conv{i}", 3)
            links[f"{theirs}.conv_{i}.bias"] = Link(f"params/{ours}/conv{i}/bias")
        if "norm_s" in parts:
            links |= _spectral(f"{theirs}.conv_s", f"{ours}/skip", 1)
        read = width[ours]
    return links


def discriminator_links(config: SPADEConfig) -> Links:
    """Their names of D's tensors."""
    links: dict[str, Link] = {}
    for scale in range(config.d_scales):
        for i in range(config.d_layers + 1):
            theirs, ours = f"discriminator_{scale}.model{i}.0", f"{layer_name(scale, i)}/conv"
            links |= _spectral(f"{theirs}.0", ours, 4) if 0 < i < config.d_layers else _plain(theirs, ours)
    return links


def _plain(theirs: str, ours: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"params/{ours}/kernel", "conv"), f"{theirs}.bias": Link(f"params/{ours}/bias")}


def _spectral(theirs: str, ours: str, size: int) -> dict[str, Link]:
    return {
        f"{theirs}.weight_orig": Link(f"params/{ours}/kernel", "conv"),
        f"{theirs}.weight_u": Link(f"spectral/{ours}/u"),
        f"{theirs}.weight_v": MapsLink(f"spectral/{ours}/v", side=size),
    }


def find(tensors: Tensors, net: NetConfig | None = None) -> ForeignPair:
    """A generator, a discriminator, or both, in one file or two; `net` says what their shapes do not."""
    kept, others = kept_generator(prefixes(tensors, G_MARK))
    d_prefixes = prefixes(tensors, D_MARK)
    if (kept is None and not d_prefixes) or others or len(d_prefixes) > 1:
        raise ForeignLayoutError(f"no single pair of SPADE ({G_MARK} of a G, {D_MARK} of a D)")
    g = None if kept is None else under(tensors, kept)
    d = under(tensors, d_prefixes[0]) if d_prefixes else None
    config = _as_named(guess_config(g, d), net)
    parts = {}
    if kept is not None and g is not None:
        parts["g_ema"] = Part(kept, g, generator_links(config))
    if d is not None:
        parts["d"] = Part(d_prefixes[0], d, discriminator_links(config))
    return ForeignPair(config, parts, IGNORED)


def _as_named(config: SPADEConfig, net: NetConfig | None) -> SPADEConfig:
    """The configuration with what no shape tells from the one that the user names."""
    if net is None:
        return config
    if (
        not isinstance(net, SPADEConfig)
        or net.in_channels != config.in_channels
        or (net.ups == "most") != (config.ups == "most")
    ):
        raise ForeignLayoutError(
            f"the file holds networks that read {config.in_channels} channels of labels, which the configuration "
            "does not describe"
        )
    silent = ("resolution", "num_labels", "dont_care", "edges", "ups")
    return dataclasses.replace(config, **{name: getattr(net, name) for name in silent})


def guess_config(g: Tensors | None, d: Tensors | None = None) -> SPADEConfig:
    """The configuration that a generator's and a discriminator's tensors have; either may be absent.

    What no shape tells is as published: the size of images, and `more` doublings where there are 36 channels.

    Raises:
      ForeignLayoutError: they are of another network, or do not belong together.
    """
    options: dict[str, Any] = {}
    count = None
    if g is not None:
        count, options = _generator(g)
    if d is not None:
        d_count, d_options = _discriminator(d, options.get("channels", 3))
        if count is not None and d_count != count:
            raise ForeignLayoutError(
                f"G reads {count} channels of labels and makes {options['channels']}, but D reads "
                f"{d_count + options['channels']} of both; they are no pair"
            )
        count, options = d_count, {**d_options, **options}
    if count is None:
        raise ForeignLayoutError(f"these are no tensors of SPADE (no {G_MARK}, no {D_MARK})")
    num_labels, dont_care, edges = PUBLISHED.get(count, (count, False, False))
    return SPADEConfig(num_labels=num_labels, dont_care=dont_care, edges=edges, **options)


def _generator(g: Tensors) -> tuple[int, dict[str, Any]]:
    """(channels of semantics, options)."""
    shared, stem = _needed(g, G_MARK), _needed(g, "fc.weight")
    if stem.ndim != 4:
        raise ForeignLayoutError(
            "G starts from latents (fc is a linear layer), as with an encoder of styles; no such G is known"
        )
    if "head_0.conv_0.weight_orig" not in g:
        raise ForeignLayoutError("G has no spectral norm (no head_0.conv_0.weight_orig); only SPADE with it is known")
    if shared.shape[0] != HIDDEN or shared.shape[2:] != (3, 3) or stem.shape[0] % 16:
        raise ForeignLayoutError(
            f"{G_MARK!r} is {list(shared.shape)}; SPADE of 3x3 kernels and {HIDDEN} channels is known"
        )
    count = shared.shape[1]
    most = "up_4.conv_0.weight_orig" in g
    statistics = "head_0.norm_0.param_free_norm.running_mean" in g
    ups = "most" if most else "more" if count == 36 else "normal"
    return count, {
        "channels": _needed(g, "conv_img.weight").shape[0],
        "width": stem.shape[0] // 16,
        "ups": ups,
        "norm": "batch" if statistics else "instance",
    }


def _discriminator(d: Tensors, channels: int) -> tuple[int, dict[str, Any]]:
    """(channels of semantics, options)."""
    numbers = [re.match(r"discriminator_(\d+)\.model(\d+)\.", name) for name in d]
    scales = {int(m[1]) for m in numbers if m}
    layers = {int(m[2]) for m in numbers if m}
    first = _needed(d, D_MARK)
    if len(layers) < 2 or scales != set(range(len(scales))) or layers != set(range(len(layers))):
        raise ForeignLayoutError(
            f"D has scales {sorted(scales)} and layers {sorted(layers)}; theirs are counted from 0 on"
        )
    if len(layers) > 2 and "discriminator_0.model1.0.0.weight_orig" not in d:
        raise ForeignLayoutError(
            "D has no spectral norm (no discriminator_0.model1.0.0.weight_orig); only SPADE's is known"
        )
    return first.shape[1] - channels, {"d_width": first.shape[0], "d_layers": max(layers), "d_scales": len(scales)}


def _needed(net: Tensors, name: str) -> np.ndarray:
    if name not in net:
        raise ForeignLayoutError(f"a network of SPADE should have {name!r}")
    return net[name]


def names(config: SPADEConfig) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file."""
    return {"g_ema": ("netG.", generator_links(config)), "d": ("netD.", discriminator_links(config))}


def constants(config: SPADEConfig) -> dict[str, np.ndarray]:
    """The counters that every batch norm has there; what they say changes nothing while `momentum` is a number."""
    whole = [prefix + name for prefix, links in names(config).values() for name in links]
    ends = [name.removesuffix("running_mean") for name in whole if name.endswith("running_mean")]
    return {f"{name}num_batches_tracked": np.zeros((), np.int64) for name in ends}


LAYOUT = ForeignLayout(
    SPADEConfig, find, names, constants, find_in_context=lambda tensors, context: find(tensors, context.net)
)
