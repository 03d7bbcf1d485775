"""Timing of compiled functions against each other on a machine that does other things, too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def best_ms(functions: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """The best of several timings, ms, of functions that take turns; each is called once before, to compile."""
    for function in functions.values():
        jax.block_until_ready(function())
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best
