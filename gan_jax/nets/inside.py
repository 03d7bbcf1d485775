"""Module paths of a pair's networks, and the shape of each module's output for one example."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.nets.build import Pair

Shapes = dict[str, tuple[int, ...]]  # module path -> shape of one example's output


def module_shapes(pair: Pair, network: str) -> Shapes:
    """Returns the output shapes of all modules of `g` or `d`, by shape inference alone."""
    c = pair.config
    labels = jnp.zeros((2,), jnp.int32) if c.num_classes else None
    inputs = {"g": (2, c.z_dim), "d": (2, c.resolution, c.resolution, c.channels)}
    net = {"g": pair.g, "d": pair.d}[network]
    outputs = jax.eval_shape(net.activations, net.specs(), jnp.zeros(inputs[network]), labels)
    return {path: leaf.shape[1:] for path, leaf in outputs.items()}


def g_maps_by_block(pair: Pair) -> Shapes:
    """Returns one module per block of G, from the latents to the image: the block, or its last convolution in StyleGAN2.

    Only blocks whose outputs are maps are returned; if there are none, as in fully connected networks, all blocks.
    """
    shapes, styled = module_shapes(pair, "g"), "mapping" in pair.g_blocks
    names = [f"{name}/conv1" if styled else name for name in pair.g_blocks if name != "mapping"]
    blocks = {name: shapes[name] for name in names if name in shapes}
    return {name: shape for name, shape in blocks.items() if len(shape) == 3} or blocks
