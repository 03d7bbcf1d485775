"""Additions of a transfer method to the step, as pure functions that run under every compiler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan_jax.train.context import DOutput, StepContext
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import GanState, Networks

# `(ctx, network, before, after) -> after`, pairs of (trained leaves, optimiser state) around a single update
PostUpdate = Callable[[StepContext, str, tuple[Any, Any], tuple[Any, Any]], tuple[Any, Any]]


def _unchanged(ctx: StepContext) -> StepContext:
    return ctx


def _fully(ctx: StepContext, network: str) -> jax.Array | float:
    return 1.0


def _own_logits(ctx: StepContext, output: DOutput) -> jax.Array:
    return output.logits


def _no_metrics(state: GanState) -> dict[str, jax.Array]:
    return {}


def _no_extras(nets: Networks) -> Extras:
    return {}


@dataclasses.dataclass(frozen=True)
class Extension:
    """Additions to the step.

    Attributes:
      regularisers: further loss terms of networks.
      transform: `ctx -> ctx` before anything is generated. Latents `z [B, z_dim]` in the batch replace drawn ones. In a
        phase without `inputs`, such as G's, values from `ctx.nets` are differentiated, so that latents may be trained.
      capture: module paths of D, such as `b16`, whose outputs are captured for `logits_fn`, and for regularisers as
        `ctx.intermediates`.
      logits_fn: `(ctx, D's output for a side) -> logits [B, ...]` of the adversarial loss, such as those of patches.
        Metrics, adaptive augmentation and other regularisers take D's own logits.
      weight: `(ctx, network) -> []`, factor of the adversarial loss in an update of that network.
      post_update: changes each single update, those of lazy regularisers too, such as by masks that freeze parts of
        leaves. The average follows the weights; `post_step` can freeze it.
      post_step: `(state before the step, state after it, ctx of the state after it) -> state`, at the end of each step.
        The batch of `ctx` is the last of the step; its `latent_keys` are drawn separately.
      metrics: `state -> {name: []}`, logged after a step.
      adversarial: whether there is an adversarial loss; without one D is neither evaluated nor trained.
      init_extras: `nets -> extras`, running values of the other hooks at the start.
      sharding: `(path in the state, shape, devices) -> axis` along which the leaf is sharded, or None; the step sees a
        device's part. It is for frozen leaves that need too much memory. None = every leaf is replicated.
    """

    regularisers: tuple[Regulariser, ...] = ()
    transform: Callable[[StepContext], StepContext] = _unchanged
    capture: tuple[str, ...] = ()
    logits_fn: Callable[[StepContext, DOutput], jax.Array] = _own_logits
    weight: Callable[[StepContext, str], jax.Array | float] = _fully
    post_update: PostUpdate | None = None
    post_step: Callable[[GanState, GanState, StepContext], GanState] | None = None
    metrics: Callable[[GanState], dict[str, jax.Array]] = _no_metrics
    adversarial: bool = True
    init_extras: Callable[[Networks], Extras] = _no_extras
    sharding: Callable[[str, tuple[int, ...], int], int | None] | None = None


NO_EXTENSION = Extension()
