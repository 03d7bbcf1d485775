"""The layout of files that hold `G_ema` and `D`, as those of NVIDIA's repositories and of their heirs do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.interop.foreign import Recorded
from gan_jax.interop.layouts.layout import (
    DROPPED,
    NO_CONTEXT,
    FileContext,
    ForeignLayout,
    ForeignPair,
    Part,
    Tensors,
    kept_generator,
    prefixes,
    under,
)
from gan_jax.interop.links import ForeignLayoutError, Links

FIR = np.outer((1, 3, 3, 1), (1, 3, 3, 1)).astype(np.float32) / 64  # which StyleGAN2 and R3GAN resample with
AUGMENTS = "of the augmentation of the real images, no part of the networks"


def check_filters(tensors: Tensors, end: str, scales: tuple[float, ...] = (1.0,)) -> None:
    """Sees to it that all constants whose names end so are the FIR filter that our networks resample with.

    Raises:
      ForeignLayoutError: one is another filter, so that the network is another function.
    """
    for name, array in tensors.items():
        if name.endswith(end) and not any(_is_filter(array, scale) for scale in scales):
            raise ForeignLayoutError(f"{name!r} is not the filter [1, 3, 3, 1] of our networks but {array.tolist()}")


def _is_filter(array: np.ndarray, scale: float) -> bool:
    return array.shape == FIR.shape and np.allclose(array, FIR * scale, atol=1e-6)


def nvidia_layout(
    config: type,
    guess: Callable[[Tensors, Tensors | None], NetConfig],
    g_links: Callable[[Any], Links],
    d_links: Callable[[Any], Links],
    ignored: Mapping[str, str],
    marks: tuple[str, str],
    constants: Callable[[Any], dict[str, np.ndarray]],
    refine: Callable[[Any, Mapping[str, Recorded]], Any] = lambda config, stubs: config,
    inside: str = "",
) -> ForeignLayout:
    """A layout of networks that are found by a name that only one of them has.

    Args:
      config: the networks' class.
      guess: (G's tensors, D's or None) -> configuration.
      g_links: names of G's tensors.
      d_links: names of D's.
      ignored: ends of names -> why they are left out.
      marks: a name that only G has, and one that only D has: networks are found by them, under any prefix or none.
      constants: of the whole file.
      refine: (configuration, records of the networks' parts by `G.` or `D.` and their names) -> configuration with
        what shapes do not tell.
      inside: where the network lies in each of these, as `Model.`; for writing.
    """

    def find_pair(tensors: Tensors, context: FileContext = NO_CONTEXT) -> ForeignPair:
        kept, copies = kept_generator(prefixes(tensors, marks[0]))
        g = {} if kept is None else under(tensors, kept)
        d_prefixes = prefixes(tensors, marks[1])
        d = under(tensors, d_prefixes[0]) if d_prefixes else None
        for end in ignored:
            check_filters(tensors, end)
        pair_config = guess(g, d)
        assert kept is not None  # `guess` has refused otherwise
        places = {"G.": kept, "D.": d_prefixes[0] if d_prefixes else None}
        pair_config = refine(pair_config, {
            name + place.removeprefix(prefix): record
            for name, prefix in places.items() if prefix
            for place, record in context.stubs.items() if place.startswith(prefix)
        })  # fmt: skip
        parts = {"g_ema": Part(kept, g, g_links(pair_config))}
        if d is not None:
            parts["d"] = Part(d_prefixes[0], d, d_links(pair_config))
        left_out = {name: DROPPED for name in tensors if any(name.startswith(prefix) for prefix in copies)}
        left_out |= {name: AUGMENTS for name in tensors if name.startswith("augment_pipe.")}
        return ForeignPair(pair_config, parts, ignored, left_out)

    def names(pair: Any) -> dict[str, tuple[str, Links]]:
        return {"g_ema": (f"G_ema.{inside}", g_links(pair)), "d": (f"D.{inside}", d_links(pair))}

    return ForeignLayout(config, find_pair, names, constants, find_in_context=find_pair)
