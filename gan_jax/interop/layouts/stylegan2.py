"""StyleGAN2 pairs in NVIDIA's layouts, of PyTorch and of TensorFlow: configuration from shapes, and names.

The PyTorch layout is that of stylegan2-ada-pytorch and of the stylegan3 repository. Weights are stored there as here, before
the equalised learning rate's gain. Channels come first there, and the kernel of an up-sampling layer has the same
orientation as ours (a true convolution), so that no axis is flipped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.foreign import Recorded
from gan_jax.interop.layouts.layout import DROPPED, NO_CONTEXT, FileContext, ForeignPair, Part, Tensors, under
from gan_jax.interop.layouts.nvidia import FIR, nvidia_layout
from gan_jax.interop.links import ForeignLayoutError, Link, Links
from gan_jax.nets.stylegan2 import widths

# ----------------------------------------------------------------------------------------------------------------------
# The configuration of a StyleGAN2 pair from its tensors, and from what its networks were made with.

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


# ----------------------------------------------------------------------------------------------------------------------
# StyleGAN2 pairs of the TensorFlow repositories (stylegan2, stylegan2-ada), read as their PyTorch heir names them.
#
# Kernels lie there as here, but those of up-sampling layers are turned by 180 degrees; the modulation's bias lacks the 1
# that it starts from; dense kernels are `[in, out]`. StyleGAN1 has other layers, and is not known.

Turn = Callable[[np.ndarray], np.ndarray]
MARK = "synthesis.4x4/Const/const"  # which only a generator of TensorFlow has
LEFT = {"lod": "how far progressive growing had come; these networks do not grow so"}
# what networks may be made with -> the values that ours stand for
TF_ONLY: dict[str, tuple[Any, ...]] = {
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


def refine_tf(config: StyleGAN2Config, made_with: Mapping[str, Recorded]) -> StyleGAN2Config:
    """The configuration with what shapes do not tell, as the networks `G` and `D` say it of themselves.

    Raises:
      ForeignLayoutError: one was made in another way than ours are.
    """
    settings = {network: record.kwargs for network, record in made_with.items()}
    for network, key, values in [(network, *rule) for network in settings for rule in TF_ONLY.items()]:
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


# ----------------------------------------------------------------------------------------------------------------------
# Names of leaves in the layout of PyTorch.

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


def constants(config: StyleGAN2Config) -> dict[str, np.ndarray]:
    """The filters that the reference keeps with every block and every layer that may resample."""
    places = []
    for r in widths(config):
        layers = ("conv1",) if r == 4 else ("conv0", "conv1")
        places += [f"G_ema.synthesis.b{r}", *(f"G_ema.synthesis.b{r}.{layer}" for layer in layers)]
    for r in widths(config):
        rgb = ["fromrgb"] if r == config.resolution or config.discriminator == "skip" else []
        skip = ["skip"] if config.discriminator == "residual" else []
        layers = [*rgb, "conv"] if r == 4 else [*rgb, "conv0", "conv1", *skip]
        places += [*([f"D.b{r}"] if r > 4 else []), *(f"D.b{r}.{layer}" for layer in layers)]
    return {f"{place}.resample_filter": FIR for place in places}


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


def from_tensorflow(tensors: Tensors, context: FileContext) -> ForeignPair:
    """The pair of a pickle of the TensorFlow repositories, which holds `Gs`, the moving average of `G`, and `D`."""
    kept = "Gs." if f"Gs.{MARK}" in tensors else "G."
    nets = {"G": as_torch("G", under(tensors, kept)), "D": as_torch("D", under(tensors, "D."))}
    state = {name: dict(net.values()) for name, net in nets.items()}
    config = guess_config(state["G"], state["D"] or None)
    made_with = {"G": context.stubs.get(kept[:-1]), "D": context.stubs.get("D")}
    config = refine_tf(config, {name: record for name, record in made_with.items() if record})
    links = {"G": generator_links(config), "D": discriminator_links(config)}
    parts = {}
    for root, name, prefix in (("g_ema", "G", kept), ("d", "D", "D.")):
        known = {theirs: links[name][torch] for theirs, (torch, _) in nets[name].items() if torch in links[name]}
        if nets[name]:
            parts[root] = Part(prefix, {theirs: array for theirs, (_, array) in nets[name].items()}, known)
    left_out = {n: why for n in tensors for end, why in LEFT.items() if n.rpartition(".")[2] == end}
    left_out |= {name: DROPPED for name in tensors if kept == "Gs." and name.startswith("G.")}
    return ForeignPair(config, parts, {}, left_out)


TORCH = nvidia_layout(
    StyleGAN2Config,
    guess_config,
    generator_links,
    discriminator_links,
    IGNORED,
    ("synthesis.b4.const", "b4.out.weight"),
    constants,
    refine,
)


def find(tensors: Tensors, context: FileContext = NO_CONTEXT) -> ForeignPair:
    """A pair of either program."""
    assert TORCH.find_in_context is not None
    if any(name.endswith(MARK) for name in tensors):
        return from_tensorflow(tensors, context)
    return TORCH.find_in_context(tensors, context)


LAYOUT = dataclasses.replace(TORCH, find=find, find_in_context=find)
