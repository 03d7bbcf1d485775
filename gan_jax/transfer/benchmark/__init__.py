"""Many methods, sources, targets, shots and seeds under one protocol, from one configuration; see `runner.py`."""

from gan_jax.transfer.benchmark.config import BenchmarkConfig, CellId, Target, cells
from gan_jax.transfer.benchmark.records import current, finished, restrict
from gan_jax.transfer.benchmark.runner import run_benchmark

__all__ = ["BenchmarkConfig", "CellId", "Target", "cells", "current", "finished", "restrict", "run_benchmark"]
