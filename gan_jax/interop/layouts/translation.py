"""Networks from images to images in the layouts of pytorch-CycleGAN-and-pix2pix and of CUT.

Each network is a sequence of modules, whose names count those without tensors, too: paddings, activations, filters, and
dropout inside a block. Every network lies in a file of its own there (`latest_net_G_A.pth`), without a prefix; files of
others hold several under `netG`, `G_A` and the like. A generator and its discriminator are one pair of ours: of CycleGAN's
four networks those of the first generator in the file, and the other two where that is left out. CUT's F is a third
network, `f`.

Shapes do not tell whether instance norm has statistics of its own to use: published networks do not, and statistics that
old files hold are left out. Batch norm is told by kernels without a bias.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.interop.layouts.layout import ForeignLayout, ForeignPair, Part, Tensors, prefixes, under
from gan_jax.interop.links import ForeignLayoutError, JoinedLink, Kind, Link, Links
from gan_jax.nets import patchgan, unet
from gan_jax.nets.patch_features import make_patch_mlp

Config = UNetConfig | TranslatorConfig
MOST_MAPS = 64  # MLPs of F that are written, one for each contrasted map; there are steps for no more
NormKind = Literal["batch", "instance", "none"]
IGNORED = {
    "num_batches_tracked": "a counter of training steps",
    "running_mean": "statistics of instance norm, which takes those of each image",
    "running_var": "statistics of instance norm, which takes those of each image",
}
INSIDE = "conv_block"  # the name of a residual block's layers there; programs after their example have others
BLOCK = re.compile(r"model\.(\d+)\.(\w+)\.(\d+)\.weight")
FILTER = "a filter, which is part of the network here"
DOWN, UP = np.outer([1, 2, 1], [1, 2, 1]) / 16, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16


# ----------------------------------------------------------------------------------------------------------------------
# Names of tensors.


def generator_links(config: Config, inside: str = INSIDE) -> Links:
    """Their names of G's tensors; `inside` is the name of a residual block's layers."""
    return _unet_links(config) if isinstance(config, UNetConfig) else _resnet_links(config, inside)


def _unet_links(config: UNetConfig) -> Links:
    bias, width = config.norm == "instance", unet.widths(config)
    links, start = _layer("model.model.0", "down1/conv", "conv", bias), "model.model.1.model."
    for i in range(2, config.depth):
        links |= _layer(f"{start}1", f"down{i}/conv", "conv", bias) | _norm(f"{start}2", f"down{i}/norm", config)
        links |= _layer(f"{start}5", f"up{i}/conv", "transposed", bias, (f"up{i}/skip", width[i - 1]))
        links |= _norm(f"{start}6", f"up{i}/norm", config)
        start += "3.model."
    i = config.depth
    links |= _layer(f"{start}1", f"down{i}/conv", "conv", bias)
    links |= _layer(f"{start}3", f"up{i}/conv", "transposed", bias) | _norm(f"{start}4", f"up{i}/norm", config)
    return links | _layer("model.model.3", "to_rgb/conv", "transposed", True, ("to_rgb/skip", width[0]))


def _resnet_links(config: TranslatorConfig, inside: str) -> Links:
    bias, smooth = config.norm == "instance", config.antialias
    links: dict[str, Link] = {}
    place = 1
    for name in ("stem", "down1", "down2"):
        links |= _layer(f"model.{place}", f"{name}/conv", "conv", bias)
        links |= _norm(f"model.{place + 1}", f"{name}/norm", config)
        place += 4 if smooth and name != "stem" else 3
    for i in range(config.blocks):
        for j, inner in enumerate((1, 6 if config.dropout else 5)):
            links |= _layer(f"model.{place}.{inside}.{inner}", f"block{i}/conv{j}", "conv", bias)
            links |= _norm(f"model.{place}.{inside}.{inner + 1}", f"block{i}/norm{j}", config)
        place += 1
    for name in ("up2", "up1"):
        place += smooth
        links |= _layer(f"model.{place}", f"{name}/conv", "conv" if smooth else "transposed", bias)
        links |= _norm(f"model.{place + 1}", f"{name}/norm", config)
        place += 3
    return links | _layer(f"model.{place + 1}", "to_rgb", "conv", True)


def discriminator_links(config: Config) -> Links:
    """Their names of D's tensors."""
    norm = config.d_norm or config.norm
    bias, blocks = norm == "instance", patchgan.blocks(config)
    first = ("from_rgb/input", config.in_channels) if config.d_condition else None
    if config.d_kind == "pixel":
        links = _layer("net.0", "from_rgb/conv", "conv", True, first) | _layer("net.2", "layer1/conv", "conv", bias)
        return links | _norm("net.3", "layer1/norm", config, norm) | _layer("net.5", "head", "conv", bias)
    smooth = isinstance(config, TranslatorConfig) and config.antialias
    links, place = _layer("model.0", "from_rgb/conv", "conv", True, first), 3 if smooth else 2
    for i, name in enumerate(blocks[1:], 1):
        links |= _layer(f"model.{place}", f"{name}/conv", "conv", bias)
        links |= _norm(f"model.{place + 1}", f"{name}/norm", config, norm)
        place += 4 if smooth and i < config.d_layers else 3
    return links | _layer(f"model.{place}", "head", "conv", True)


