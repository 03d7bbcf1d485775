"""One update of one network: the gradient of what it pays, Adam, then the lazy regularisers' own updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan_jax.config import Config
from gan_jax.train.conflict import give_way
from gan_jax.train.optim import LR_SCALE, apply_updates, lazy_correction, learning_rate, make_adam
from gan_jax.train.regularisers import Extras, Network, Regulariser, wanted
from gan_jax.train.state import GanState, Variables
from gan_jax.train.turn import Turn
from gan_jax.trees import merge, partition

Chosen = Callable[[str], bool]  # whether the leaf at this path of `params` is trained
Metrics = dict[str, jax.Array]


class Played(NamedTuple):
    """What the game came to in a turn."""

    value: jax.Array  # [] what the network pays for it, mean over this device's examples
    turn: Turn  # with what was made and judged
    collections: Variables  # of the network, updated
    metrics: Metrics


class Updated(NamedTuple):
    """What an update gives."""

    variables: Variables
    trained: Any  # those of its params that are trained
    opt: Any
    extras: Extras
    metrics: Metrics


# `(turn, network, (trained leaves, optimiser state) before a single update, after it) -> after it`
Settle = Callable[[Turn, Network, tuple[Any, Any], tuple[Any, Any]], tuple[Any, Any]]


def make_optimizer(config: Config, network: Network, terms: Sequence[Regulariser] = ()) -> optax.GradientTransformation:
    """Adam of a network, its betas corrected where regularisers have updates of their own."""
    return make_adam(config.optim, _correction(config, network, terms))


def _all_of(config: Config, network: Network, terms: Sequence[Regulariser]) -> list[Regulariser]:
    return [*wanted(config.loss, network), *(one for one in terms if one.network == network)]


def _correction(config: Config, network: Network, terms: Sequence[Regulariser]) -> float:
    return lazy_correction(*(one.interval(config.loss) for one in _all_of(config, network, terms)))


def make_update(
    config: Config,
    network: Network,
    chosen: Chosen,
    sync: Callable[[Any], Any],
    terms: Sequence[Regulariser] = (),
    settle: Settle | None = None,
    deal: Callable[[Turn], Turn] | None = None,
) -> Callable[[GanState, Turn, Callable[[Turn], Played]], Updated]:
    """Makes `update(state, turn, play) -> Updated` of a network.

    Args:
      config: loss and optimiser are read from it.
      network: who is updated.
      chosen: which leaves of its params are trained; the others have no backward pass.
      sync: the mean of a tree over devices.
      terms: further regularisers, of either network.
      settle: has the last word on each single update, those of lazy regularisers too.
      deal: what happens to a turn before it is played, with gradients; None = the turns were dealt.
    """
    optim, regularisers = config.optim, _all_of(config, network, terms)
    eager = [one for one in regularisers if one.interval(config.loss) == 1 and not one.yields]
    yielding = [one for one in regularisers if one.interval(config.loss) == 1 and one.yields]
    lazy = [one for one in regularisers if one.interval(config.loss) > 1]
    correction = _correction(config, network, terms)
    lr = optim.lr if network == "g" or optim.d_lr is None else optim.d_lr

    def update(state: GanState, turn: Turn, play: Callable[[Turn], Played]) -> Updated:
        variables = getattr(state, network)
        trained, frozen = partition(variables["params"], chosen)

        def with_leaves(trained: Any) -> Turn:
            change: dict[str, Any] = {network: {**variables, "params": merge(trained, frozen)}}
            complete = dataclasses.replace(turn, **change)
            return complete if deal is None else deal(complete)

        def objective(trained: Any) -> tuple[jax.Array, Any]:
            played = play(with_leaves(trained))
            terms = {one.name: one.value(played.turn) for one in eager}
            total = played.value + sum((term for term, _ in terms.values()), start=jnp.zeros(()))
            metrics = played.metrics | {name: term for name, (term, _) in terms.items()}
            changes = {name: value for _, kept in terms.values() for name, value in kept.items()}
            return total, (played.collections, metrics, changes)

        grads, (collections, metrics, changes) = jax.grad(objective, has_aux=True)(trained)
        grads, collections, metrics = sync((grads, collections, metrics))
        extras = {**turn.extras, **changes}
        main = grads
        for one in yielding:  # the same pass again, which the compiler shares

            def beside(trained: Any, one: Any = one) -> tuple[jax.Array, Extras]:
                return one.value(play(with_leaves(trained)).turn)

            (value, changes), other = jax.value_and_grad(beside, has_aux=True)(trained)
            metrics[one.name], other = sync((value, other))
            other, metrics[f"{one.name}_conflict"] = give_way(other, main)
            grads, extras = jax.tree_util.tree_map(jnp.add, grads, other), {**extras, **changes}
        adam = make_adam(optim, correction, turn.now("b2", optim.b2))
        rate = learning_rate(optim, turn.now("lr", lr), config.train.kimg * 1000, state.images) * correction
        rate *= state.extras.get(LR_SCALE, 1.0)

        def applied(grads: Any, opt: Any, trained: Any) -> tuple[Any, Any]:
            after = apply_updates(adam, rate, grads, opt, trained)
            return after if settle is None else settle(turn, network, (trained, opt), after)

        trained, opt = applied(grads, getattr(state, f"opt_{network}"), trained)
        for one in lazy:
            interval = one.interval(config.loss)

            def alone(args: Any, one: Any = one, interval: int = interval) -> Any:
                trained, opt, extras = args

                def penalty(trained: Any) -> tuple[jax.Array, Extras]:
                    value, changes = one.value(with_leaves(trained))
                    return value * interval, changes

                (value, changes), grads = jax.value_and_grad(penalty, has_aux=True)(trained)
                value, grads = sync((value, grads))
                return *applied(grads, opt, trained), {**extras, **changes}, value

            skip = lambda args: (*args, jnp.zeros(()))
            due = turn.done % interval == 0
            trained, opt, extras, metrics[one.name] = jax.lax.cond(due, alone, skip, (trained, opt, extras))
        metrics["finite"] = _finite(grads, trained)
        return Updated({"params": merge(trained, frozen), **collections}, trained, opt, extras, metrics)

    return update


def _finite(grads: Any, params: Any) -> jax.Array:
    """One bool per leaf: whether its gradient and its new value are finite."""
    pairs = zip(jax.tree_util.tree_leaves(grads), jax.tree_util.tree_leaves(params), strict=True)
    flags = [jnp.isfinite(g).all() & jnp.isfinite(p).all() for g, p in pairs]
    return jnp.stack(flags) if flags else jnp.ones((0,), bool)
