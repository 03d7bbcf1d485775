"""Fully connected pairs as plain stacks of linear layers: `0.weight, 0.bias, 2.weight, ..` of an `nn.Sequential`, or `fc1`.

Layers are known by the numbers in their names, whatever their distance: what stands between them has no tensors. So no
file tells which activation that is: `mlp` takes ReLUs for G, `mlp-leaky` leaky ones of slope 0.2; D's are leaky in both.
The network with one output is D; the sigmoid after it is no weight. Images are flattened channels first there.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from gan_jax.config import MLPConfig
from gan_jax.interop.layouts.layout import ForeignLayout, ForeignPair, Part, Tensors, plain_kernels, plain_name, under
from gan_jax.interop.links import ForeignLayoutError, Link, Links, MapsLink

LAYER = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)\.(weight|bias)")
LEAKY = 0.2


def generator_links(config: MLPConfig, numbers: list[int] | None = None) -> Links:
    """Their names of G's tensors; `numbers` of its layers, None = 0, 2, .., with an activation after each."""
    links = _links([f"fc{i}" for i in range(len(config.g_widths))] + ["to_rgb"], numbers)
    last = list(links)[-2:]
    return {**links, **{name: MapsLink(links[name].path, side=config.resolution) for name in last}}


def discriminator_links(config: MLPConfig, numbers: list[int] | None = None) -> Links:
    """Their names of D's tensors."""
    links = _links([f"fc{i}" for i in range(len(config.d_widths))] + ["head"], numbers)
    first = next(iter(links))
    return {**links, first: dataclasses.replace(links[first], kind="flat", side=config.resolution)}


def _links(ours: list[str], numbers: list[int] | None) -> dict[str, Link]:
    links = {}
    for number, name in zip(numbers or range(0, 2 * len(ours), 2), ours, strict=True):
        links[f"{number}.weight"] = Link(f"params/{name}/kernel", "dense")
        links[f"{number}.bias"] = Link(f"params/{name}/bias")
    return links


def find(tensors: Tensors, slope: float) -> ForeignPair:
    """A generator, a discriminator, or both, under whatever comes before the numbers; `slope` of G's activations."""
    tensors, left_out = plain_kernels(tensors)
    spelled = {plain_name(name): name for name in tensors}
    tensors = {name: tensors[theirs] for name, theirs in spelled.items()}
    matches = {name: LAYER.fullmatch(name) for name in tensors}
    if not tensors or not all(matches.values()):
        odd = next((name for name, m in matches.items() if not m), "nothing at all")
        raise ForeignLayoutError(f"these are no numbered linear layers alone, such as 0.weight and 0.bias ({odd!r})")
    nets = {p: under(tensors, p) for p in dict.fromkeys(str(m["prefix"]) for m in matches.values() if m)}
    chains: dict[str, tuple[str, list[int], list[int]]] = {}
    for prefix, net in nets.items():
        numbers, sizes = _chain(prefix, net)
        root = "d" if sizes[-1] == 1 else "g_ema"
        if root in chains:
            what = "discriminators" if root == "d" else "generators"
            raise ForeignLayoutError(f"two {what}, under {chains[root][0]!r} and {prefix!r}; one of each is known")
        chains[root] = prefix, numbers, sizes
    values = {root: sizes[-1] if root == "g_ema" else sizes[0] for root, (_, _, sizes) in chains.items()}
    if len(set(values.values())) > 1:
        raise ForeignLayoutError(f"G makes {values['g_ema']} numbers, but D reads {values['d']}; they are no pair")
    resolution, channels = _image(next(iter(values.values())))
    config = MLPConfig(resolution, channels, g_slope=slope, d_slope=LEAKY)
    if "g_ema" in chains:
        sizes = chains["g_ema"][2]
        config = dataclasses.replace(config, z_dim=sizes[0], g_widths=tuple(sizes[1:-1]))
    if "d" in chains:
        config = dataclasses.replace(config, d_widths=tuple(chains["d"][2][1:-1]))
    make = {"g_ema": generator_links, "d": discriminator_links}

    def theirs(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
        """The same values under the names that the file has."""
        return {spelled[prefix + name].removeprefix(prefix): value for name, value in named.items()}

    links = {root: make[root](config, numbers) for root, (_, numbers, _) in chains.items()}
    parts = {root: Part(p, theirs(p, nets[p]), theirs(p, links[root])) for root, (p, _, _) in chains.items()}
    return ForeignPair(config, parts, {}, left_out)


def _chain(prefix: str, net: Tensors) -> tuple[list[int], list[int]]:
    """(numbers of the layers, sizes from the input to the output)."""
    numbers = sorted({int(name.partition(".")[0]) for name in net})
    sizes: list[int] = []
    for number in numbers:
        weight = net.get(f"{number}.weight")
        if weight is None or weight.ndim != 2 or f"{number}.bias" not in net:
            raise ForeignLayoutError(
                f"layer {prefix}{number} is no linear one with a weight [out, in] and a bias [out]"
            )
        if sizes and weight.shape[1] != sizes[-1]:
            raise ForeignLayoutError(f"layer {prefix}{number} reads {weight.shape[1]} numbers, but gets {sizes[-1]}")
        sizes += [*([] if sizes else [weight.shape[1]]), weight.shape[0]]
    if len(numbers) < 2:
        raise ForeignLayoutError(f"one linear layer under {prefix!r} is no network; two or more are")
    return numbers, sizes


def _image(values: int) -> tuple[int, int]:
    """(resolution, channels) of a square image of so many values: grey where it can be, then RGB, then RGBA."""
    for channels in (1, 3, 4):
        side = math.isqrt(values // channels)
        if side and side**2 * channels == values:
            return side, channels
    if values == 2:
        return 1, 2  # points of the plane
    raise ForeignLayoutError(f"{values} numbers make no square image of 1, 3 or 4 channels")


def names(config: MLPConfig, slope: float) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file, where G's activations have this slope.

    Raises:
      ForeignLayoutError: a conditional pair, for which there is no such layout; activations of another slope, which
        a file would not tell.
    """
    if (config.g_slope, config.d_slope) != (slope, LEAKY):
        raise ForeignLayoutError(
            f"this layout stands for slopes {slope} in G and {LEAKY} in D; this pair has {config.g_slope} and "
            f"{config.d_slope}: write the other one of mlp and mlp-leaky, or gan_jax"
        )
    if config.num_classes:
        raise ForeignLayoutError("a conditional pair is no plain stack of linear layers; export it as gan_jax")
    return {"g_ema": ("netG.", generator_links(config)), "d": ("netD.", discriminator_links(config))}


def _layout(slope: float) -> ForeignLayout:
    return ForeignLayout(MLPConfig, lambda tensors: find(tensors, slope), lambda config: names(config, slope))


LAYOUT = _layout(0.0)
LEAKY_LAYOUT = _layout(LEAKY)
