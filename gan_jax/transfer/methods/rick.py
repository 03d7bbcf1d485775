"""RICK (Zhao et al., CVPR 2023): what is important is kept, what is least important is taken for harmful and removed.

After a warm-up of D's head alone, every `every` steps the Fisher information of each filter's weights in the target's
adversarial loss is estimated anew, on G's moving average and on D. Until the next estimate filters above the
`freeze` quantile of their group are held; those at or below the `prune` quantile become zero for good, and stay in the
set when a later estimate would spare them; the others are fine-tuned, as is all that is no filter.

The `batches` of an estimate are those of as many consecutive steps, at the beginning of each period, so that each has
images of its own; the networks move a little meanwhile. Before the first estimate all filters are held. A held filter
is equal to the bit in weights, average and moments, whatever the optimiser; a pruned one is zero in all of them.

Groups are those of `filters.py`: G's convolutions but the last, which makes the image, G's dense layers that make
styles, D's convolutions but the first, and other dense layers. A share rounds down to whole filters: 0.1 % of fewer than
1000 is none. D's head always trains. In the official code it is a group of filters with D's convolutions, and D has a
moving average.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, RICKConfig
from gan_jax.nets import Pair
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Network
from gan_jax.train.state import GanState, Variables
from gan_jax.train.turn import Turn
from gan_jax.transfer.filters import Groups, PerFilter, bias_of, choose, filter_groups, in_head, lowest, moment_of
from gan_jax.transfer.ground import Ground, Prepared
from gan_jax.transfer.importance import game_fisher
from gan_jax.transfer.method import Method
from gan_jax.trees import Tree, flatten, map_with_path

NETWORKS: tuple[Network, ...] = ("g", "d")
ENDS = ("**/to_rgb/kernel", "from_rgb/**", "**/from_rgb/**")  # what makes the image, and what reads it
HELD, PRUNED, FISHER = "rick_held", "rick_pruned", "rick_fisher"  # in extras: network -> path of a kernel -> [out]


def rick(config: RICKConfig, pair: Pair) -> Method:
    """Both networks start from the source.

    Raises:
      ConfigError: one of the networks would be fresh, or an estimate takes longer than the time to the next.
    """
    if config.networks != "both":
        raise ConfigError(
            f"transfer.networks is {config.networks}, but rick removes what the source knows from both; use both"
        )
    if config.batches > config.every:
        raise ConfigError(
            f"transfer.batches {config.batches} is more than transfer.every {config.every}: an estimate would not end "
            "before the next begins; lower it"
        )
    groups: dict[Network, Groups] = {network: filter_groups(pair, network, ENDS) for network in NETWORKS}

    def begin(g: Variables, d: Variables) -> Extras:
        of = lambda v, n: {path: flatten(v["params"])[path].shape[-1:] for one in groups[n].values() for path in one}
        sizes = {"g": of(g, "g"), "d": of(d, "d")}
        fill = lambda value, dtype: {n: {p: jnp.full(s, value, dtype) for p, s in sizes[n].items()} for n in NETWORKS}
        return {HELD: fill(True, bool), PRUNED: fill(False, bool), FISHER: fill(0, jnp.float32)}

    def after(before: GanState, state: GanState, turn: Turn) -> GanState:
        still = _masks(state.extras, "g", state.g["params"])
        average = _where(still, before.g_ema["params"], state.g_ema["params"])
        state = dataclasses.replace(state, g_ema={**state.g_ema, "params": average})
        at = before.step % config.every
        look = lambda state: _looked(state, turn, groups, at == 0)
        state = jax.lax.cond(at < config.batches, look, lambda state: state, state)
        return jax.lax.cond(at == config.batches - 1, lambda s: _decided(config, s, groups), lambda s: s, state)

    def prepare(ground: Ground, g: Variables, d: Variables, kept: dict[str, Any]) -> Prepared:
        if config.warmup_kimg == 0:
            return Prepared(g, d, kept)
        trains = (lambda path: False, lambda path: in_head(pair, path))
        warm = ground.train(g, d, config.warmup_kimg, name="warm-up of D's head", trains=trains)
        return Prepared(g, warm.d, kept, int(warm.images))

    return Method(starts=NETWORKS, prepare=prepare, extension=Extension(settle=_settle, after=after, begin=begin))


def _masks(extras: Extras, network: Network, params: Tree) -> PerFilter:
    """Path of a leaf -> `[out]`: whether a filter is held or pruned; biases of dense layers go with their filters."""
    held, pruned = extras[HELD][network], extras[PRUNED][network]
    return _with_biases({path: held[path] | pruned[path] for path in held}, params)


def _with_biases(masks: PerFilter, params: Tree) -> PerFilter:
    leaves = flatten(params)
    return masks | {bias: masks[path] for path in masks if (bias := bias_of(path, leaves))}


def _where(masks: PerFilter, yes: Tree, no: Tree) -> Tree:
    """A network's params, or its optimiser's state: one tree where a filter is masked, the other elsewhere."""

    def pick(path: str, yes: jax.Array, no: jax.Array) -> jax.Array:
        mask = masks.get(path if path in masks else moment_of(path) or "")
        return no if mask is None else choose(mask, yes, no)

    return map_with_path(pick, yes, no)


def _settle(turn: Turn, network: Network, before: tuple[Any, Any], after: tuple[Any, Any]) -> tuple[Any, Any]:
    masks = _masks(turn.extras, network, getattr(turn, network)["params"])
    return _where(masks, before[0], after[0]), _where(masks, before[1], after[1])


def _looked(state: GanState, turn: Turn, groups: dict[Network, Groups], first: jax.Array) -> GanState:
    """Adds the importance of each filter in this turn to the sum, which begins anew with the first."""
    fishers = {n: _importance(turn, n, state.g_ema, state.d, groups[n]) for n in NETWORKS}
    add = lambda total, new: jnp.where(first, 0, total) + new
    total = jax.tree_util.tree_map(add, state.extras[FISHER], fishers)
    return dataclasses.replace(state, extras={**state.extras, FISHER: total})


def _importance(turn: Turn, network: Network, g: Variables, d: Variables, groups: Groups) -> PerFilter:
    """`[out]` for each kernel: the mean Fisher information of what a filter is made of."""
    leaves = flatten((g if network == "g" else d)["params"])
    paths = [path for group in groups.values() for path in group]
    biases = {path: bias_of(path, leaves) for path in paths}
    asked = {path: leaves[path] for path in (*paths, *filter(None, biases.values()))}
    found = game_fisher(turn, network, g, d, asked, lambda leaves, asked: asked)
    rows = lambda path: found[path].reshape(-1, found[path].shape[-1])
    parts = lambda path: [rows(path), *(rows(bias) for bias in [biases[path]] if bias)]
    return {path: jnp.concatenate(parts(path)).mean(0) for path in paths}


def _decided(config: RICKConfig, state: GanState, groups: dict[Network, Groups]) -> GanState:
    """New masks by the sum of importance; what is pruned is zero from now on."""
    fishers, pruned = state.extras[FISHER], state.extras[PRUNED]
    low = {n: lowest(fishers[n], groups[n], config.freeze) for n in NETWORKS}
    least = {n: lowest(fishers[n], groups[n], config.prune) for n in NETWORKS}
    held = jax.tree_util.tree_map(jnp.logical_not, low)
    pruned = jax.tree_util.tree_map(jnp.logical_or, pruned, least)

    def zero(masks: PerFilter, tree: Tree) -> Tree:
        return _where(masks, jax.tree_util.tree_map(jnp.zeros_like, tree), tree)

    of_g, of_d = (_with_biases(pruned[n], getattr(state, n)["params"]) for n in NETWORKS)
    without = lambda masks, variables: {**variables, "params": zero(masks, variables["params"])}
    return dataclasses.replace(
        state,
        g=without(of_g, state.g), g_ema=without(of_g, state.g_ema), opt_g=zero(of_g, state.opt_g),
        d=without(of_d, state.d), opt_d=zero(of_d, state.opt_d),
        extras={**state.extras, HELD: held, PRUNED: pruned},
    )  # fmt: skip
