"""The cost of a step that learns mixing weights of donors, against one of plain fine-tuning: seconds and operations.

The stage of weight-space fusion trains mixing weights (and D) through `theta_T + sum_i w_i (theta_i - theta_T)`, with donors
stacked on a leading axis; plain fine-tuning trains all of G and D. Programs take turns in every round (`benchmarks.methods`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import methods
from gan_jax.config import ScratchConfig
from gan_jax.fusion.attention import Attention, Conditional, conditional, source_of
from gan_jax.fusion.gradient import Coefficients
from gan_jax.fusion.mixture import Mixture, fused, grouping
from gan_jax.nets import Net, Pair, build
from gan_jax.tasks import task_of
from gan_jax.train.compile import use_all_cores
from gan_jax.train.state import GanState
from gan_jax.train.step import Chosen
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.preparation import every_leaf
from gan_jax.trees import count, partition

TITLE = (
    "One D and one G update while shares of donors are learned, ResNet pair of 32 px and up to 32 channels, 16 images"
)
GATES: dict[str, Any] = {
    "1 donor": (Coefficients(1), None),
    "2 donors": (Coefficients(2), None),
    "4 donors": (Coefficients(4), None),
    "8 donors": (Coefficients(8), None),
    "4 donors, channels": (Coefficients(4), "channel"),
    "4 donors, attention": (Attention(4), None),
    "4 donors, attention by latents, of a batch": (Conditional(4, inputs=methods.NET.z_dim), "batch"),
    "4 donors, attention by latents, of each example": (Conditional(4, inputs=methods.NET.z_dim), "example"),
}


def run() -> list[dict[str, Any]]:
    """One row for each number of donors and each kind of gate; the first is plain fine-tuning."""
    use_all_cores()
    calls, trained = {"fine-tuning": None}, {}
    calls["fine-tuning"], trained["fine-tuning"] = _program(None, None)
    for name, (gate, how) in GATES.items():
        calls[name], trained[name] = _program(gate, how)
    seconds = methods.time_in_turns(calls, methods.ROUNDS)
    return [
        {
            "stage": name,
            "trained_g": trained[name],
            "ms_per_step": 1000 * float(np.median(seconds[name])) / (methods.STEPS * methods.DISPATCHES),
            **methods.ratios(seconds[name], seconds["fine-tuning"]),
        }
        for name in calls
    ]


def _program(gate: Any, how: str | None) -> tuple[Callable[[], None], int]:
    """A call that runs some dispatches to their end, and the number of G's values that it trains."""
    config = methods.config_of(ScratchConfig())
    pair = build(config.net)
    grain = "channel" if how == "channel" else "block"
    mixture = None if gate is None else Mixture(gate, grouping(grain, pair.g_blocks), grain == "channel", jnp.float32)

    def net(wrapped: Pair) -> Net:
        if mixture is None:
            return wrapped.g
        if how in ("batch", "example"):
            return conditional(wrapped, mixture, source_of("latent", wrapped), how)
        return fused(wrapped.g, mixture)

    def trains(network: str) -> Chosen:
        return every_leaf if mixture is None or network == "d" else mixture.trains

    make_task = task_of(lambda wrapped: dataclasses.replace(wrapped, g=net(wrapped)))
    trainer = Trainer(config, make_task, methods.noise_feed(config), trains)

    def begin(key: jax.Array) -> GanState:
        keys = jax.random.split(key, 10)
        g = pair.g.init(keys[0])
        if mixture is not None:
            donors = [pair.g.init(keys[2 + i])["params"] for i in range(gate.count)]
            g = {**g, "params": mixture.attach(g["params"], keys[9], donors)}
        return trainer.init({"g": g, "d": pair.d.init(keys[1])}, key)

    params = jax.eval_shape(begin, jax.random.key(0)).nets["g"]["params"]
    return methods.runner(trainer, begin), count(partition(params, trains("g"))[0])