def mlp_links(count: int) -> Links:
    """Their names of the tensors of CUT's F, with so many MLPs."""
    links: dict[str, Link] = {}
    for i in range(count):
        for j, theirs in enumerate((0, 2)):
            links |= _layer(f"mlp_{i}.{theirs}", f"mlp{i}/fc{j}", "dense", True)
    return links


def filters(config: Config) -> dict[str, dict[str, np.ndarray]]:
    """CUT's filters by our root and their name there."""
    if not isinstance(config, TranslatorConfig) or not config.antialias:
        return {"g_ema": {}, "d": {}}
    w, after = config.width, 12 + config.blocks
    g = {"model.7": (DOWN, 2 * w), "model.11": (DOWN, 4 * w), f"model.{after}": (UP, 4 * w)}
    g[f"model.{after + 4}"] = (UP, 2 * w)
    halving = range(config.d_layers) if config.d_kind == "patch" else ()
    d = {f"model.{2 + 4 * i}": (DOWN, patchgan.widths(config)[i]) for i in halving}
    make = lambda places: {
        f"{place}.filt": np.broadcast_to(values.astype(np.float32), (n, 1, *values.shape)).copy()
        for place, (values, n) in places.items()
    }
    return {"g_ema": make(g), "d": make(d)}


def _layer(theirs: str, ours: str, kind: Kind, bias: bool, first: tuple[str, int] | None = None) -> dict[str, Link]:
    """A kernel and its bias; `first` is the layer that reads the first channels, where the kernel is two here."""
    path = f"params/{ours}/kernel"
    others = () if first is None else ((f"params/{first[0]}/kernel", first[1]),)
    links: dict[str, Link] = {f"{theirs}.weight": JoinedLink(path, kind, others=others) if others else Link(path, kind)}
    return links | ({f"{theirs}.bias": Link(f"params/{ours}/bias")} if bias else {})


def _norm(theirs: str, ours: str, config: Config, kind: NormKind | None = None) -> dict[str, Link]:
    kind = kind or config.norm
    links = {f"{theirs}.weight": Link(f"params/{ours}/scale"), f"{theirs}.bias": Link(f"params/{ours}/bias")}
    if kind == "batch":
        links |= {f"{theirs}.running_mean": Link(f"batch_stats/{ours}/mean")}
        links |= {f"{theirs}.running_var": Link(f"batch_stats/{ours}/var")}
    return links if kind == "batch" or (kind == "instance" and config.affine) else {}


# ----------------------------------------------------------------------------------------------------------------------
# Configurations from shapes.


def find(tensors: Tensors) -> ForeignPair:
    """A generator, a discriminator, CUT's F, or several of them; of CycleGAN's four networks those of one direction."""
    taken, left_out = _one_direction(tensors)
    if not taken:
        raise ForeignLayoutError(
            "no network from images to images: no U-Net (model.model.0.weight of 4x4 px), no ResNet (model.1.weight of "
            "7x7 px), no discriminator of patches or pixels (model.0 or net.0 with a bias)"
        )
    networks = {root: under(tensors, prefix) for root, (_, prefix) in taken.items()}
    config = guess_config(networks, {root: kind for root, (kind, _) in taken.items()})
    parts, known, nets = {}, filters(config), {}
    for root, (_, prefix) in taken.items():
        kept = networks[root]
        if not prefix:  # names of other networks may begin with any
            kept = {name: array for name, array in kept.items() if name not in left_out}
        if root == "f":
            f_widths = tuple(
                array.shape[1] for name, array in kept.items() if re.fullmatch(r"mlp_\d+\.0\.weight", name)
            )
            nets["f"] = make_patch_mlp(f_widths, kept["mlp_0.0.weight"].shape[0])
            links = mlp_links(len(f_widths))
        elif root == "d":
            links = discriminator_links(config)
        else:
            links = generator_links(config, next((m[2] for n in kept if (m := BLOCK.fullmatch(n))), INSIDE))
        for name, values in known.get(root, {}).items():
            _check_filter(prefix + name, kept.pop(name, None), values)
            left_out[prefix + name] = FILTER
        parts[root] = Part(prefix, kept, links)
    return ForeignPair(config, parts, IGNORED, left_out, nets=nets)


