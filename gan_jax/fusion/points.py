"""Choice of points: the modules of a generator whose features are fused or compared."""

from __future__ import annotations

from collections.abc import Sequence

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.inside import Shapes, g_maps_by_block, module_shapes
from gan_jax.trees import did_you_mean


def choose_points(pair: Pair, points: Sequence[str] = ()) -> Shapes:
    """Returns paths of G's modules and their outputs' shapes, from the latents to the image; by default one per block.

    Args:
      pair: the pair of G.
      points: paths of modules; empty = one per block.

    Raises:
      ConfigError: a path without a module, or whose output has no channels.
    """
    if not points:
        return g_maps_by_block(pair)
    modules = module_shapes(pair, "g")
    for path in points:
        if path not in modules:
            raise ConfigError(
                f"transfer.points: G has no module {path!r}{did_you_mean(path, modules)}; it has {', '.join(modules)}"
            )
        if not modules[path]:
            raise ConfigError(f"transfer.points: {path} gives one number, which has no channels; name another module")
    return {path: modules[path] for path in points}
