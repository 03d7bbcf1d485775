"""`config.py` for methods that train few values, at ten times the step size: whether they are slow, or cannot."""

from __future__ import annotations

import dataclasses

from config import config as of_all

from gan_jax.transfer.benchmark import BenchmarkConfig

LIGHT = ("scale_shift", "fsgan", "lora", "kml", "adam")


def config() -> BenchmarkConfig:
    """The same targets, seeds and budget; the protocol ids are those of `config.py`."""
    full = of_all()
    base = dataclasses.replace(full.base, optim=dataclasses.replace(full.base.optim, lr=5e-3, d_lr=5e-4))
    methods = {name: full.methods[name] for name in LIGHT}
    return dataclasses.replace(
        full, title=f"{full.title}: light methods at lr 5e-3", base=base, methods=methods, baseline=None
    )
