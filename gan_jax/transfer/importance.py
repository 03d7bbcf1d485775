"""Fisher information of parameters in the adversarial loss, estimated without training or during it."""

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
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.fisher import fisher
from gan_jax.transfer.preparation import PrepareContext, no_leaf
from gan_jax.trees import Tree, flatten, unflatten

ESTIMATE = "estimate"


def examples(ctx: StepContext) -> dict[str, Any]:
    """The examples of a context, each leaf `[B, ...]`; `group` holds the indices of examples that D compares each with."""
    keys = {"real": ctx.keys(Purpose.AUGMENT_REAL), "fake": ctx.keys(Purpose.AUGMENT_FAKE)}
    return {"batch": ctx.batch, "latents": ctx.latent_keys, **keys, **group_indices(ctx)}


def group_indices(ctx: StepContext) -> dict[str, jax.Array]:
    """`{"group": [B, size - 1]}`, indices of the other examples of each example's group; empty where D compares none.

    To a D that compares, an example by itself looks like one of a collapsed generator.
    """
    n = len(jax.tree_util.tree_leaves(ctx.latent_keys)[0])
    group = min(ctx.task.d_group, n)
    if group == 1:
        return {}
    return {"group": (jnp.arange(n)[:, None] + jnp.arange(1, group)[None]) % n}


def in_its_group(example: Any, every: Any) -> Any:
    """An example followed by the others of its group, `[group, ...]`, taken from `every`, all examples."""
    indices = example.get("group")
    leaves = {name: leaf for name, leaf in example.items() if name != "group"}
    if indices is None:
        return jax.tree_util.tree_map(lambda x: x[None], leaves)
    every = {name: every[name] for name in leaves}
    return jax.tree_util.tree_map(lambda x, rows: jnp.concatenate([x[None], rows[indices]]), leaves, every)


def first_moves(images: Tree) -> Tree:
    """Stops the gradients of all images of a group `[group, ...]` but the first."""
    if len(jax.tree_util.tree_leaves(images)[0]) == 1:
        return images
    return jax.tree_util.tree_map(lambda x: jnp.concatenate([x[:1], jax.lax.stop_gradient(x[1:])]), images)


def adversarial_loss(ctx: StepContext, network: Network) -> Callable[[Variables, Variables, Any], jax.Array]:
    """Makes `(g, d, example) -> []`: a network's adversarial loss on one real image and one generated one.

    Networks are in evaluation mode, where examples influence each other only in a D that compares them: there an example is
    in a group with constant others of the batch. Images are augmented as D sees them.
    """
    task, adversarial, every = ctx.task, LOSSES[ctx.loss.name], examples(ctx)

    def value(g: Variables, d: Variables, example: Any) -> jax.Array:
        group = in_its_group(example, every)

        def logits(sample: Any, side: str) -> jax.Array:
            """The logit `[1]` of the example on one side."""
            augmented = task.augment(group[side], sample, ctx.augment_p)
            return task.discriminate(d, augmented, group["batch"], False)[0][:1]

        fake = first_moves(task.generate(g, group["batch"], group["latents"], False)[0])
        d_loss, g_loss = adversarial(logits(task.real(group["batch"]), "real"), logits(fake, "fake"))
        return (d_loss if network == "d" else g_loss)[0]

    return value


def adversarial_fisher(
    ctx: StepContext,
    network: Network,
    g: Variables,
    d: Variables,
    params: Tree,
    change: Callable[[dict[str, jax.Array], Tree], dict[str, jax.Array]],
) -> Tree:
    """Computes the Fisher information of `params` in a network's loss, over the examples of a context on all devices.

    Args:
      ctx: has the examples.
      network: `g` or `d`, whose loss it is.
      g, d: variables of the networks.
      params: the information is about these.
      change: `(leaves of the network's params by path, params) -> changed leaves by path`.
    """
    nets = {"g": g, "d": d}
    variables = nets[network]
    leaves, value = flatten(variables["params"]), adversarial_loss(ctx, network)

    def loss(params: Tree, example: Any) -> jax.Array:
        changed = unflatten(leaves | change(leaves, params), like=variables["params"])
        both = {**nets, network: {**variables, "params": changed}}
        return value(both["g"], both["d"], example)

    return fisher(loss, params, examples(ctx), sync=ctx.sync)


def g_information(context: PrepareContext, g: Variables, d: Variables, samples: int) -> Tree:
    """Estimates the Fisher information of G's parameters: the mean squared gradient of log D(G(z)) over `samples` images."""
    return estimate(context, g, d, samples, source_fisher, like=g["params"])


def source_fisher(ctx: StepContext) -> Tree:
    """Computes the Fisher information of the parameters of the constant G, on the latents of a context."""
    g, d, task = ctx.constants["g"], ctx.constants["d"], ctx.task
    every = {"batch": ctx.batch, "latents": ctx.latent_keys}

    def loss(params: Tree, example: Tree) -> jax.Array:
        group = in_its_group(example, every)
        images = first_moves(task.generate({**g, "params": params}, group["batch"], group["latents"], False)[0])
        return jax.nn.softplus(-task.discriminate(d, images, group["batch"], False)[0])[0]

    return fisher(loss, g["params"], {**every, **group_indices(ctx)}, sync=ctx.sync)


def estimate(
    context: PrepareContext,
    g: Variables,
    d: Variables,
    samples: int,
    value: Callable[[StepContext], Tree],
    like: Tree,
    wrap: Callable[[Pair], Pair] | None = None,
) -> Tree:
    """Estimates the mean of `value(ctx)` over contexts with `samples` examples, in whole dispatches; nothing is trained.

    Args:
      context: of the preparation.
      g, d: variables, which contexts have as `constants["g"]` and `constants["d"]`.
      samples: examples, each of a real image and of latents.
      value: computes a mean over the examples of all devices.
      like: tree of the shapes of the value.
      wrap: makes the networks, where they are not the run's.
    """

    def add(before: GanState, state: GanState, ctx: StepContext) -> GanState:
        total = jax.tree_util.tree_map(jnp.add, state.extras[ESTIMATE], value(ctx))
        return dataclasses.replace(state, extras={**state.extras, ESTIMATE: total})

    def zeros(nets: Networks) -> dict[str, Any]:
        """The sum at the start."""
        return {ESTIMATE: jax.tree_util.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), like)}

    state = context.train(
        {"g": g, "d": d}, samples * context.config.train.d_steps / 1000, name="importance of weights",
        trains={"g": no_leaf, "d": no_leaf}, wrap=wrap,
        extension=Extension(adversarial=False, post_step=add, init_extras=zeros),
        constants={"g": g, "d": d},
    )  # fmt: skip
    return jax.tree_util.tree_map(lambda total: total / state.step.astype(total.dtype), state.extras[ESTIMATE])
