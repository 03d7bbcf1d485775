"""RICK (Zhao et al., CVPR 2023): important filters are frozen, the least important ones are removed as harmful.

After a warm-up of D's head alone, the Fisher information of each filter's weights in the target's adversarial loss is
estimated every `every` steps, on G's moving average and on D. Until the next estimate filters above the `freeze` quantile
of their group are frozen. Filters at or below the `prune` quantile become zero permanently, whatever a later estimate
says. The other filters are fine-tuned, and so are all leaves that are not filters.

The `batches` of an estimate are those of as many consecutive steps, at the beginning of each period, so that each has
images of its own; the networks move a little meanwhile. Before the first estimate all filters are frozen. A frozen filter
is bit-exact in weights, average and moments, whatever the optimiser; a pruned filter is zero in all of them.

Groups are those of `transfer/fisher.py`: G's convolutions except the last, which makes the image, G's dense layers that make
styles, D's convolutions except the first, and other dense layers. A share is rounded down to whole filters: 0.1 % of
fewer than 1000 is none. D's head always trains. In the official code it is a group of filters with D's convolutions, and
D has a moving average.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, RICKConfig
from gan_jax.nets import Pair
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Network
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.fisher import (
    Groups,
    PerFilter,
    adversarial_fisher,
    bias_of,
    choose,
    filter_groups,
    in_head,
    lowest,
    moment_of,
)
from gan_jax.transfer.method import Method
from gan_jax.transfer.preparation import PrepareContext, PreparedState, no_leaf
from gan_jax.trees import Tree, flatten, map_with_path

NETWORKS: tuple[Network, ...] = ("g", "d")
ENDS = ("**/to_rgb/kernel", "from_rgb/**", "**/from_rgb/**")  # the layers that make the image or read it
FROZEN, PRUNED, FISHER = "rick_held", "rick_pruned", "rick_fisher"  # in extras: network -> path of a kernel -> [out]


def make(config: RICKConfig, pair: Pair) -> Method:
    """Both networks start from the source; filters are frozen, pruned or fine-tuned by their importance.

    Raises:
      ConfigError: one of the networks would be fresh, or an estimate takes longer than the time to the next.
    """
    if config.networks != "both":
        raise ConfigError(
            f"transfer.networks is {config.networks}, but rick freezes and prunes filters of both; use both"
        )
    if config.batches > config.every:
        raise ConfigError(
            f"transfer.batches {config.batches} is more than transfer.every {config.every}: an estimate would not end "
            "before the next begins; lower it"
        )
    groups: dict[Network, Groups] = {network: filter_groups(pair, network, ENDS) for network in NETWORKS}

    def init_extras(nets: Networks) -> Extras:
        def full(value: Any, dtype: Any) -> dict[str, PerFilter]:
            return {n: {path: jnp.full(shape, value, dtype) for path, shape in shapes[n].items()} for n in NETWORKS}

        leaves = {n: flatten(nets[n]["params"]) for n in NETWORKS}
        shapes = {
            n: {path: leaves[n][path].shape[-1:] for paths in groups[n].values() for path in paths} for n in NETWORKS
        }
        return {FROZEN: full(True, bool), PRUNED: full(False, bool), FISHER: full(0, jnp.float32)}

    def post_step(before: GanState, state: GanState, ctx: StepContext) -> GanState:
        masks = _masks(state.extras, "g", state.nets["g"]["params"])
        average = _where(masks, before.ema["g"]["params"], state.ema["g"]["params"])
        state = state.replace(ema={**state.ema, "g": {**state.ema["g"], "params": average}})
        at = before.step % config.every
        add = lambda state: _add_importance(state, ctx, groups, at == 0)
        state = jax.lax.cond(at < config.batches, add, lambda state: state, state)
        return jax.lax.cond(at == config.batches - 1, lambda s: _update_masks(config, s, groups), lambda s: s, state)

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        if config.warmup_kimg == 0:
            return PreparedState(nets, constants)
        trains = {"g": no_leaf, "d": lambda path: in_head(pair, path)}
        warm = context.train(nets, config.warmup_kimg, name="warm-up of D's head", trains=trains)
        return PreparedState({**nets, "d": warm.nets["d"]}, constants, int(warm.images))

    extension = Extension(post_update=_hold, post_step=post_step, init_extras=init_extras)
    return Method(starts=NETWORKS, prepare=prepare, extension=extension)


def _masks(extras: Extras, network: Network, params: Tree) -> PerFilter:
    """Path of a leaf -> `[out]`: whether a filter is frozen or pruned; biases of dense layers follow their filters."""
    frozen, pruned = extras[FROZEN][network], extras[PRUNED][network]
    return _with_biases({path: frozen[path] | pruned[path] for path in frozen}, params)


def _with_biases(masks: PerFilter, params: Tree) -> PerFilter:
    leaves = flatten(params)
    return masks | {bias: masks[path] for path in masks if (bias := bias_of(path, leaves))}


def _where(masks: PerFilter, yes: Tree, no: Tree) -> Tree:
    """A network's params, or its optimiser's state: one tree where a filter is masked, the other elsewhere."""

    def pick(path: str, yes: jax.Array, no: jax.Array) -> jax.Array:
        mask = masks.get(path if path in masks else moment_of(path) or "")
        return no if mask is None else choose(mask, yes, no)

    return map_with_path(pick, yes, no)


def _hold(ctx: StepContext, network: Network, before: tuple[Any, Any], after: tuple[Any, Any]) -> tuple[Any, Any]:
    masks = _masks(ctx.extras, network, ctx.nets[network]["params"])
    return _where(masks, before[0], after[0]), _where(masks, before[1], after[1])


def _add_importance(state: GanState, ctx: StepContext, groups: dict[Network, Groups], first: jax.Array) -> GanState:
    """The state with each filter's importance in this update added to the sum, which starts at 0 where `first`."""
    fishers = {n: _importance(ctx, n, state.ema["g"], state.nets["d"], groups[n]) for n in NETWORKS}
    add = lambda total, new: jnp.where(first, 0, total) + new
    total = jax.tree_util.tree_map(add, state.extras[FISHER], fishers)
    return state.replace(extras={**state.extras, FISHER: total})


