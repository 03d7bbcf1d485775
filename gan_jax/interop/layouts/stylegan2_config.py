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

# arguments that our networks have no choice of -> the values that ours are (the first one is their default)
FIXED = {"activation": ("lrelu",), "lr_multiplier": (0.01,), "mbstd_num_channels": (1, 0), "use_noise": (True,)}


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


def refine(config: StyleGAN2Config, made_with: Mapping[str, Recorded]) -> StyleGAN2Config:
    """The configuration with what shapes do not tell, as the networks of a pickle say it of themselves.

    Raises:
      ForeignLayoutError: they compute something else than ours: another gain, filter, activation or architecture.
    """
    kwargs = {name: _merged(record.kwargs) for name, record in made_with.items()}
    for network, said in kwargs.items():
        for key, values in FIXED.items():
            if said.get(key, values[0]) not in values:
                raise ForeignLayoutError(
                    f"{network} was made with {key}={said[key]!r}; our StyleGAN2 has {' or '.join(map(str, values))}"
                )
    if kwargs.get("G", {}).get("architecture", "skip") != "skip":
        raise ForeignLayoutError(f"G has the architecture {kwargs['G']['architecture']!r}; our StyleGAN2 has 'skip'")
    d = kwargs.get("D", {})
    if (group := d.get("mbstd_group_size", 4)) is None:
        raise ForeignLayoutError(
            "D compares all images of a batch (mbstd_group_size=None); ours compares groups of them"
        )
    clamps = {clamp for said in kwargs.values() if (clamp := said.get("conv_clamp")) is not None}
    return dataclasses.replace(
        config,
        mbstd_group=group if config.mbstd_group and "D" in kwargs else config.mbstd_group,
        clamp=float(clamps.pop()) if len(clamps) == 1 else config.clamp,
    )


def _merged(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Named arguments with those for the parts (`mapping_kwargs`, `epilogue_kwargs`) among them."""
    inner = [_merged(value) for key, value in kwargs.items() if key.endswith("_kwargs") and isinstance(value, dict)]
    return {
        **{k: v for k, v in kwargs.items() if not isinstance(v, dict)},
        **{k: v for d in inner for k, v in d.items()},
    }


def _count(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in tensors)
