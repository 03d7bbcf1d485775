"""The common parts of the benchmarks of this folder: the recipe of a trial, and the options of every method."""

from __future__ import annotations

import dataclasses
from typing import Any

from gan_jax.config import METHOD_NAMES, MethodConfig
from gan_jax.transfer.recipes import short as base

__all__ = ["base", "methods"]
LEFT_OUT = ("nada", "preserve")  # adapts to a text; is a term for what follows a fusion


def methods() -> dict[str, MethodConfig]:
    """Every method of one source, but for those left out, with what this scale asks for."""
    single = {name: cls for name, cls in METHOD_NAMES.items() if not (name in LEFT_OUT or cls.fuses or cls.several)}
    configs: dict[str, Any] = {name: cls() for name, cls in single.items()}
    return {name: dataclasses.replace(config, **SCALE.get(name, {})) for name, config in configs.items()}


# Published values are for 2,000 and more steps of networks of 256 px; here there are 320 steps of 80,000 weights.
SCALE: dict[str, dict[str, Any]] = {
    "adafm": {
        "d_blocks": 1
    },  # of D's few blocks; two of 256 px are its image side, here they would be nearly all of it
    "minegan": {"mine_kimg": 1.024, "miner_width": 128},  # a fifth of the budget; a hidden layer of twice the latents
    "l2_sp": {"strength": 0.1},  # a sum over 80,000 weights, not over tens of millions
    "ewc": {
        "balance": 0.01
    },  # Fisher information has the scale of the network: a move of 10 % costs 1, like the adversarial loss
    "adam": {"probe_kimg": 1.024, "probe_samples": 256},  # a fifth of the budget, as 500 of the paper's steps are
    "rick": {  # the paper's 250, 50 and 1,750 steps in proportion
        "warmup_kimg": 0.768,
        "every": 10,
        "batches": 2,  # 32 images for each estimate; there are as many estimates as in the paper
        "prune": 1.0,  # of filters that are few: 0.1 % would be none
    },
}
