"""What a transfer method adds to the step, as pure functions that run under every compiler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan_jax.train.context import DOutput, StepContext
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import GanState, Networks

# `(ctx, network, (trained leaves, optimiser state) before a single update, after it) -> after it`
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
      transform: `ctx -> ctx` before anything is generated. Latents that are put into the batch as `z [B, z_dim]` take
        the place of drawn ones. In a phase without `inputs`, such as G's, what is taken from `ctx.nets` is
        differentiated, so that latents may be trained.
      capture: module paths of D, such as `b16`, whose outputs the passes over D keep: for `logits_fn`, and for
        regularisers as `ctx.intermediates`.
      logits_fn: `(ctx, D's output for a side) -> logits [B, ...]` of the adversarial loss, such as those of patches.
        Metrics, adaptive augmentation and other regularisers take D's own logits.
      weight: `(ctx, network) -> []`, the factor of the adversarial loss in an update of that network.
      post_update: changes each single update, those of lazy regularisers too: for masks that hold parts of leaves. The
        average follows the weights; hold it in `post_step`.
      post_step: `(state before the step, state after it, ctx of the state after it) -> state`, at the end of each step.
        The batch of `ctx` is the step's last one, its `latent_keys` are draws of their own.
      metrics: `state -> {name: []}`, logged after a step.
      adversarial: whether there is an adversarial loss; without one D is neither asked nor trained.
      init_extras: `nets -> extras`: running values that the others keep, at the start.
      sharding: `(path in the state, shape, devices) -> axis` that devices have parts of, None = each has all of it; the
        step sees the part. For frozen leaves that are too many to be everywhere. None = every leaf is everywhere.
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
