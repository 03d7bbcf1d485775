"""Attention statistics of feature fusion: numbers and small maps as JSON values, for metrics rows and reports."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gan_jax.fusion.carried import Fusion, name_of
from gan_jax.fusion.features import attention_maps
from gan_jax.nets.build import Pair, Variables
from gan_jax.reserved import FUSION, LAYERS
from gan_jax.tasks.image import probes

PROBES = 64  # latents that attention is measured on
MAP_PX = 16  # largest side of a stored map


def measure_attention(pair: Pair, fusion: Fusion, g: Variables) -> dict[str, Any]:
    """Measures a fused generator's attention by point, in evaluation mode and over fixed latents.

    Returns:
      `shares`: mean attention weights `[K + 1]` over examples and positions, the generator's own first; `gates`: a number;
      `counts`: `[K]`, |gate| x attention weight; `maps`: means over examples as lists `[H, W, K + 1]`, at most `MAP_PX`.
    """
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    maps = jax.jit(lambda v: {p: a.mean(0) for p, a in attention_maps(pair.g, fusion, v, z, labels).items()})(g)
    gates = {point: float(g["params"][FUSION][LAYERS][name_of(point)]["gate"]) for point in fusion.points}
    maps = {point: maps[point] for point in fusion.points}  # from the latents on, where `jit` sorts by name
    shares = {point: np.asarray(a, np.float64).mean((0, 1)) for point, a in maps.items()}

    def rounded(values: Any) -> list[Any]:
        return np.round(np.asarray(values, np.float64), 6).tolist()

    return {
        "shares": {point: rounded(row) for point, row in shares.items()},
        "gates": gates,
        "counts": {point: rounded(abs(gates[point]) * row[1:]) for point, row in shares.items()},
        "maps": {point: rounded(smaller(np.asarray(a))) for point, a in maps.items()},
    }


def smaller(a: np.ndarray, most: int = MAP_PX) -> np.ndarray:
    """Halves a map `[H, W, C]` by means of neighbours until it has at most `most` rows and columns."""
    while max(a.shape[:2]) > most and a.shape[0] % 2 == a.shape[1] % 2 == 0:
        a = a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2, -1).mean((1, 3))
    return a
