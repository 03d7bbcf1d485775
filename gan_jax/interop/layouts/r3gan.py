"""R3GAN pairs in the layout of the reference: names, shapes, configuration.

Stages are counted there, from 4 px upwards in G and from the image downwards in D, and the layers of a stage too:
the transition takes the first place in G and the last one in D, whether it has weights or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from gan_jax.config import R3GANConfig
from gan_jax.interop.layouts.nvidia import FIR, nvidia_layout
from gan_jax.interop.links import ForeignLayoutError, Link, Links
from gan_jax.nets.r3gan import stages

IGNORED = {"Resampler.Kernel": "a constant, the FIR filter [1, 2, 1] convolved with the box of two"}
INSIDE = "Model."  # the reference's training wraps each network once more
LAYER = re.compile(r"MainLayers\.(\d+)\.Layers\.(\d+)\.(.+)")


def generator_links(config: R3GANConfig) -> Links:
    """Their names of G's tensors."""
    first = "MainLayers.0.Layers.0"
    links = {
        f"{first}.Basis": Link("params/stem/basis", "maps"),
        f"{first}.LinearLayer.weight": Link("params/stem/kernel", "dense"),
        "AggregationLayer.Layer.weight": Link("params/to_rgb/kernel", "conv"),
        **_embedding(config),
    }
    before = None
    for s, (r, stage) in enumerate(stages(config).items()):
        if before not in (None, stage.width):
            links |= _transition(f"MainLayers.{s}.Layers.0", r)
        for i in range(stage.blocks):
            links |= _residual(f"MainLayers.{s}.Layers.{i + 1}", r, i)
        before = stage.width
    return links


def discriminator_links(config: R3GANConfig) -> Links:
    """Their names of D's tensors."""
    links = {"ExtractionLayer.Layer.weight": Link("params/from_rgb/kernel", "conv"), **_embedding(config)}
    all_stages = stages(config)
    for s, (r, stage) in enumerate(reversed(all_stages.items())):
        for i in range(stage.blocks):
            links |= _residual(f"MainLayers.{s}.Layers.{i}", r, i)
        end = f"MainLayers.{s}.Layers.{stage.blocks}"
        if r == 4:
            links[f"{end}.Basis.weight"] = Link("params/head/basis", "conv")
            links[f"{end}.LinearLayer.weight"] = Link("params/head/kernel", "dense")
        elif all_stages[r // 2].width != stage.width:
            links |= _transition(end, r)
    return links


def guess_config(g: Mapping[str, np.ndarray], d: Mapping[str, np.ndarray] | None = None) -> R3GANConfig:
    """The configuration that a generator's (and a discriminator's) tensors have, from names and shapes alone.

    Without D, its class embedding is taken to have the default size.

    Raises:
      ForeignLayoutError: this is no such generator, or D is not its mirror image.
    """
    basis, last = "MainLayers.0.Layers.0.Basis", "AggregationLayer.Layer.weight"
    if basis not in g or last not in g:
        raise ForeignLayoutError(f"these are no tensors of an R3GAN generator (no {basis}, {last})")
    stage_blocks = _stages(g)
    width = g[basis].shape[0]
    widths, cardinality, expansion = [], [], set()
    for s in range(len(stage_blocks)):
        width = g.get(f"MainLayers.{s}.Layers.0.LinearLayer.Layer.weight", np.empty((width, 0))).shape[0]
        widths.append(width)
        grouped = [
            array for name, array in g.items() if name.startswith(f"MainLayers.{s}.Layers.") and _GROUPED in name
        ]
        groups = {array.shape[0] // array.shape[1] for array in grouped}
        if len(groups) > 1:
            raise ForeignLayoutError(
                f"stage {s} of G has convolutions of {sorted(groups)} groups; one number is wanted"
            )
        cardinality.append(groups.pop() if groups else 1)
        expansion |= {array.shape[0] // width for array in grouped}
    if len(expansion) > 1:
        raise ForeignLayoutError(f"G's blocks widen {sorted(expansion)} times; one factor is wanted everywhere")
    classes = g["EmbeddingLayer.weight"].shape[1] if "EmbeddingLayer.weight" in g else 0
    embed = g["EmbeddingLayer.weight"].shape[0] if classes else 0
    blocks = tuple(stage_blocks)
    if d is not None and (mirrored := tuple(reversed(_stages(d)))) != blocks:
        raise ForeignLayoutError(f"G has {list(blocks)} blocks from 4 px upwards, but D {list(mirrored)}")
    z_dim = g["MainLayers.0.Layers.0.LinearLayer.weight"].shape[1] - embed
    d_size = d["EmbeddingLayer.weight"].shape[0] if d is not None and classes else widths[0]
    return R3GANConfig(
        resolution=4 * 2 ** (len(blocks) - 1),
        channels=g[last].shape[0],
        num_classes=classes,
        z_dim=z_dim,
        widths=tuple(widths),
        cardinality=tuple(cardinality),
        blocks=blocks,
        expansion=expansion.pop() if expansion else 2,
        g_embed=embed if classes and embed != z_dim else None,
        d_embed=d_size if d_size != widths[0] else None,
    )


_GROUPED = ".LinearLayer2.Layer.weight"


def _stages(tensors: Mapping[str, np.ndarray]) -> list[int]:
    """How many blocks each stage has, in the file's order."""
    matches = [m for name in tensors if (m := LAYER.fullmatch(name))]
    count = 1 + max((int(m[1]) for m in matches), default=-1)
    blocks = [{m[2] for m in matches if int(m[1]) == s and m[3] == _GROUPED[1:]} for s in range(count)]
    return [len(numbers) for numbers in blocks]


def _embedding(config: R3GANConfig) -> dict[str, Link]:
    return {"EmbeddingLayer.weight": Link("params/embed/embedding", "dense")} if config.num_classes else {}


def _transition(theirs: str, r: int) -> dict[str, Link]:
    return {f"{theirs}.LinearLayer.Layer.weight": Link(f"params/b{r}/transition/kernel", "conv")}


def _residual(theirs: str, r: int, block: int) -> dict[str, Link]:
    ours = f"params/b{r}/res{block}"
    kernels = {f"{theirs}.LinearLayer{i + 1}.Layer.weight": Link(f"{ours}/conv{i}/kernel", "conv") for i in range(3)}
    return kernels | {f"{theirs}.NonLinearity{i + 1}.Bias": Link(f"{ours}/conv{i}/bias") for i in range(2)}


def constants(config: R3GANConfig) -> dict[str, np.ndarray]:
    """The filters that the reference keeps with every change of resolution."""
    count = len(stages(config))
    blocks = [stage.blocks for stage in reversed(stages(config).values())]
    places = [f"G_ema.{INSIDE}MainLayers.{s}.Layers.0" for s in range(1, count)]
    places += [f"D.{INSIDE}MainLayers.{s}.Layers.{blocks[s]}" for s in range(count - 1)]
    return {f"{place}.Resampler.Kernel": FIR for place in places}


LAYOUT = nvidia_layout(
    R3GANConfig,
    guess_config,
    generator_links,
    discriminator_links,
    IGNORED,
    ("AggregationLayer.Layer.weight", "ExtractionLayer.Layer.weight"),
    constants,
    inside=INSIDE,
)
