"""At which modules of a generator features are fused or compared."""

from __future__ import annotations

from collections.abc import Sequence

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.inside import Shapes, g_maps_by_block, shapes_inside
from gan_jax.trees import did_you_mean


def choose_points(pair: Pair, asked: Sequence[str] = ()) -> Shapes:
    """Paths of G's modules and the shapes of what they give, from the latents to the image; by default one a block.

    Raises:
      ConfigError: there is no module of a path that is asked for, or it gives something without channels.
    """
    if not asked:
        return g_maps_by_block(pair)
    inside = shapes_inside(pair, "g")
    for path in asked:
        if path not in inside:
            raise ConfigError(
                f"transfer.points: G has no module {path!r}{did_you_mean(path, inside)}; it has {', '.join(inside)}"
            )
        if not inside[path]:
            raise ConfigError(f"transfer.points: {path} gives one number, which has no channels; name another module")
    return {path: inside[path] for path in asked}
