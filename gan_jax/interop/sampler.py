"""A generator with its weights inside, as one function of latents: what is exported as a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import NetConfig
from gan_jax.data.convert import to_uint8
from gan_jax.nets import build
from gan_jax.nets.conv import single_operations
from gan_jax.nets.fronts import with_front
from gan_jax.reserved import GRAFT
from gan_jax.trees import Tree

Images = Literal["uint8", "float32"]


class Input(NamedTuple):
    """An argument of the function; `batched`: whether its first axis is the batch, which `shape` leaves out."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    batched: bool = True

    def spec(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Its spec for a batch of this size, which may be symbolic."""
        return jax.ShapeDtypeStruct((batch, *self.shape) if self.batched else self.shape, np.dtype(self.dtype))

    def described(self, batch: Any) -> dict[str, Any]:
        """For a JSON file."""
        shape = [str(batch) if type(batch) is not int else batch] if self.batched else []
        return {"name": self.name, "shape": [*shape, *self.shape], "dtype": self.dtype}


class Sampler(NamedTuple):
    """`function(*inputs) -> images [batch, H, W, C]`.

    Inputs are `z` (standard normal), `label` (classes) where the networks are conditional, and `truncation` (one
    number; 1 = none) where they have a mapping.
    """

    function: Callable[..., jax.Array]
    inputs: tuple[Input, ...]
    output: Input


def sampler_of(
    config: NetConfig, variables: Tree, images: Images = "uint8", front: Mapping[str, Any] | None = None
) -> Sampler:
    """Makes the function.

    Args:
      config: of the networks.
      variables: of the generator; they become constants of the program.
      images: uint8, or float32 as the network gives them: about [-1, 1].
      front: what the manifest says of one that these weights have before G.

    Raises:
      ValueError: the weights have a front that nothing is said of.
    """
    if GRAFT in variables["params"] and front is None:
        raise ValueError("these weights have a front before G; pass on what their manifest says of it: front=..")
    pair = with_front(build(config), front)
    variables = jax.tree_util.tree_map(jnp.asarray, variables)
    conditional, mapped = config.num_classes > 0, "map" in pair.g.parts
    inputs = [Input("z", (config.z_dim,), "float32")]
    inputs += [Input("label", (), "int32")] if conditional else []
    inputs += [Input("truncation", (), "float32", batched=False)] if mapped else []

    def function(*values: jax.Array) -> jax.Array:
        named = dict(zip((argument.name for argument in inputs), values))
        with single_operations():  # a program runs on machines that this one's fast forms are not for
            if mapped:
                ws = pair.g.parts["map"](variables, named["z"], named.get("label"), named["truncation"])
                pixels = pair.g.parts["synthesise"](variables, ws)
            else:
                pixels = pair.g.apply(variables, named["z"], named.get("label"))[0]
        return to_uint8(pixels) if images == "uint8" else pixels.astype(jnp.float32)

    output = Input("images", (config.resolution, config.resolution, config.channels), images)
    return Sampler(function, tuple(inputs), output)
