"""Attention-based fusion in the space of weights: a learned query decides how much of each donor a block takes.

What the shares are made of: `fusion.attention`. Gates are shut at first, so that the stage begins as the source to the
bit; the softmax's temperature falls over the stage, so that shares stay alike until D has said something. The queries
are free vectors, so that what was learned collapses into plain weights exactly, which are then fine-tuned.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from gan_jax.config import AttentionFusionConfig, ConfigError
from gan_jax.fusion.attention import TEMPERATURE, Attention, cooled
from gan_jax.fusion.mixture import BRANCH, GATE
from gan_jax.nets import Pair
from gan_jax.train.state import GanState, Variables
from gan_jax.train.turn import Turn
from gan_jax.transfer.fusing import Fusing, fusion
from gan_jax.transfer.method import Method


def attention_fusion(config: AttentionFusionConfig, pair: Pair) -> Method:
    """Queries, keys and gates are learned for `fuse_kimg`, then everything is fine-tuned.

    Raises:
      ConfigError: as `fusion`; a temperature that is not above 0; a width below 1.
    """
    if min(config.temperature, config.temperature_end) <= 0:
        raise ConfigError(
            f"transfer.temperature {config.temperature:g} and temperature_end {config.temperature_end:g} divide scores; "
            "use numbers above 0 (30 and 1 are usual)"
        )
    if config.attention_width < 1:
        raise ConfigError(f"transfer.attention_width is {config.attention_width}; use 1 or more (16 is usual)")

    def gate(*_: Any) -> Attention:
        return Attention(len(config.donors), config.attention_width, config.gate, config.temperature)

    def after(before: GanState, state: GanState, turn: Turn) -> GanState:
        progress = state.images.astype(jnp.float32) / (1000 * config.fuse_kimg)
        now = cooled(config.temperature, config.temperature_end, progress)
        set_ = lambda variables: _with_temperature(variables, now)
        carried = {
            name: set_(getattr(state, name)) for name in ("g", "g_ema", "d") if BRANCH in getattr(state, name)["params"]
        }
        return dataclasses.replace(state, **carried)

    return fusion(config, pair, Fusing(gate, after=after))


def _with_temperature(variables: Variables, value: Any) -> Variables:
    params = variables["params"]
    gate = {**params[BRANCH][GATE], TEMPERATURE: value}
    return {**variables, "params": {**params, BRANCH: {**params[BRANCH], GATE: gate}}}
