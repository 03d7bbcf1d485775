"""StyleGAN2 pairs in the layout of stylegan2-ada-pytorch and of the stylegan3 repository: names, shapes, configuration.

Weights are stored there as here, before the equalised learning rate's gain. Channels come first there, and the kernel
of an up-sampling layer has the same orientation as ours (a true convolution), so that no axis is flipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.layouts.layout import nvidia_layout
from gan_jax.interop.links import ForeignLayoutError, Link, Links
from gan_jax.nets.stylegan2 import widths

IGNORED = {"resample_filter": "a constant, the FIR filter [1, 3, 3, 1]"}


def generator_links(config: StyleGAN2Config) -> Links:
    """Their names of G's tensors."""
    links = {**_mapping(config.mapping_layers, config.num_classes), "mapping.w_avg": Link("moving/mapping/w_avg")}
    for r in widths(config):
        theirs, ours = f"synthesis.b{r}", f"params/synthesis/b{r}"
        if r == 4:
            links[f"{theirs}.const"] = Link(f"{ours}/const", "maps")
        for name in ("conv1",) if r == 4 else ("conv0", "conv1"):
            links |= {
                **_styled(f"{theirs}.{name}", f"{ours}/{name}"),
                f"{theirs}.{name}.noise_strength": Link(f"{ours}/{name}/noise_strength"),
                f"{theirs}.{name}.noise_const": Link(f"constants/synthesis/b{r}/{name}/noise"),
            }
        links |= _styled(f"{theirs}.torgb", f"{ours}/to_rgb")
    return links


def discriminator_links(config: StyleGAN2Config) -> Links:
    """Their names of D's tensors."""
    links: dict[str, Link] = {}
    sizes = list(reversed(widths(config)))

    def conv(theirs: str, ours: str, bias: bool = True) -> None:
        links[f"{theirs}.weight"] = Link(f"params/{ours}/kernel", "conv")
        if bias:
            links[f"{theirs}.bias"] = Link(f"params/{ours}/bias")

    for r in sizes:
        if r == config.resolution or config.discriminator == "skip":
            conv(f"b{r}.fromrgb", f"b{r}/from_rgb")
        if r == 4:
            break
        conv(f"b{r}.conv0", f"b{r}/conv0")
        conv(f"b{r}.conv1", f"b{r}/conv1")
        if config.discriminator == "residual":
            conv(f"b{r}.skip", f"b{r}/skip", bias=False)
    conv("b4.conv", "b4/conv")
    links |= {"b4.fc.weight": Link("params/b4/fc/kernel", "flat"), "b4.fc.bias": Link("params/b4/fc/bias")}
    links |= {"b4.out.weight": Link("params/b4/out/kernel", "dense"), "b4.out.bias": Link("params/b4/out/bias")}
    return links | (_mapping(config.d_mapping_layers, config.num_classes) if config.num_classes else {})


def guess_config(g: Mapping[str, np.ndarray], d: Mapping[str, np.ndarray] | None = None) -> StyleGAN2Config:
    """The configuration that a generator's (and a discriminator's) tensors have, from names and shapes alone.

    Raises:
      ForeignLayoutError: this is no such generator.
    """
    sizes = sorted(int(m[1]) for name in g if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name)))
    if not sizes or sizes[0] != 4 or "mapping.w_avg" not in g or "synthesis.b4.const" not in g:
        raise ForeignLayoutError("these are no tensors of a StyleGAN2 generator (no synthesis.b4.const, mapping.w_avg)")
    width = {r: g[f"synthesis.b{r}.conv1.weight"].shape[0] for r in sizes}
    largest = max(width.values())
    narrow = [r for r in sizes if width[r] < largest]
    base = width[narrow[0]] * narrow[0] if narrow else largest * sizes[-1]
    classes = g["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in g else 0
    w_dim = g["mapping.w_avg"].shape[0]
    options: dict[str, Any] = {}
    if d is not None:
        below = [name for name in d if re.fullmatch(r"b\d+\.fromrgb\.weight", name)]
        residual = f"b{sizes[-1]}.skip.weight" in d
        options["discriminator"] = "residual" if residual else "skip" if len(below) > 1 else "orig"
        options["d_mapping_layers"] = _count(d)
        features = d["b4.conv.weight"]
        options["mbstd_group"] = 4 if features.shape[1] > features.shape[0] else 0
    return StyleGAN2Config(
        resolution=sizes[-1],
        channels=g[f"synthesis.b{sizes[-1]}.torgb.weight"].shape[0],
        num_classes=classes,
        z_dim=g["mapping.fc0.weight"].shape[1] - (w_dim if classes else 0),
        w_dim=w_dim,
        mapping_layers=_count(g),
        channel_base=base,
        channel_max=largest,
        **options,
    )


def _count(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in tensors)


def _mapping(layers: int, classes: int) -> dict[str, Link]:
    names = [*(["embed"] if classes else []), *(f"fc{i}" for i in range(layers))]
    return {key: link for n in names for key, link in _dense(f"mapping.{n}", f"params/mapping/{n}").items()}


def _styled(theirs: str, ours: str) -> dict[str, Link]:
    return {
        f"{theirs}.weight": Link(f"{ours}/kernel", "conv"),
        f"{theirs}.bias": Link(f"{ours}/bias"),
        **_dense(f"{theirs}.affine", f"{ours}/affine"),
    }


def _dense(theirs: str, ours: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"{ours}/kernel", "dense"), f"{theirs}.bias": Link(f"{ours}/bias")}


LAYOUT = nvidia_layout(StyleGAN2Config, guess_config, generator_links, discriminator_links, IGNORED)
