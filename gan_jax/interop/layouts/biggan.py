"""BigGAN pairs in the layout of BigGAN-PyTorch: configuration from shapes, and names.

The layout is that of BigGAN-PyTorch. Blocks are counted there, G's from 4 px upwards and D's from the image downwards;
attention is a block's second part. Each network lies in a file of its own there (`G_ema.pth`, `D.pth`). What their norms
multiply by is 1 + the stored value here too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from gan_jax.config import BigGANConfig
from gan_jax.interop.layouts.layout import (
    DROPPED,
    ForeignLayout,
    ForeignPair,
    Part,
    Tensors,
    kept_generator,
    prefixes,
    under,
)
from gan_jax.interop.links import ForeignLayoutError, Link, Links, MapsLink
from gan_jax.nets.biggan import PUBLISHED, modulation, stages, widths

# ----------------------------------------------------------------------------------------------------------------------
# The configuration of a pair from the names and shapes of its tensors.

MARK = "output_layer.2.weight"  # which only generators have
LATENTS = 20  # in a part, where there is no G to say so


def guess_config(g: Tensors | None, d: Tensors | None = None) -> BigGANConfig:
    """The configuration that a generator's and a discriminator's tensors have; either may be absent.

    Raises:
      ForeignLayoutError: they are none, or do not belong together.
    """
    if g is None and d is None:
        raise ForeignLayoutError(f"these are no tensors of a BigGAN (no {MARK}, no linear.weight)")
    options: dict[str, Any] = {}
    g_widths = d_widths = None
    if g is not None:
        options, g_widths = _generator(g)
    if d is not None:
        d_options, d_widths = _discriminator(d, options.get("resolution"))
        for key in options.keys() & d_options.keys() - {"attention"}:
            if options[key] != d_options[key]:
                raise ForeignLayoutError(f"G has {key} {options[key]}, but D {d_options[key]}; they are no pair")
        options = {**d_options, **options}
    r = options["resolution"]
    if g is None:
        options["z_dim"] = LATENTS * (r.bit_length() - 2)
    return _attention_size(BigGANConfig(**options, **_multipliers(r, g_widths, d_widths)), d)


def _generator(g: Tensors) -> tuple[dict[str, Any], list[int]]:
    """(options, widths from 4 px upwards)."""
    count = _blocks(g)
    missing = [name for name in ("linear.weight", "blocks.0.0.bn1.gain.weight", MARK) if name not in g]
    if missing or not count:
        raise ForeignLayoutError(f"these are no tensors of a BigGAN generator (no {', '.join(missing) or 'blocks'})")
    widths = [g["linear.weight"].shape[0] // 16, *(g[f"blocks.{i}.0.conv1.weight"].shape[0] for i in range(count))]
    table, latents = g["blocks.0.0.bn1.gain.weight"], g["linear.weight"].shape[1]
    if "shared.weight" in g:
        classes, shared = g["shared.weight"].shape
        part = table.shape[1] - shared
    elif _is_table(g, count):
        classes, shared, part = len(table), 0, 0
    else:
        classes, shared, part = 0, BigGANConfig.shared_dim, table.shape[1]
    if part not in (0, latents):
        raise ForeignLayoutError(
            f"G's norms read {table.shape[1]} values, {part} more than the class embedding, but the first layer reads "
            f"{latents} latents; they are parts of one size, or the norms read none"
        )
    options = {
        "resolution": 4 * 2**count,
        "channels": g[MARK].shape[0],
        "num_classes": classes,
        "z_dim": latents * (count + 1 if part else 1),
        "hierarchical": part > 0,
        "shared_dim": shared,
        "attention": tuple(8 * 2**i for i in range(count) if f"blocks.{i}.1.gamma" in g),
        "g_spectral": "linear.u0" in g,
    }
    return options, widths


def _is_table(g: Tensors, count: int) -> bool:
    """Whether the norms hold rows of classes `[classes, C]`; else layers `[C, latents]`."""
    read = [g["linear.weight"].shape[0] // 16, *(g[f"blocks.{i}.0.conv1.weight"].shape[0] for i in range(count - 1))]
    shapes = [g[f"blocks.{i}.0.bn1.gain.weight"].shape for i in range(count)]
    layers = all(shape[0] == n for shape, n in zip(shapes, read)) and shapes[0][1] == g["linear.weight"].shape[1]
    return "blocks.0.0.bn1.gain.u0" not in g and not layers


def _discriminator(d: Tensors, resolution: int | None) -> tuple[dict[str, Any], list[int]]:
    """(options, widths from the image downwards)."""
    count = _blocks(d)
    if not count or "linear.weight" not in d:
        raise ForeignLayoutError("these are no tensors of a BigGAN discriminator (no blocks.0.0.conv1.weight)")
    convs = [[d[f"blocks.{i}.0.conv{j}.weight"].shape for j in (1, 2)] for i in range(count)]
    widths = [second[0] for _, second in convs]
    # A block that keeps size and width has no layer beside it; the last one never halves, whatever its width.
    halvings = min(count - 1, sum(f"blocks.{i}.0.conv_sc.weight" in d for i in range(count)))
    last = 4 if count - halvings == 1 else 8  # the only published one with more than one such block is of 32 px
    size = last if resolution is None else resolution >> halvings
    if size < 4:
        raise ForeignLayoutError(
            f"D halves images {halvings} times, too often for G's {resolution} px; they are no pair"
        )
    options: dict[str, Any] = {
        "resolution": size << halvings,
        "channels": convs[0][0][1],
        "num_classes": len(d["embed.weight"]) if "embed.weight" in d else 0,
        "d_wide": all(first[0] == second[0] for first, second in convs),
    }
    if size != (8 if options["resolution"] == 32 else 4):
        options["d_size"] = size
    return options, widths


def _multipliers(r: int, g: list[int] | None, d: list[int] | None) -> dict[str, Any]:
    """Width and, where they are not the published ones, multipliers."""
    known = PUBLISHED.get(r, (None, None))
    for channels, factors in zip((g, d), known):
        if channels and factors and len(channels) == len(factors) and channels[0] % factors[0] == 0:
            width = channels[0] // factors[0]
            if all(theirs is None or theirs == [width * f for f in ours or ()] for theirs, ours in zip((g, d), known)):
                return {"width": width}
    width = math.gcd(*(g or []), *(d or []))
    factors = [None if widths is None else tuple(n // width for n in widths) for widths in (g, d)]
    if known[0] == factors[0]:
        factors[0] = None
    return {"width": width, "g_multipliers": factors[0], "d_multipliers": factors[1]}


def _attention_size(config: BigGANConfig, d: Tensors | None) -> BigGANConfig:
    """Adds the blocks of D that attention follows, where their sizes do not say it."""
    if d is None:
        return config
    names = [stage.name for stage in stages(config)]
    attending = tuple(name for i, name in enumerate(names) if f"blocks.{i}.1.gamma" in d)
    by_size = tuple(stage.name for stage in stages(config) if stage.attends)
    return config if attending == by_size else dataclasses.replace(config, d_attention=attending)


def _blocks(tensors: Tensors) -> int:
    return sum(name.startswith("blocks.") and name.endswith(".0.conv1.weight") for name in tensors)


# ----------------------------------------------------------------------------------------------------------------------
# Names of leaves in the layout.

IGNORED = {
    ".sv0": "the largest singular value of the last training step, computed again",
    **dict.fromkeys((".sv1", ".sv2", ".u1", ".u2"), "of further singular values, which are only watched"),
    ".accumulation_counter": "how many batches the statistics are sums over; they are divided by it",
    ".num_batches_tracked": "a count of training steps, which nothing reads",
}
STATISTICS = (".stored_", ".bn.stored_", ".bn.running_")  # how running statistics are called, by the kind of batch norm


def generator_links(config: BigGANConfig, statistics: str = STATISTICS[0]) -> Links:
    """Their names of G's tensors.

    Args:
      config: of the networks.
      statistics: one of `STATISTICS`.

    Raises:
      ForeignLayoutError: norms that read neither classes nor latents, which that program does not have.
    """
    if not config.num_classes and not config.hierarchical:
        raise ForeignLayoutError(
            "BigGAN-PyTorch has no generator whose norms read neither classes nor latents; it takes net.hierarchical True, "
            "or classes"
        )
    links: dict[str, Link] = {}

    def weighted(theirs: str, ours: str, kind: Any, bias: bool = True, link: type[Link] = Link) -> None:
        links[f"{theirs}.weight"] = link(f"params/{ours}/kernel", kind)
        links.update({f"{theirs}.bias": link(f"params/{ours}/bias")} if bias else {})
        links.update({f"{theirs}.u0": link(f"spectral/{ours}/u", before=1)} if config.g_spectral else {})

    def norm(theirs: str, ours: str) -> None:
        for leaf in ("mean", "var"):
            links[f"{theirs}{statistics}{leaf}"] = Link(f"batch_stats/{ours}/{leaf}")

    if config.num_classes and config.shared_dim:
        links["shared.weight"] = Link("params/shared/embedding")
    weighted("linear", "stem", "dense", link=MapsLink)
    for i, r in enumerate(list(widths(config))[1:]):
        for theirs, ours in (("conv1", "conv0"), ("conv2", "conv1"), ("conv_sc", "skip")):
            weighted(f"blocks.{i}.0.{theirs}", f"b{r}/{ours}", "conv")
        for theirs, ours in (("bn1", "norm0"), ("bn2", "norm1")):
            norm(f"blocks.{i}.0.{theirs}", f"b{r}/{ours}")
            for part in ("gain", "bias"):
                name = f"blocks.{i}.0.{theirs}.{part}"
                if sum(modulation(config)) and (config.shared_dim or not config.num_classes):
                    weighted(name, f"b{r}/{ours}/{part}", "dense", bias=False)
                else:
                    links[f"{name}.weight"] = Link(f"params/b{r}/{ours}/{part}")
        if r in config.attention:
            _attention(weighted, links, f"blocks.{i}.1", f"b{r}/attention")
    norm("output_layer.0", "to_rgb_norm")
    links |= {f"output_layer.0.{a}": Link(f"params/to_rgb_norm/{b}") for a, b in (("gain", "scale"), ("bias", "bias"))}
    weighted("output_layer.2", "to_rgb", "conv")
    return links


def discriminator_links(config: BigGANConfig) -> Links:
    """Their names of D's tensors.

    Raises:
      ForeignLayoutError: a learned factor of the class term, which they have no place for.
    """
    if config.d_gain:
        raise ForeignLayoutError("BigGAN-PyTorch has no factor of D's class term (net.d_gain)")
    links: dict[str, Link] = {}

    def weighted(theirs: str, ours: str, kind: Any, bias: bool = True) -> None:
        links[f"{theirs}.weight"] = Link(f"params/{ours}/kernel", kind)
        links.update({f"{theirs}.bias": Link(f"params/{ours}/bias")} if bias else {})
        links[f"{theirs}.u0"] = Link(f"spectral/{ours}/u", before=1)

    for i, stage in enumerate(stages(config)):
        skip = [("conv_sc", "skip")] if stage.has_skip else []
        for theirs, ours in (("conv1", "conv0"), ("conv2", "conv1"), *skip):
            weighted(f"blocks.{i}.0.{theirs}", f"{stage.name}/{ours}", "conv")
        if stage.attends:
            _attention(weighted, links, f"blocks.{i}.1", f"{stage.name}/attention")
    weighted("linear", "head", "dense")
    if config.num_classes:
        weighted("embed", "embed", "dense", bias=False)
    return links


def _attention(weighted: Any, links: dict[str, Link], theirs: str, ours: str) -> None:
    links[f"{theirs}.gamma"] = Link(f"params/{ours}/gamma")
    for name in ("theta", "phi", "g", "o"):
        weighted(f"{theirs}.{name}", f"{ours}/{name}", "conv", bias=False)


def find(tensors: Tensors) -> ForeignPair:
    """The networks of a file, under any prefixes or none: both, or one."""
    kept, copies = kept_generator(prefixes(tensors, MARK))
    d_prefix = next((p for p in prefixes(tensors, "linear.weight") if f"{p}{MARK}" not in tensors), None)
    g = None if kept is None else under(tensors, kept)
    d = None if d_prefix is None else under(tensors, d_prefix)
    config = guess_config(g, d)
    parts = {}
    if g is not None and kept is not None:
        spelled = next((s for s in STATISTICS if f"output_layer.0{s}mean" in g), STATISTICS[0])
        parts["g_ema"] = Part(kept, averaged(g), generator_links(config, spelled))
    if d is not None and d_prefix is not None:
        parts["d"] = Part(d_prefix, d, discriminator_links(config))
    left_out = {name: DROPPED for name in tensors if any(name.startswith(p) for p in copies if p != kept)}
    return ForeignPair(config, parts, IGNORED, left_out)


def averaged(g: Tensors) -> dict[str, np.ndarray]:
    """The tensors, with statistics that are sums over batches ("standing" ones) divided by how many these were."""
    averages = dict(g)
    for name, count in g.items():
        if name.endswith(".accumulation_counter") and count.item() > 0:
            for end in ("stored_mean", "stored_var"):
                path = name.removesuffix("accumulation_counter") + end
                averages[path] = (g[path] / count.item()).astype(g[path].dtype)
    return averages


def constants(config: BigGANConfig) -> dict[str, np.ndarray]:
    """The singular values that the program keeps for its protocols, 1 until its next training step."""
    ends = {"G_ema.": generator_links(config), "D.": discriminator_links(config)}
    names = [prefix + name for prefix, links in ends.items() for name in links if name.endswith(".u0")]
    return {name.removesuffix("u0") + "sv0": np.ones(1, np.float32) for name in names}


LAYOUT = ForeignLayout(
    BigGANConfig,
    find,
    lambda config: {"g_ema": ("G_ema.", generator_links(config)), "d": ("D.", discriminator_links(config))},
    constants,
)
