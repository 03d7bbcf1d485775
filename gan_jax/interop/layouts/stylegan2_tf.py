"""StyleGAN2 pairs of the TensorFlow repositories (stylegan2, stylegan2-ada), read as their PyTorch heir names them.

Kernels lie there as here, but those of up-sampling layers are turned by 180 degrees; the modulation's bias lacks the 1
that it starts from; dense kernels are `[in, out]`. StyleGAN1 has other layers, and is not known.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.foreign import Recorded
from gan_jax.interop.layouts.layout import Tensors
from gan_jax.interop.links import ForeignLayoutError

Turn = Callable[[np.ndarray], np.ndarray]
MARK = "synthesis.4x4/Const/const"  # which only a generator of TensorFlow has
LEFT = {"lod": "how far progressive growing had come; these networks do not grow so"}
# what networks may be made with -> the values that ours stand for
ONLY: dict[str, tuple[Any, ...]] = {
    "nonlinearity": ("lrelu",),
    "mapping_nonlinearity": ("lrelu",),
    "mapping_lrmul": (0.01,),
    "normalize_latents": (True,),
    "resample_kernel": ([1, 3, 3, 1], (1, 3, 3, 1)),
    "mbstd_num_features": (1,),
    "fused_modconv": (True, False),
}


def as_torch(prefix: str, tensors: Tensors) -> dict[str, tuple[str, np.ndarray]]:
    """Their names -> (the name in PyTorch, the array as it lies there), of one network's tensors.

    Args:
      prefix: `G`, or `D`.
      tensors: by their names, without the network's prefix.

    Raises:
      ForeignLayoutError: a tensor that no rule knows.
    """
    renamed = {}
    for name, array in tensors.items():
        if name in LEFT:
            continue
        named = _generator(name) if prefix == "G" else _discriminator(name)
        if named is None:
            raise ForeignLayoutError(f"{prefix} has a tensor {name!r} {list(array.shape)} that StyleGAN2 has not")
        renamed[name] = (named[0], named[1](array))
    return renamed


def refine(config: StyleGAN2Config, made_with: Mapping[str, Recorded]) -> StyleGAN2Config:
    """The configuration with what shapes do not tell, as the networks `G` and `D` say it of themselves.

    Raises:
      ForeignLayoutError: one was made in another way than ours are.
    """
    settings = {network: record.kwargs for network, record in made_with.items()}
    for network, key, values in [(network, *rule) for network in settings for rule in ONLY.items()]:
        if key in settings[network] and settings[network][key] not in values:
            raise ForeignLayoutError(
                f"{network} was made with {key}={settings[network][key]!r}; our StyleGAN2 has {values[0]!r}"
            )
    if settings.get("G", {}).get("architecture", "skip") != "skip":
        raise ForeignLayoutError(f"G has the architecture {settings['G']['architecture']!r}; our StyleGAN2 has 'skip'")
    clamps = {float(clamp) for kwargs in settings.values() if (clamp := kwargs.get("conv_clamp")) is not None}
    if len(clamps) > 1:
        raise ForeignLayoutError(f"networks are cut at +- {sorted(clamps)}; ours at one value")
    changes: dict[str, Any] = {"clamp": clamps.pop()} if clamps else {}
    if config.mbstd_group and (group := settings.get("D", {}).get("mbstd_group_size")):
        changes["mbstd_group"] = group
    return dataclasses.replace(config, **changes)


SAME: Turn = lambda array: array
DENSE: Turn = lambda array: array.T
CONV: Turn = lambda array: array.transpose(3, 2, 0, 1)
TURNED: Turn = lambda array: array[::-1, ::-1].transpose(3, 2, 0, 1)
AFFINE: dict[str, tuple[str, Turn]] = {
    "bias": ("bias", SAME),
    "mod_weight": ("affine.weight", DENSE),
    "mod_bias": ("affine.bias", lambda array: array + np.float32(1)),
    "noise_strength": ("noise_strength", lambda array: array.reshape(())),
}
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}
D_LAYERS = {
    "FromRGB": "fromrgb",
    "Conv0": "conv0",
    "Conv1_down": "conv1",
    "Skip": "skip",
    "Conv": "conv",
    "Dense0": "fc",
}


def _generator(name: str) -> tuple[str, Turn] | None:
    if name == "dlatent_avg":
        return "mapping.w_avg", SAME
    if name == MARK:
        return "synthesis.b4.const", lambda array: array[0]
    if match := re.fullmatch(r"mapping\.(?:Dense(\d+)|LabelEmbed)/(weight|bias)", name):
        layer = "embed" if match[1] is None else f"fc{match[1]}"
        return f"mapping.{layer}.{match[2]}", DENSE if match[2] == "weight" else SAME
    if match := re.fullmatch(r"synthesis\.noise(\d+)", name):  # 4 px: 0; r px: 2 log2(r) - 5 and - 4
        k = int(match[1])
        r, layer = 2 ** ((k + 5) // 2), "conv0" if k % 2 else "conv1"
        return f"synthesis.b{r}.{layer}.noise_const", lambda array: array[0, 0]
    if match := re.fullmatch(r"synthesis\.(\d+)x\1/(\w+)/(\w+)", name):
        r, layer, leaf = match.groups()
        if layer in LAYERS and (layer == "Conv") <= (r == "4"):
            place = f"synthesis.b{r}.{LAYERS[layer]}"
            if leaf == "weight":
                return f"{place}.weight", TURNED if layer == "Conv0_up" else CONV
            if leaf in AFFINE:
                return f"{place}.{AFFINE[leaf][0]}", AFFINE[leaf][1]
    return None


def _discriminator(name: str) -> tuple[str, Turn] | None:
    if match := re.fullmatch(r"(Output|LabelEmbed|Mapping(\d+))/(weight|bias)", name):
        layer = {"Output": "b4.out", "LabelEmbed": "mapping.embed"}.get(match[1], f"mapping.fc{match[2]}")
        return f"{layer}.{match[3]}", DENSE if match[3] == "weight" else SAME
    if match := re.fullmatch(r"(\d+)x\1/(\w+)/(weight|bias)", name):
        r, layer, leaf = match.groups()
        if layer in D_LAYERS:
            turn = SAME if leaf == "bias" else DENSE if layer == "Dense0" else CONV
            return f"b{r}.{D_LAYERS[layer]}.{leaf}", turn
    return None
