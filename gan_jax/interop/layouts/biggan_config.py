"""The configuration of a BigGAN pair from the names and shapes of its tensors in BigGAN-PyTorch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.config import BigGANConfig
from gan_jax.interop.links import ForeignLayoutError
from gan_jax.nets.biggan import PUBLISHED
from gan_jax.nets.biggan_d import stages

Tensors = Mapping[str, np.ndarray]
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
    return _attention(BigGANConfig(**options, **_multipliers(r, g_widths, d_widths)), d)


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
    for widths, factors in zip((g, d), known):
        if widths and factors and len(widths) == len(factors) and widths[0] % factors[0] == 0:
            width = widths[0] // factors[0]
            if all(theirs is None or theirs == [width * f for f in ours or ()] for theirs, ours in zip((g, d), known)):
                return {"width": width}
    width = math.gcd(*(g or []), *(d or []))
    factors = [None if widths is None else tuple(n // width for n in widths) for widths in (g, d)]
    if known[0] == factors[0]:
        factors[0] = None
    return {"width": width, "g_multipliers": factors[0], "d_multipliers": factors[1]}


def _attention(config: BigGANConfig, d: Tensors | None) -> BigGANConfig:
    """Adds the blocks of D that attention follows, where their sizes do not say it."""
    if d is None:
        return config
    names = [stage.name for stage in stages(config)]
    attending = tuple(name for i, name in enumerate(names) if f"blocks.{i}.1.gamma" in d)
    by_size = tuple(stage.name for stage in stages(config) if stage.attends)
    return config if attending == by_size else dataclasses.replace(config, d_attention=attending)


def _blocks(tensors: Tensors) -> int:
    return sum(name.startswith("blocks.") and name.endswith(".0.conv1.weight") for name in tensors)
