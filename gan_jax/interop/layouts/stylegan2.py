"""StyleGAN2 pairs in the layout of stylegan2-ada-pytorch and of the stylegan3 repository: names and shapes.

Weights are stored there as here, before the equalised learning rate's gain. Channels come first there, and the kernel
of an up-sampling layer has the same orientation as ours (a true convolution), so that no axis is flipped.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.layouts import stylegan2_tf as tf
from gan_jax.interop.layouts.layout import DROPPED, NO_CONTEXT, FileContext, ForeignPair, Part, Tensors, under
from gan_jax.interop.layouts.nvidia import FIR, nvidia_layout
from gan_jax.interop.layouts.stylegan2_config import guess_config, refine
from gan_jax.interop.links import Link, Links
from gan_jax.nets.stylegan2 import widths

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
    kept = "Gs." if f"Gs.{tf.MARK}" in tensors else "G."
    nets = {"G": tf.as_torch("G", under(tensors, kept)), "D": tf.as_torch("D", under(tensors, "D."))}
    state = {name: dict(net.values()) for name, net in nets.items()}
    config = guess_config(state["G"], state["D"] or None)
    made_with = {"G": context.stubs.get(kept[:-1]), "D": context.stubs.get("D")}
    config = tf.refine(config, {name: record for name, record in made_with.items() if record})
    links = {"G": generator_links(config), "D": discriminator_links(config)}
    parts = {}
    for root, name, prefix in (("g_ema", "G", kept), ("d", "D", "D.")):
        known = {theirs: links[name][torch] for theirs, (torch, _) in nets[name].items() if torch in links[name]}
        if nets[name]:
            parts[root] = Part(prefix, {theirs: array for theirs, (_, array) in nets[name].items()}, known)
    left_out = {n: why for n in tensors for end, why in tf.LEFT.items() if n.rpartition(".")[2] == end}
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
    if any(name.endswith(tf.MARK) for name in tensors):
        return from_tensorflow(tensors, context)
    return TORCH.find_in_context(tensors, context)


LAYOUT = dataclasses.replace(TORCH, find=find, find_in_context=find)