def _one_direction(tensors: Tensors) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """(our root -> kind and prefix of the network that is read, name of a tensor of any other -> why it is not)."""
    every = {root: [row for row in _networks(tensors) if ROOTS[row[0]] == root] for root in ("g_ema", "d", "f")}
    taken = {root: rows[0] for root, rows in every.items() if rows}
    if "g_ema" in taken and (wanted := _judge(taken["g_ema"][1])):
        taken["d"] = next((row for row in every["d"] if row[1].endswith(wanted)), taken.get("d", ("", "")))
        taken = {root: row for root, row in taken.items() if row[0]}
    left_out: dict[str, str] = {}
    for root, rows in every.items():
        for _, prefix in [row for row in rows if row != taken[root]]:
            why = f"of the other direction; to read it, leave out the one that is read: --ignore '{taken[root][1]}*'"
            left_out |= {name: why for name in tensors if name.startswith(prefix)}
    return taken, left_out


def _judge(prefix: str) -> str:
    """How the prefix of the discriminator of a generator's images ends: `D_A.` of `netG_A.`, `D_B.` of `G_AB.` or `G_A2B.`."""
    found = re.search(r"G_?([AB])(?:2?([AB]))?\.$", prefix)
    return "" if found is None else f"D_{found[2] or found[1]}."


ROOTS = {"unet": "g_ema", "resnet": "g_ema", "patch": "d", "pixel": "d", "mlp": "f"}


def _networks(tensors: Tensors) -> Iterator[tuple[str, str]]:
    """The networks in a file: (kind, the beginning of their names)."""
    shape = lambda name: tensors[name].shape[2:] if name in tensors else None
    for prefix in prefixes(tensors, "model.model.0.weight"):
        if shape(f"{prefix}model.model.0.weight") == (4, 4):
            yield "unet", prefix
    for prefix in prefixes(tensors, "model.1.weight"):
        if shape(f"{prefix}model.1.weight") == (7, 7):
            yield "resnet", prefix
    for prefix in prefixes(tensors, "model.0.weight"):
        inside = prefix.endswith("model.")  # of a U-Net
        if shape(f"{prefix}model.0.weight") == (4, 4) and f"{prefix}model.0.bias" in tensors and not inside:
            yield "patch", prefix
    for prefix in prefixes(tensors, "net.0.weight"):
        if shape(f"{prefix}net.0.weight") == (1, 1) and shape(f"{prefix}net.5.weight") == (1, 1):
            yield "pixel", prefix
    for prefix in prefixes(tensors, "mlp_0.0.weight"):
        yield "mlp", prefix


def guess_config(networks: Mapping[str, Tensors], kinds: Mapping[str, str]) -> Config:
    """The configuration of networks by their shapes and names.

    What these do not tell is as published: the size of training images, dropout in a U-Net, the initialisation.

    Args:
      networks: our root -> tensors without prefix.
      kinds: our root -> "unet", "resnet", "patch" or "pixel".
    """
    config: Config = TranslatorConfig(antialias=True, init="xavier") if [*networks] == ["f"] else TranslatorConfig()
    if "g_ema" in networks:
        config = {"unet": _unet_config, "resnet": _resnet_config}[kinds["g_ema"]](networks["g_ema"])
    if "d" not in networks:
        return config
    return _with_d(config, networks["d"], kinds["d"], alone="g_ema" not in networks)


def _unet_config(g: Tensors) -> UNetConfig:
    start, depth = "model.model.1.model.", 2
    while f"{start}3.model.1.weight" in g:
        start, depth = f"{start}3.model.", depth + 1
    first, last = g["model.model.0.weight"], _needed(g, "model.model.3.weight")
    norm, affine = _norm_of(g, "model.model.0", f"{start}4")
    shape = {"in_channels": first.shape[1], "channels": last.shape[1], "width": first.shape[0], "depth": depth}
    return UNetConfig(2**depth, **shape, norm=norm, affine=affine)


def _resnet_config(g: Tensors) -> TranslatorConfig:
    inner = [(int(m[1]), int(m[3])) for name in g if (m := BLOCK.fullmatch(name)) and g[name].ndim == 4]
    places = sorted({place for place, _ in inner})
    down, up = "model.7.filt" in g, f"model.{places[-1] + 1}.filt" in g if places else "model.7.filt" in g
    if down != up:
        raise ForeignLayoutError("G has filters on the way down or on the way up only; CUT's has both, CycleGAN's none")
    first = 12 if down else 10
    if places != list(range(first, first + len(places))):
        raise ForeignLayoutError(f"G has blocks at {places}; theirs are counted from {first} on")
    head = _needed(g, f"model.{first + len(places) + (9 if down else 7)}.weight")
    stem, dropout = g["model.1.weight"], any(number == 6 for _, number in inner)
    norm, affine = _norm_of(g, "model.1", "model.2")
    return TranslatorConfig(
        256 if len(places) > 6 else 128,
        *(stem.shape[1], head.shape[0], stem.shape[0], len(places)),
        norm=norm, affine=affine, antialias=down, dropout=dropout, init="xavier" if down else "normal",
    )  # fmt: skip


