"""SNGAN pairs in the layout of mimicry (torch-mimicry): names and shapes of its networks for 32, 48, 64 and 128 px.

Each network lies in a file of its own there, under `model_state_dict`, beside the optimiser's state. Blocks are counted,
G's from the second layer on and D's from the first. Spectral norm comes in two forms: PyTorch's (`weight_orig`,
`weight_u`, `weight_v`), whose evaluation takes both stored vectors as they are, and mimicry's own (`weight`, `sn_u`,
`sn_sigma`), whose evaluation runs one more power iteration.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

import numpy as np

from gan_jax.config import SNGANConfig
from gan_jax.interop.layouts.layout import ForeignLayout, ForeignPair, Part, Tensors, prefixes, under
from gan_jax.interop.links import ForeignLayoutError, Link, Links, MapsLink
from gan_jax.nets.sngan import stages, widths

IGNORED = {
    ".num_batches_tracked": "a counter of training steps",
    ".sn_sigma": "the largest singular value of the last training step, computed again",
}
OPTIMISER = "state of an optimiser"
D_OF = {  # resolution -> what D's blocks write that halve the size, and those that keep it
    32: ((128, 128), (128, 128)),
    48: ((64, 128, 256, 512), (1024,)),
    64: ((64, 128, 256, 512, 1024), ()),
    128: ((64, 128, 256, 512, 1024), (1024,)),
}


def generator_links(config: SNGANConfig) -> Links:
    """Their names of G's tensors."""
    first, *sizes = widths(config)
    stem = lambda leaf: MapsLink(f"params/stem/{leaf}", side=first)
    links: dict[str, Link] = {"l1.weight": stem("kernel"), "l1.bias": stem("bias")}
    for i, r in enumerate(sizes, 2):
        for theirs, ours in (("c1", "conv0"), ("c2", "conv1"), ("c_sc", "skip")):
            links |= _plain(f"block{i}.{theirs}", f"b{r}/{ours}")
        links |= _norm(f"block{i}.b1", f"b{r}/norm0") | _norm(f"block{i}.b2", f"b{r}/norm1")
    last = len(sizes) + 2
    return links | _norm(f"b{last}", "to_rgb_norm") | _plain(f"c{last}", "to_rgb")


def discriminator_links(config: SNGANConfig) -> Links:
    """Their names of D's tensors."""
    links: dict[str, Link] = {}
    d_stages = stages(config)
    for i, stage in enumerate(d_stages, 1):
        for theirs, ours in (("c1", "conv0"), ("c2", "conv1"), ("c_sc", "skip")):
            if ours != "skip" or stage.has_skip:
                size = 1 if ours == "skip" else 3
                links |= _spectral(f"block{i}.{theirs}", f"{stage.name}/{ours}", "conv", size, config.estimate)
    return links | _spectral(f"l{_head(config)}", "head", "dense", 1, config.estimate)


def _head(config: SNGANConfig) -> int:
    """The number in the name of D's last layer, where theirs for 48 px counts one block less."""
    return len(stages(config)) + (0 if config.resolution == 48 else 1)


def _plain(theirs: str, ours: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"params/{ours}/kernel", "conv"), f"{theirs}.bias": Link(f"params/{ours}/bias")}


def _norm(theirs: str, ours: str) -> dict[str, Link]:
    leaves = {"weight": "params/{}/scale", "bias": "params/{}/bias"}
    leaves |= {"running_mean": "batch_stats/{}/mean", "running_var": "batch_stats/{}/var"}
    return {f"{theirs}.{name}": Link(path.format(ours)) for name, path in leaves.items()}


def _spectral(theirs: str, ours: str, kind: str, size: int, estimate: str) -> dict[str, Link]:
    kernel, bias = f"params/{ours}/kernel", {f"{theirs}.bias": Link(f"params/{ours}/bias")}
    make: Callable[[str], Link] = lambda path: Link(path, "conv" if kind == "conv" else "dense")
    if estimate == "refined":
        return {f"{theirs}.weight": make(kernel), f"{theirs}.sn_u": Link(f"spectral/{ours}/u", before=1), **bias}
    vectors = {"u": Link(f"spectral/{ours}/u"), "v": MapsLink(f"spectral/{ours}/v", side=size)}
    return {f"{theirs}.weight_orig": make(kernel), **{f"{theirs}.weight_{x}": y for x, y in vectors.items()}, **bias}


def find(tensors: Tensors) -> ForeignPair:
    """A generator, a discriminator, or both, in one file or two."""
    left_out = {name: OPTIMISER for name in tensors if "optimizer_state_dict." in name}
    kept = {name: array for name, array in tensors.items() if name not in left_out}
    g_prefixes = prefixes(kept, "block2.b1.weight")
    d_prefixes = [p for mark in ("weight_orig", "weight") for p in prefixes(kept, f"block1.c1.{mark}")]
    for mark, why in REFUSED.items():
        if prefixes(kept, mark):
            raise ForeignLayoutError(f"{why} (there is {mark}); of mimicry SNGAN pairs are known")
    if max(len(g_prefixes), len(d_prefixes)) > 1 or not g_prefixes + d_prefixes:
        raise ForeignLayoutError("no single SNGAN of mimicry (block2.b1.weight of a G, block1.c1 of a D)")
    parts, config = {}, SNGANConfig()
    if g_prefixes:
        g = under(kept, g_prefixes[0])
        config = _g_config(g)
        parts["g_ema"] = Part(g_prefixes[0], g, generator_links(config))
    if d_prefixes:
        d = under(kept, d_prefixes[0])
        config = _d_config(d, config if g_prefixes else None)
        parts["d"] = Part(d_prefixes[0], d, discriminator_links(config))
    return ForeignPair(config, parts, IGNORED, left_out)


