"""Two donors of disjoint digits into one pair of all digits: 100 images, every method that fuses two pairs.

Five seeds of finetune, uniform, gradient, attention and distillation; the first three (`--seeds 0,1,2`) of all others.
"""

from __future__ import annotations

from fusions import HIGH, LOW, ablations, merges, methods, on_digits

from gan_jax.transfer.benchmark import BenchmarkConfig


def config() -> BenchmarkConfig:
    """Every method begins with the donor of low digits; the fusions add that of high digits."""
    every = methods((HIGH,)) | merges((HIGH,)) | ablations((HIGH,))
    return on_digits("Two donors of disjoint digits: one pair of all of them", LOW, every, seeds=5)
