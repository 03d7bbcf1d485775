"""DCGAN in the layout of the PyTorch tutorial: one `nn.Sequential` named `main`, layers by index, no biases.

The last layer of its D is a 4x4 convolution over 4x4 maps, which is our dense head; the sigmoid after it is no weight.
Running variances are the unbiased ones there; they are taken as they are, which is what evaluation uses.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import numpy as np

from gan_jax.config import DCGANConfig
from gan_jax.interop.layouts.layout import ForeignLayout, ForeignPair, Part, Tensors, plain_kernels, plain_name, under
from gan_jax.interop.links import ForeignLayoutError, Link, Links
from gan_jax.nets.dcgan import widths

MAIN = re.compile(r"(?:.*?\.)??(main\.\d+\.)")
IGNORED = {"num_batches_tracked": "a counter of training steps"}
NORM = {"weight": "params/{}/scale", "bias": "params/{}/bias"}
STATISTICS = {"running_mean": "batch_stats/{}/mean", "running_var": "batch_stats/{}/var"}


def generator_links(config: DCGANConfig) -> Links:
    """Their names of G's tensors: a layer, its norm and a ReLU take three places each."""
    sizes = list(widths(config))
    links = {"main.0.weight": Link("params/b4/kernel", "grown"), **_norm(1, 4)}
    for i, r in enumerate(sizes[1:], 1):
        links |= {f"main.{3 * i}.weight": Link(f"params/b{r}/kernel", "transposed"), **_norm(3 * i + 1, r)}
    return links | {f"main.{3 * len(sizes)}.weight": Link("params/to_rgb/kernel", "transposed")}


def discriminator_links(config: DCGANConfig) -> Links:
    """Their names of D's tensors; the first layer has no norm."""
    sizes = list(reversed(widths(config)))
    links = {"main.0.weight": Link("params/from_rgb/kernel", "conv")}
    for i, r in enumerate(sizes[1:]):
        links |= {f"main.{3 * i + 2}.weight": Link(f"params/b{r}/kernel", "conv"), **_norm(3 * i + 3, r)}
    return links | {f"main.{3 * len(sizes) - 1}.weight": Link("params/head/kernel", "covering")}


def guess_config(g: Mapping[str, np.ndarray]) -> DCGANConfig:
    """The configuration that a generator's tensors have, from their shapes.

    Raises:
      ForeignLayoutError: this is no such generator, or its widths are not halved from layer to layer.
    """
    kernels = [g[name] for name in sorted(g, key=_numbered) if g[name].ndim == 4]
    if "main.0.weight" not in g or any(kernel.shape[2:] != (4, 4) for kernel in kernels):
        raise ForeignLayoutError("these are no tensors of a DCGAN generator (main.0.weight, 4x4 kernels)")
    widest, channels = kernels[0].shape[1], kernels[-1].shape[1]
    last = kernels[-1].shape[0] * 2 ** len(kernels)  # width times resolution of the last feature maps
    config = DCGANConfig(2 ** (len(kernels) + 1), channels, kernels[0].shape[0], last, widest)
    actual = [kernel.shape[1] for kernel in kernels[:-1]]
    if list(widths(config).values()) != actual:
        raise ForeignLayoutError(f"the generator has widths {actual}; ours are halved with every doubling of the size")
    return config


def _norm(place: int, r: int) -> dict[str, Link]:
    names = {**NORM, **STATISTICS}
    return {f"main.{place}.{theirs}": Link(ours.format(f"norm{r}")) for theirs, ours in names.items()}


def _numbered(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them: a file may have sorted `main.12` before `main.3`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,9})", name)]