REFUSED = {
    "block2.b1.embed.weight": "a conditional generator",
    "l_y.weight": "a discriminator with a further head for classes or rotations",
    "local_feat_blocks.0.c1.weight": "a discriminator of InfoMax-GAN",
    "local_feat_blocks.0.c1.weight_orig": "a discriminator of InfoMax-GAN",
}


def _g_config(g: Tensors) -> SNGANConfig:
    blocks = _blocks(g)
    kernels = [_needed(g, f"block{i}.c1.weight") for i in blocks]
    if blocks != list(range(2, len(blocks) + 2)):
        raise ForeignLayoutError(f"G has blocks {blocks}; theirs are counted from 2 on")
    g_widths = (kernels[0].shape[1], *(kernel.shape[0] for kernel in kernels))
    stem, head = _needed(g, "l1.weight"), _needed(g, f"c{len(blocks) + 2}.weight")
    first = math.isqrt(stem.shape[0] // g_widths[0])
    r = first << len(blocks)
    downs, rest = D_OF.get(r, (g_widths[:0:-1], ()))
    return SNGANConfig(r, head.shape[0], z_dim=stem.shape[1], g_widths=g_widths, d_widths=downs, d_rest=rest)


def _d_config(d: Tensors, config: SNGANConfig | None) -> SNGANConfig:
    blocks = _blocks(d)
    own_spectral_norm = "block1.c1.weight" in d
    name = "weight" if own_spectral_norm else "weight_orig"
    if own_spectral_norm and "block1.c1.sn_u" not in d:
        raise ForeignLayoutError("a discriminator without spectral norm (block1.c1 has no sn_u); it is of another GAN")
    if blocks != list(range(1, len(blocks) + 1)):
        raise ForeignLayoutError(f"D has blocks {blocks}; theirs are counted from 1 on")
    written = [_needed(d, f"block{i}.c2.{name}").shape[0] for i in blocks]
    heads = [int(m[1]) for key in d if (m := re.fullmatch(rf"l(\d+)\.{name}", key))]
    downs = sum(f"block{i}.c_sc.{name}" in d for i in blocks) - (heads == [len(blocks)])  # see `_head`
    sizes = {len(down) + len(rest): r for r, (down, rest) in D_OF.items() if r != 48}
    r = config.resolution if config else 48 if heads == [len(blocks)] else sizes.get(len(blocks), 32)
    if heads == [len(blocks)] and r != 48:
        raise ForeignLayoutError(f"D is one for 48 px (l{len(blocks)} after {len(blocks)} blocks), but G makes {r} px")
    channels = d[f"block1.c1.{name}"].shape[1]
    if config is not None and channels != config.channels:
        raise ForeignLayoutError(f"G makes {config.channels} channels, but D reads {channels}; they are no pair")
    shape = {"d_widths": tuple(written[:downs]), "d_rest": tuple(written[downs:])}
    changed = dataclasses.replace(
        config or SNGANConfig(r), channels=channels, estimate="refined" if own_spectral_norm else "stored", **shape
    )
    if r % 2**downs:
        raise ForeignLayoutError(f"G makes {r} px, which D halves {downs} times; they are no pair")
    return changed


def _blocks(net: Tensors) -> list[int]:
    return sorted({int(m[1]) for name in net if (m := re.match(r"block(\d+)\.", name))})


def _needed(net: Tensors, name: str) -> np.ndarray:
    if name not in net:
        raise ForeignLayoutError(f"an SNGAN of mimicry should have {name!r}")
    return net[name]


def names(config: SNGANConfig) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file; one network alone is what its programs read, under `model_state_dict`.

    Raises:
      ForeignLayoutError: a pair that mimicry does not have.
    """
    if config.num_classes or config.upsample != "bilinear" or not config.cut_skips:
        raise ForeignLayoutError(
            "SNGAN of mimicry is unconditional, doubles sizes bilinearly and cuts skips; export this as gan_jax"
        )
    return {"g_ema": ("netG.", generator_links(config)), "d": ("netD.", discriminator_links(config))}


def constants(config: SNGANConfig) -> dict[str, np.ndarray]:
    """What their modules hold as well: counters of batch norms, and singular values, which every use computes again."""
    whole = [prefix + name for prefix, links in names(config).values() for name in links]
    companions = {
        "running_mean": ("num_batches_tracked", np.zeros((), np.int64)),
        "sn_u": ("sn_sigma", np.ones(1, np.float32)),
    }
    ends = [(name, end) for name in whole for end in companions if name.endswith(f".{end}")]
    return {name.removesuffix(end) + companions[end][0]: companions[end][1] for name, end in ends}


LAYOUT = ForeignLayout(SNGANConfig, find, names, constants)