def _with_d(config: Config, d: Tensors, kind: str, alone: bool) -> Config:
    """The configuration with D's part of it; without a G, its other parts are as published."""
    first = d["net.0.weight" if kind == "pixel" else "model.0.weight"]
    smooth, options = any(name.endswith(".filt") for name in d), {}
    if kind == "pixel":
        norm, affine = _norm_of(d, "net.2", "net.3")
    else:
        kernels = [name for name in d if re.fullmatch(r"model\.\d+\.weight", name) and d[name].ndim == 4]
        places = sorted(int(name.split(".")[1]) for name in kernels)
        options["d_layers"] = len(kernels) - 2
        norm, affine = _norm_of(d, f"model.{places[1]}", f"model.{places[1] + 1}")
        if not alone and smooth != (isinstance(config, TranslatorConfig) and config.antialias):
            raise ForeignLayoutError("filters change the size in one of G and D only; they are no pair")
    if not alone and norm == config.norm == "instance" and affine != config.affine:
        raise ForeignLayoutError("instance norm has a scale and a bias in one of G and D only, which ours cannot have")
    read = first.shape[1]
    if alone:
        options |= {"channels": 3 if read == 6 else read, "d_condition": read == 6, "norm": norm, "affine": affine}
        if isinstance(config, TranslatorConfig):
            options |= {"antialias": smooth, "init": "xavier" if smooth else "normal"}
        options["in_channels"] = 3
    elif read not in (config.channels, config.channels + config.in_channels):
        raise ForeignLayoutError(
            f"D reads {read} channels, but G makes {config.channels} of {config.in_channels}; they are no pair"
        )
    else:
        options["d_condition"] = read != config.channels
        options["affine"] = affine or config.affine
    options |= {"d_norm": None if norm == config.norm or alone else norm, "d_width": first.shape[0]}
    return dataclasses.replace(config, d_kind=kind, **options)


def _norm_of(net: Tensors, layer: str, norm: str) -> tuple[NormKind, bool]:
    """The kind of norm behind a layer, and whether it is an affine instance norm."""
    if f"{layer}.bias" in net and {f"{norm}.weight", f"{norm}.running_mean"} <= net.keys():
        raise ForeignLayoutError(
            f"{layer!r} has a bias and {norm!r} scale, bias and statistics, which batch norm and instance norm may both "
            "have; published networks of batch norm have no such bias. If it is instance norm, leave its statistics out: "
            "--ignore '*.running_*'"
        )
    if f"{layer}.bias" in net:
        return "instance", f"{norm}.weight" in net
    return ("batch" if f"{norm}.weight" in net else "none"), False


def _needed(net: Tensors, name: str) -> np.ndarray:
    if name not in net:
        raise ForeignLayoutError(f"there is no {name!r}, which networks of this layout have")
    return net[name]


def _check_filter(name: str, array: np.ndarray | None, expected: np.ndarray) -> None:
    if array is None or array.shape != expected.shape or np.abs(array - expected).max() > 1e-6:
        what = "is missing" if array is None else f"{list(array.shape)} has other values"
        raise ForeignLayoutError(f"filter {name!r} {what}; CUT's are [1 2 1] down and [1 3 3 1] up")


# ----------------------------------------------------------------------------------------------------------------------
# Writing.


def names(config: Config) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file of both, and for CUT those of F, with more MLPs than there are."""
    pair = {"g_ema": ("netG.", generator_links(config)), "d": ("netD.", discriminator_links(config))}
    return pair | ({"f": ("netF.", mlp_links(MOST_MAPS))} if isinstance(config, TranslatorConfig) else {})


def constants(config: Config) -> dict[str, np.ndarray]:
    """CUT's filters, and the counters of batch norms."""
    out: dict[str, Any] = {}
    for root, (prefix, links) in names(config).items():
        out |= {prefix + name: values for name, values in filters(config).get(root, {}).items()}
        ends = [name.removesuffix("running_mean") for name in links if name.endswith("running_mean")]
        out |= {f"{prefix}{name}num_batches_tracked": np.zeros((), np.int64) for name in ends}
    return out


LAYOUT = ForeignLayout((UNetConfig, TranslatorConfig), find, names, constants, counted=("f",))
