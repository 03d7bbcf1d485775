"""Timing of compiled functions against each other on a machine that also does other work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def best_ms(functions: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """The best timing of each function, ms. Functions take turns; each is called once before, to compile."""
    for function in functions.values():
        jax.block_until_ready(function())
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


def used() -> float:
    """Processor seconds of this process so far, user and system, in all of its threads."""
    return time.process_time()


def in_turns(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(clock, processor) seconds of each function in each round. Functions take turns; each is called once before."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for function in functions.values():
        jax.block_until_ready(function())
    for i in range(rounds):
        names = list(functions)[:: -1 if i % 2 else 1]  # neither always follows the other
        for name in names:
            clock, processor = time.perf_counter(), used()
            jax.block_until_ready(functions[name]())
            seconds[name].append((time.perf_counter() - clock, used() - processor))
    return seconds
