"""What a transfer method adds to the game, for the one step body to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from gan_jax.train.regularisers import Extras, Network, Regulariser
from gan_jax.train.state import GanState, Variables
from gan_jax.train.turn import Judged, Turn
from gan_jax.train.update import Settle


def _unchanged(turn: Turn) -> Turn:
    return turn


def _fully(turn: Turn, network: Network) -> jax.Array | float:
    return 1.0


def _as_given(turn: Turn, judged: Judged) -> jax.Array:
    return judged.logits


def _no_metrics(state: GanState) -> dict[str, jax.Array]:
    return {}


def _nothing(g: Variables, d: Variables) -> Extras:
    return {}


@dataclasses.dataclass(frozen=True)
class Extension:
    """Additions to the step. All are pure functions: they run under every compiler.

    Attributes:
      terms: what the networks pay beside the game, as regularisers are.
      deal: `turn -> turn` before anything is made in it. Latents that are put into the batch as `z [B, z_dim]` take
        the place of drawn ones. In G's update what is taken from `turn.g` is differentiated, so that latents may be
        trained.
      looks: module paths of D, such as `b16`, whose outputs the game's passes over D keep: for `verdict`, and for
        terms as `turn.inside`.
      verdict: `(turn, what D said of a side) -> logits [B, ...]` that the adversarial loss is played with, such as those
        of patches. Metrics, adaptive augmentation and other regularisers take D's own logits `[B]`.
      weight: `(turn, network) -> []`, what the adversarial loss counts in an update of that network.
      settle: `(turn, network, before, after) -> after`, each `(trained leaves, optimiser state)`: the last word on every
        single update, for masks that hold parts of leaves. The average follows the weights; hold it in `after`.
      after: `(state before the step, state after it, a turn of the state after it) -> state`, at the end of each step.
        The turn's batch is the step's last one, its `latents` are draws of their own.
      shows: `state -> {name: []}`, what of the state after a step goes to the metrics.
      plays: whether there is a game at all; without one D is neither asked nor trained.
      begin: `(g, d) -> extras`: running values that the others keep, at the start.
      cuts: `(path in the state, shape, devices) -> axis` that devices have parts of, None = each has all of it; the step
        sees the part. For frozen leaves that are too many to be everywhere. None = every leaf is everywhere.
    """

    terms: tuple[Regulariser, ...] = ()
    deal: Callable[[Turn], Turn] = _unchanged
    looks: tuple[str, ...] = ()
    verdict: Callable[[Turn, Judged], jax.Array] = _as_given
    weight: Callable[[Turn, Network], jax.Array | float] = _fully
    settle: Settle | None = None
    after: Callable[[GanState, GanState, Turn], GanState] | None = None
    shows: Callable[[GanState], dict[str, jax.Array]] = _no_metrics
    plays: bool = True
    begin: Callable[[Variables, Variables], Extras] = _nothing
    cuts: Callable[[str, tuple[int, ...], int], int | None] | None = None


NO_EXTENSION = Extension()
