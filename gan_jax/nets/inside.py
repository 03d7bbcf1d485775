"""What is inside a pair's networks: module paths, and the shape of what each gives for one example."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.nets.build import Pair

Shapes = dict[str, tuple[int, ...]]  # module path -> shape of one example's output


def shapes_inside(pair: Pair, network: str) -> Shapes:
    """What every module of `g` or `d` gives; nothing is computed."""
    c = pair.config
    labels = jnp.zeros((2,), jnp.int32) if c.num_classes else None
    inputs = {"g": (2, c.z_dim), "d": (2, c.resolution, c.resolution, c.channels)}
    net = {"g": pair.g, "d": pair.d}[network]
    found = jax.eval_shape(net.activations, net.specs(), jnp.zeros(inputs[network]), labels)
    return {path: leaf.shape[1:] for path, leaf in found.items()}


def g_maps_by_block(pair: Pair) -> Shapes:
    """What stands for each block of G, from the latents to the image: its output, or the last convolution in a StyleGAN2's.

    The blocks that give maps, of which there are some in all but networks of fully connected layers; else all.
    """
    shapes, styled = shapes_inside(pair, "g"), "mapping" in pair.g_blocks
    names = [f"{name}/conv1" if styled else name for name in pair.g_blocks if name != "mapping"]
    found = {name: shapes[name] for name in names if name in shapes}
    return {name: shape for name, shape in found.items() if len(shape) == 3} or found
