"""How much parameters matter to the game, estimated while it stands still or as it is played."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.losses import LOSSES
from gan_jax.nets import Pair
from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network
from gan_jax.train.state import GanState, Variables
from gan_jax.transfer.fisher import fisher
from gan_jax.transfer.preparation import PrepareContext, no_leaf
from gan_jax.trees import Tree, flatten, unflatten

ESTIMATE = "estimate"


def examples(ctx: StepContext) -> dict[str, Any]:
    """What one example of a context is made of, each leaf `[B, ...]`, `beside` the places of those that D sees with it."""
    keys = {"real": ctx.keys(Purpose.AUGMENT_REAL), "fake": ctx.keys(Purpose.AUGMENT_FAKE)}
    return {"batch": ctx.batch, "latents": ctx.latent_keys, **keys, **beside(ctx)}


def beside(ctx: StepContext) -> dict[str, jax.Array]:
    """`{"beside": [B, group - 1]}`: for each example the others of its group, where D compares examples; else nothing.

    A D that compares would take an example by itself for one of a collapsed generator.
    """
    n = len(jax.tree_util.tree_leaves(ctx.latent_keys)[0])
    group = min(ctx.task.d_group, n)
    if group == 1:
        return {}
    return {"beside": (jnp.arange(n)[:, None] + jnp.arange(1, group)[None]) % n}


def in_its_group(one: Any, every: Any) -> Any:
    """An example with a leading axis, and behind it those beside it: `[group, ...]`; `every` has all of them."""
    others = one.get("beside")
    own = {name: leaf for name, leaf in one.items() if name != "beside"}
    if others is None:
        return jax.tree_util.tree_map(lambda x: x[None], own)
    every = {name: every[name] for name in own}
    return jax.tree_util.tree_map(lambda x, rows: jnp.concatenate([x[None], rows[others]]), own, every)


def first_moves(made: Tree) -> Tree:
    """What was made of an example and of those beside it; only the first has a gradient."""
    if len(jax.tree_util.tree_leaves(made)[0]) == 1:
        return made
    return jax.tree_util.tree_map(lambda x: jnp.concatenate([x[:1], jax.lax.stop_gradient(x[1:])]), made)


def game_loss(ctx: StepContext, network: Network) -> Callable[[Variables, Variables, Any], jax.Array]:
    """`(g, d, example) -> []`: what a network pays in the game for one real image and one generated one.

    Networks are in evaluation mode, where examples influence each other only in a D that compares them: there each is
    beside others of the batch, which stay as they are. Images are augmented as D sees them.
    """
    task, adversarial, every = ctx.task, LOSSES[ctx.loss.name], examples(ctx)

    def value(g: Variables, d: Variables, one: Any) -> jax.Array:
        one = in_its_group(one, every)
        see = lambda sample, side: task.augment(one[side], sample, ctx.augment_p)
        judge = lambda sample, side: task.discriminate(d, see(sample, side), one["batch"], False)[0]
        fake = first_moves(task.generate(g, one["batch"], one["latents"], False)[0])
        of_d, of_g = adversarial(judge(task.real(one["batch"]), "real")[:1], judge(fake, "fake")[:1])
        return (of_d if network == "d" else of_g)[0]

    return value


def game_fisher(
    ctx: StepContext,
    network: Network,
    g: Variables,
    d: Variables,
    params: Tree,
    change: Callable[[dict[str, jax.Array], Tree], dict[str, jax.Array]],
) -> Tree:
    """Fisher information of `params` in a network's loss, over the examples of a context on all devices.

    Args:
      ctx: whose examples.
      network: who pays.
      g, d: variables of the two.
      params: what is asked about.
      change: `(leaves of the network's params by path, params) -> those that params change`.
    """
    nets = {"g": g, "d": d}
    own = nets[network]
    leaves, value = flatten(own["params"]), game_loss(ctx, network)

    def loss(params: Tree, one: Any) -> jax.Array:
        moved = {**own, "params": unflatten(leaves | change(leaves, params), like=own["params"])}
        both = {**nets, network: moved}
        return value(both["g"], both["d"], one)

    return fisher(loss, params, examples(ctx), sync=ctx.sync)


def g_information(context: PrepareContext, g: Variables, d: Variables, samples: int) -> Tree:
    """Fisher information of G's parameters: the mean over so many of its images of the squared gradient of log D(G(z))."""
    return estimate(context, g, d, samples, source_fisher, like=g["params"])


def source_fisher(ctx: StepContext) -> Tree:
    """Fisher information of the parameters of the constant G, on the latents of a context."""
    g, d, task = ctx.constants["g"], ctx.constants["d"], ctx.task
    every = {"batch": ctx.batch, "latents": ctx.latent_keys}

    def loss(params: Tree, one: Tree) -> jax.Array:
        one = in_its_group(one, every)
        image = first_moves(task.generate({**g, "params": params}, one["batch"], one["latents"], False)[0])
        return jax.nn.softplus(-task.discriminate(d, image, one["batch"], False)[0])[0]

    return fisher(loss, g["params"], {**every, **beside(ctx)}, sync=ctx.sync)


def estimate(
    context: PrepareContext,
    g: Variables,
    d: Variables,
    samples: int,
    value: Callable[[StepContext], Tree],
    like: Tree,
    wrap: Callable[[Pair], Pair] | None = None,
) -> Tree:
    """The mean of `value(ctx)` over contexts with `samples` examples, rounded up to whole dispatches; nothing trains.

    Args:
      context: where.
      g, d: variables, which contexts have as `constants["g"]` and `constants["d"]` to the bit.
      samples: examples, each of a real image and of latents.
      value: a mean over the examples of all devices.
      like: the shapes of it.
      wrap: the networks, where it is not the run's.
    """

    def add(before: GanState, state: GanState, ctx: StepContext) -> GanState:
        total = jax.tree_util.tree_map(jnp.add, state.extras[ESTIMATE], value(ctx))
        return dataclasses.replace(state, extras={**state.extras, ESTIMATE: total})

    zeros = lambda nets: {ESTIMATE: jax.tree_util.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), like)}
    state = context.train(
        {"g": g, "d": d}, samples * context.config.train.d_steps / 1000, name="importance of weights",
        trains={"g": no_leaf, "d": no_leaf}, wrap=wrap,
        extension=Extension(adversarial=False, post_step=add, init_extras=zeros),
        constants={"g": g, "d": d},
    )  # fmt: skip
    return jax.tree_util.tree_map(lambda total: total / state.step.astype(total.dtype), state.extras[ESTIMATE])