def _importance(ctx: StepContext, network: Network, g: Variables, d: Variables, groups: Groups) -> PerFilter:
    """The mean Fisher information of each filter's weights and bias: `[out]` for each kernel."""
    leaves = flatten((g if network == "g" else d)["params"])
    paths = [path for group in groups.values() for path in group]
    biases = {path: bias_of(path, leaves) for path in paths}
    params = {path: leaves[path] for path in (*paths, *filter(None, biases.values()))}
    fishers = adversarial_fisher(ctx, network, g, d, params, lambda leaves, params: params)

    def entries(path: str) -> jax.Array:
        parts = [path, *filter(None, [biases[path]])]
        return jnp.concatenate([fishers[part].reshape(-1, fishers[part].shape[-1]) for part in parts])

    return {path: entries(path).mean(0) for path in paths}


def _update_masks(config: RICKConfig, state: GanState, groups: dict[Network, Groups]) -> GanState:
    """The state with masks by the sum of importance, and with pruned filters set to zero."""
    fishers, pruned = state.extras[FISHER], state.extras[PRUNED]
    low = {n: lowest(fishers[n], groups[n], config.freeze) for n in NETWORKS}
    least = {n: lowest(fishers[n], groups[n], config.prune) for n in NETWORKS}
    frozen = jax.tree_util.tree_map(jnp.logical_not, low)
    pruned = jax.tree_util.tree_map(jnp.logical_or, pruned, least)

    def zero(masks: PerFilter, tree: Tree) -> Tree:
        return _where(masks, jax.tree_util.tree_map(jnp.zeros_like, tree), tree)

    def without(masks: PerFilter, variables: Variables) -> Variables:
        return {**variables, "params": zero(masks, variables["params"])}

    masks = {n: _with_biases(pruned[n], state.nets[n]["params"]) for n in NETWORKS}
    return state.replace(
        nets={n: without(masks[n], state.nets[n]) for n in NETWORKS},
        ema={"g": without(masks["g"], state.ema["g"])},
        opt={n: zero(masks[n], state.opt[n]) for n in NETWORKS},
        extras={**state.extras, FROZEN: frozen, PRUNED: pruned},
    )
