"""A generator that translates as one function of images, or of label maps: what is exported as a program."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import NetConfig
from gan_jax.data.convert import to_float, to_uint8
from gan_jax.interop.programs import Images, Input, Sampler
from gan_jax.nets import spade
from gan_jax.nets.conv import single_operations
from gan_jax.tasks.translate import forward_of, geometry
from gan_jax.trees import Tree


def translating_sampler(
    config: NetConfig, variables: Tree, images: Images = "uint8", size: int | None = None
) -> Sampler:
    """Makes `function(*inputs) -> images [batch, size, size, C]`.

    The input is `input [batch, size, size, in_channels]`, of the dtype of the output; of a layout network
    `labels [batch, size, size]` int32, with `instances` of the same shape where it reads their edges. Each image is
    translated by itself, as by `tasks.translate`: batch norm of U-Net and ResNet by the statistics of the image, no dropout.

    Args:
      config: of a family that translates.
      variables: of the generator; they become constants of the program.
      images: uint8, or float32 in [-1, 1], of input and output.
      size: height and width of the images, px; None = the network's.

    Raises:
      ValueError: a size that the network does not take.
    """
    net: Any = config
    size = int(net.resolution if size is None else size)
    sizes = geometry(config)
    if not sizes.fits(size):
        raise ValueError(
            f"images of {size} px do not fit these networks; use a multiple of {sizes.multiple} px, at least {sizes.least}"
        )
    variables = jax.tree_util.tree_map(jnp.asarray, variables)
    layouts = hasattr(net, "num_labels")
    if layouts:
        inputs = [Input("labels", (size, size), "int32")]
        inputs += [Input("instances", (size, size), "int32")] if net.edges else []
    else:
        inputs = [Input("input", (size, size, net.in_channels), images)]
    forward = forward_of(config)

    def function(*values: jax.Array) -> jax.Array:
        with single_operations():  # a program runs on machines that this one's fast forms are not for
            if layouts:
                x = spade.semantics(net, *values)
            else:
                x = to_float(values[0]) if images == "uint8" else values[0]
            pixels = forward(variables, x)
        return to_uint8(pixels) if images == "uint8" else pixels.astype(jnp.float32)

    return Sampler(function, tuple(inputs), Input("images", (size, size, net.channels), images))
