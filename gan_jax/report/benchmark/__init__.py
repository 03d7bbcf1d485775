"""Tables, curves, grids and the page of a benchmark's finished trials."""

from gan_jax.report.benchmark.write import write_benchmark

__all__ = ["write_benchmark"]
