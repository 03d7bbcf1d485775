"""The layers of a network whose features are compared: module path -> shape of the output."""

from __future__ import annotations

import math

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.inside import Shapes, module_shapes
from gan_jax.trees import match


def g_layers(pair: Pair) -> Shapes:
    """The layers of G whose features represent an image: its blocks, or the convolutions in the blocks of a StyleGAN2.

    The first layer is left out where there are others: it depends least on the image.

    Raises:
      ConfigError: G has no such layer.
    """
    shapes, styled = module_shapes(pair, "g"), "mapping" in pair.g_blocks
    blocks = [f"{name}/conv?" if styled else name for name in pair.g_blocks if name != "mapping"]
    layers = {path: shape for name in blocks[1:] or blocks for path, shape in shapes.items() if match(name, path)}
    if not layers:
        raise ConfigError(f"G has no outputs at {', '.join(blocks)} to compare samples by; it has {', '.join(shapes)}")
    return layers


def g_maps(pair: Pair, smallest: int = 8) -> tuple[str, ...]:
    """The paths of `g_layers` whose outputs are maps of a quarter of the image or larger, at least `smallest` px.

    Raises:
      ConfigError: there are none, as in a network of fully connected layers.
    """
    least = max(smallest, pair.config.resolution // 4)
    layers = g_layers(pair)
    maps = tuple(
        path for path, s in layers.items() if len(s) == 3 and min(s[:2]) >= least and s[0] % 4 == s[1] % 4 == 0
    )
    if not maps:
        shapes = ", ".join(f"{path} {list(shape)}" for path, shape in layers.items())
        raise ConfigError(
            f"correlations within feature maps need a G with maps of {least} px or more, but its layers have {shapes}; "
            "use cdc or dcl, which take features of G of any shape (cdc needs a map in D)"
        )
    return maps


def d_layers(pair: Pair) -> Shapes:
    """The blocks of D from the image upwards, without the linear layer before them and without a last block of logits.

    Raises:
      ConfigError: D has no such block.
    """
    shapes = module_shapes(pair, "d")
    blocks = {
        name: shapes[name] for name in pair.d_blocks if math.prod(shapes.get(name, ())) > 1 and name != "from_rgb"
    }
    if not blocks:
        raise ConfigError(f"D has no outputs at {', '.join(pair.d_blocks)} to compare; it has {', '.join(shapes)}")
    return blocks
