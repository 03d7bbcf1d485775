"""BigGAN pairs in the layout of BigGAN-PyTorch: names and shapes.

Blocks are counted there, G's from 4 px upwards and D's from the image downwards; attention is a block's second part.
Each network lies in a file of its own there (`G_ema.pth`, `D.pth`). What their norms multiply by is 1 + the stored value
here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gan_jax.config import BigGANConfig
from gan_jax.interop.layouts.biggan_config import MARK, guess_config
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
from gan_jax.nets.biggan import modulation, widths
from gan_jax.nets.biggan_d import stages

IGNORED = {
    ".sv0": "the largest singular value of the last training step, worked out anew",
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
