"""The configuration of a StyleGAN2 pair from its tensors, and from what its networks were made with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.foreign import Recorded
from gan_jax.interop.links import ForeignLayoutError

# names of layers, an attribute, and its value in ours, which has no choice of it
ONLY = (
    (r"(G\.synthesis|D)\..+\.(conv0|conv1|conv|fromrgb|fc)", "activation", "lrelu"),
    (r"[GD]\.mapping\.fc\d+", "activation", "lrelu"),
    (r"[GD]\.mapping\.fc\d+", "bias_gain", 0.01),  # the multiplier of its learning rate
    (r"G\.synthesis\.b\d+", "architecture", "skip"),
    (r"G\.synthesis\.b\d+\.conv[01]", "use_noise", True),
    (r"D\.b4\.mbstd", "num_channels", 1),
)


def guess_config(g: Mapping[str, np.ndarray], d: Mapping[str, np.ndarray] | None = None) -> StyleGAN2Config:
    """The configuration that a generator's (and a discriminator's) tensors have, from names and shapes alone.

    Raises:
      ForeignLayoutError: this is no such generator.
    """
    sizes = sorted(int(m[1]) for name in g if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name)))
    if not sizes or sizes[0] != 4 or "mapping.w_avg" not in g or "synthesis.b4.const" not in g:
        raise ForeignLayoutError("these are no tensors of a StyleGAN2 generator (no synthesis.b4.const, mapping.w_avg)")
    width = {r: g[f"synthesis.b{r}.conv1.weight"].shape[0] for r in sizes}
    base, largest = base_and_max(width)
    classes = g["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in g else 0
    w_dim = g["mapping.w_avg"].shape[0]
    options: dict[str, Any] = {}
    if d is not None:
        below = [name for name in d if re.fullmatch(r"b\d+\.fromrgb\.weight", name)]
        residual = f"b{sizes[-1]}.skip.weight" in d
        options["discriminator"] = "residual" if residual else "skip" if len(below) > 1 else "orig"
        options |= {"d_mapping_layers": _count(d)} if classes else {}  # an unconditional D has no mapping to count
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


def base_and_max(width: Mapping[int, int]) -> tuple[int, int]:
    """`channel_base` and `channel_max` of the widths at every resolution.

    Raises:
      ForeignLayoutError: there are none that make these widths.
    """
    largest = max(width.values())
    narrow = [r for r in width if width[r] < largest]
    base = width[narrow[0]] * narrow[0] if narrow else largest * max(width)
    if wrong := [r for r in width if width[r] != min(base // r, largest)]:
        raise ForeignLayoutError(
            f"the generator has {width[wrong[0]]} channels at {wrong[0]} px; ours are min(channel_base / r, channel_max)"
            f" at r px, which would be {min(base // wrong[0], largest)} there"
        )
    return base, largest


def refine(config: StyleGAN2Config, records: Mapping[str, Recorded]) -> StyleGAN2Config:
    """The configuration with what shapes do not tell, as the layers of a pickle say it of themselves.

    Args:
      config: from shapes.
      records: of all objects of the networks, by names such as `G.synthesis.b8.conv1` and `D.b4.mbstd`.

    Raises:
      ForeignLayoutError: a layer computes something else than ours: another gain, activation or architecture.
    """
    for name, record in records.items():
        for pattern, key, expected in ONLY:
            if re.fullmatch(pattern, name) and record.state.get(key, expected) != expected:
                raise ForeignLayoutError(
                    f"{name} was made with {key}={record.state[key]!r}; our StyleGAN2 has {expected!r} there"
                )
    clamps = {float(clamp) for record in records.values() if (clamp := record.state.get("conv_clamp")) is not None}
    if len(clamps) > 1:
        raise ForeignLayoutError(f"layers are cut at +- {sorted(clamps)}; ours all at one value")
    changes: dict[str, Any] = {"clamp": clamps.pop()} if clamps else {}
    if config.mbstd_group and "D.b4.mbstd" in records:
        if (group := records["D.b4.mbstd"].state.get("group_size", config.mbstd_group)) is None:
            raise ForeignLayoutError(
                "D.b4.mbstd compares all images of a batch (group_size=None); ours, groups of them"
            )
        changes["mbstd_group"] = group
    return dataclasses.replace(config, **changes)


def _count(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in tensors)
