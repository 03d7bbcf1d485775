"""Which layers of a family's networks are looked at, by module path and by the shape of what they give."""

from __future__ import annotations

import math

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.inside import Shapes, shapes_inside
from gan_jax.trees import match


def g_layers(pair: Pair) -> Shapes:
    """The layers of G whose features stand for an image: its blocks, or the convolutions in those of a StyleGAN2.

    The first of them is left out where there are others: it knows least of the image.
    """
    shapes, styled = shapes_inside(pair, "g"), "mapping" in pair.g_blocks
    blocks = [f"{name}/conv?" if styled else name for name in pair.g_blocks if name != "mapping"]
    found = {path: shape for name in blocks[1:] or blocks for path, shape in shapes.items() if match(name, path)}
    if not found:
        raise ConfigError(f"G gives nothing at {', '.join(blocks)} to compare samples by; it has {', '.join(shapes)}")
    return found


def g_maps(pair: Pair, smallest: int = 8) -> tuple[str, ...]:
    """Those of them that are maps of a quarter of the image or larger, from `smallest` px.

    Raises:
      ConfigError: there are none, as in a network of fully connected layers.
    """
    least = max(smallest, pair.config.resolution // 4)
    layers = g_layers(pair)
    maps = tuple(
        path for path, s in layers.items() if len(s) == 3 and min(s[:2]) >= least and s[0] % 4 == s[1] % 4 == 0
    )
    if not maps:
        given = ", ".join(f"{path} {list(shape)}" for path, shape in layers.items())
        raise ConfigError(
            f"correlations within feature maps want a G with maps of {least} px or more, and its layers give {given}; "
            "use cdc or dcl, which take features of G of any shape (cdc wants a map in D)"
        )
    return maps


def d_layers(pair: Pair) -> Shapes:
    """The blocks of D from the image upwards, without the linear layer before them and without a last one's logits."""
    shapes = shapes_inside(pair, "d")
    found = {name: shapes[name] for name in pair.d_blocks if math.prod(shapes.get(name, ())) > 1 and name != "from_rgb"}
    if not found:
        raise ConfigError(f"D gives nothing at {', '.join(pair.d_blocks)} to look at; it has {', '.join(shapes)}")
    return found