def in_tutorial_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames tensors to the tutorial's names, where a file has another name for each layer but the same layers.

    Layers are known by their order: a 4x4 kernel, then its norm's tensors. `convTr1.weight, batchNorm1.weight, ..`
    become `main.0.weight, main.1.weight, ..`, and so do numbers that other layers without tensors have moved (a dropout more,
    an activation less). The order is that of the numbers in names such as `main.3`; of others the file's, or that of the
    numbers in them where kernels do not follow each other in the file's.
    """
    tensors = {plain_name(name): array for name, array in tensors.items()}
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    kernels = [m for m in modules if tensors.get(f"{m}.weight", np.zeros(0)).ndim == 4]
    norms = [m for m in modules if f"{m}.running_mean" in tensors]
    without_norm = len(kernels) - len(norms)  # G's last layer has no norm; of D's the first and the last one
    if without_norm not in (1, 2) or set(modules) != {*kernels, *norms}:
        return dict(tensors)
    first = 0 if without_norm == 1 else -1
    order = 1 if without_norm == 1 else -1
    sides = [tensors[f"{m}.weight"].shape[:2][::order] for m in kernels]  # (inputs, outputs) of each layer
    counted = all(re.fullmatch(r"main\.\d+", m) for m in modules)
    if counted or any(outputs != inputs for (_, outputs), (inputs, _) in itertools.pairwise(sides)):
        kernels, norms = sorted(kernels, key=_numbered), sorted(norms, key=_numbered)
    if counted:
        _check_order(kernels, norms, without_norm)
    places = {m: f"main.{max(0, 3 * i + first)}" for i, m in enumerate(kernels)}
    places |= {m: f"main.{3 * (i + without_norm - 1) + (1 if without_norm == 1 else 0)}" for i, m in enumerate(norms)}
    renamed = lambda name: f"{places[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"
    return {renamed(name): array for name, array in tensors.items()}


def _check_order(kernels: list[str], norms: list[str], without_norm: int) -> None:
    """Checks that every norm follows its kernel; the order is that of the numbers in names.

    Raises:
      ForeignLayoutError: it does not, so that this is another network of the same shapes.
    """
    actual = sorted([*kernels, *norms], key=_numbered)
    with_norm = kernels[:-1] if without_norm == 1 else kernels[1:-1]
    expected = [
        m for kernel in kernels for m in (kernel, *([norms[with_norm.index(kernel)]] if kernel in with_norm else []))
    ]
    if actual != expected:
        kind = ["norm" if m in norms else "kernel" for m in actual]
        raise ForeignLayoutError(f"its layers are {', '.join(kind)}; a DCGAN has each norm behind its kernel")


def find(tensors: Tensors) -> ForeignPair:
    """A generator, and a discriminator where there is one, under whatever prefixes come before `main.`."""
    tensors, left_out = without_biases(*plain_kernels(tensors))
    prefixes = {name[: m.start(1)] for name in tensors if (m := MAIN.match(name))} or _networks(tensors)
    if len(prefixes) > 2:
        raise ForeignLayoutError(
            f"networks under {', '.join(sorted(prefixes))}; one G and one D at most are known: leave the others out with "
            f"--ignore '{sorted(prefixes)[-1]}*'"
        )
    parts: dict[str, Part] = {}
    config = None
    for prefix in prefixes:
        network = under(tensors, prefix)
        named = in_tutorial_names(network)
        if "main.1.weight" not in named:
            continue  # D has no norm after its first layer
        if "g_ema" in parts:
            raise ForeignLayoutError(f"two generators, under {parts['g_ema'].prefix!r} and {prefix!r}; one is known")
        config = guess_config(named)
        parts["g_ema"] = _part(prefix, network, generator_links(config))
    if config is None:
        discriminators = [under(tensors, prefix) for prefix in prefixes]
        if any(
            {"main.0.weight", "main.2.weight", "main.3.running_mean"} <= {*in_tutorial_names(d)} for d in discriminators
        ):
            raise ForeignLayoutError(
                "a discriminator without its generator, whose shapes alone do not tell the size of its images; import the "
                "generator's file, and name this one in --d"
            )
        raise ForeignLayoutError("no generator (main.0.weight and its norm main.1) among the tensors")
    for prefix in prefixes - {parts["g_ema"].prefix}:
        parts["d"] = _part(prefix, under(tensors, prefix), discriminator_links(config))
    return ForeignPair(config, parts, IGNORED, left_out)


def without_biases(tensors: Tensors, left_out: dict[str, str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors without biases that change nothing: zeros, and those before a batch norm, whose mean they are taken from.

    Args:
      tensors: by their names.
      left_out: names -> why they are left out; those of the biases are added.
    """
    remaining = dict(tensors)
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    plain = {plain_name(name): array for name, array in tensors.items()}
    for kernel in [m for m in modules if plain.get(f"{m}.weight", np.zeros(0)).ndim == 4 and f"{m}.bias" in plain]:
        bias, start = tensors[f"{kernel}.bias"], f"{kernel}.bias"
        net = kernel.rpartition(".")[0]
        after = sorted((m for m in modules if m.rpartition(".")[0] == net), key=_numbered)
        follower = after[after.index(kernel) + 1] if after.index(kernel) + 1 < len(after) else ""
        mean = f"{follower}.running_mean"
        if not np.any(bias):
            left_out[start] = "a bias of zeros"
        elif MAIN.match(f"{kernel}.") and mean in remaining and remaining[mean].shape == bias.shape:
            remaining[mean] = (remaining[mean].astype(np.float64) - bias).astype(remaining[mean].dtype)
            left_out[start] = "a bias before a batch norm, taken off its running mean: the same function"
        else:
            continue
        del remaining[start]
    return remaining, left_out


def _networks(tensors: Tensors) -> set[str]:
    """What names begin with where they are no tutorial's: `netG.` and `netD.` of `netG.conv1.weight`, else nothing."""
    firsts = {name.partition(".")[0] + "." for name in tensors if name.count(".") > 1}
    return firsts if firsts and all(name.count(".") > 1 for name in tensors) else {""}


def _part(prefix: str, tensors: Tensors, links: Links) -> Part:
    """A part whose links have the names of the file."""
    back = dict(zip(in_tutorial_names(tensors), tensors, strict=True))
    return Part(prefix, tensors, {back.get(name, name): link for name, link in links.items()})


def names(config: DCGANConfig) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file."""
    links = {"g_ema": generator_links(config), "d": discriminator_links(config)}
    return {"g_ema": ("netG_state_dict.", links["g_ema"]), "d": ("netD_state_dict.", links["d"])}


def constants(config: DCGANConfig) -> dict[str, np.ndarray]:
    """The counters that every batch norm has there; what they say changes nothing while `momentum` is a number."""
    whole = [prefix + name for prefix, links in names(config).values() for name in links]
    ends = [name.removesuffix("running_mean") for name in whole if name.endswith("running_mean")]
    return {f"{name}num_batches_tracked": np.zeros((), np.int64) for name in ends}


LAYOUT = ForeignLayout(DCGANConfig, find, names, constants)
