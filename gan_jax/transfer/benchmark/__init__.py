"""Benchmarks: many methods, sources, targets, shots and seeds under one protocol, from one configuration."""

from gan_jax.transfer.benchmark.config import BenchmarkConfig, Target, TrialId, trials
from gan_jax.transfer.benchmark.runner import current, finished, restrict, run_benchmark

__all__ = ["BenchmarkConfig", "Target", "TrialId", "current", "finished", "restrict", "run_benchmark", "trials"]
