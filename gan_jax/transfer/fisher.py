"""Fisher information of parameters and filters, estimated without training or during it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.losses import LOSSES
from gan_jax.nets import Networks as PlainNetworks
from gan_jax.nets import Pair
from gan_jax.nets.conv import is_closed
from gan_jax.random_streams import Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.preparation import PrepareContext, no_leaf
from gan_jax.trees import Tree, flatten, match, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Fisher information of parameters: how much each matters to a loss, from gradients of single examples.
#
# The square is taken of each example's gradient, before the mean. The square of a batch's mean gradient, which some
# published codes take for it, is smaller by about the size of the batch.

CHUNK = 16  # examples in one pass, where several at once are faster


def at_once() -> int:
    """The number of examples in one pass on this platform.

    `vmap` of a gradient makes grouped convolutions, which CPUs run several times slower than one after the other.
    """
    return 1 if is_closed() else CHUNK


def fisher(
    loss: Callable[[Tree, Any], jax.Array],
    params: Tree,
    examples: Any,
    *,
    chunk: int | None = None,
    sync: Callable[[Any], Any] | None = None,
) -> Tree:
    """Computes the mean over examples of the squared gradient of each example's loss: a tree like `params`.

    Args:
      loss: `(params, example) -> []`, for an example without a batch axis.
      params: the loss is differentiated by these.
      examples: a tree of arrays (and typed keys) that lead with the axis of examples, `[N, ...]`.
      chunk: examples in one pass, whose gradients are in memory at once; None = as suits the platform.
      sync: mean of a tree over devices, each with N examples; None = one device.

    Raises:
      ValueError: there are no examples, or axes have different lengths.
    """
    lengths = {leaf.shape[:1] for leaf in jax.tree_util.tree_leaves(examples)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(f"examples must lead with one axis of at least one example; theirs are {sorted(lengths)}")
    ((n,),) = lengths
    size = min(chunk or at_once(), n)
    gradient = jax.grad(loss)

    def squares(some: Any) -> Tree:
        """The sum over a chunk `[size, ...]`."""
        if jax.tree_util.tree_leaves(some)[0].shape[0] == 1:
            grads = gradient(params, jax.tree_util.tree_map(lambda x: x[0], some))
            return jax.tree_util.tree_map(jnp.square, grads)
        grads = jax.vmap(gradient, (None, 0))(params, some)
        return jax.tree_util.tree_map(lambda g: jnp.square(g).sum(0), grads)

    even = n // size * size
    chunks = jax.tree_util.tree_map(lambda x: x[:even].reshape(-1, size, *x.shape[1:]), examples)

    def add(total: Tree, some: Any) -> tuple[Tree, None]:
        """Adds the squares of a chunk, as `scan` takes it."""
        return jax.tree_util.tree_map(jnp.add, total, squares(some)), None

    total, _ = jax.lax.scan(add, jax.tree_util.tree_map(jnp.zeros_like, params), chunks)
    if even < n:
        total, _ = add(total, jax.tree_util.tree_map(lambda x: x[even:], examples))
    mean = jax.tree_util.tree_map(lambda t: t / n, total)
    return mean if sync is None else sync(mean)


# ----------------------------------------------------------------------------------------------------------------------
# Filters of a network, in groups whose importance is compared. A filter computes one output channel.
#
# Kernels have the axes `[.., in, out]` in every family; the last axis is that of filters.

LABELS = ("mapping/**", "embed/**", "shared/**")  # G's modules from latents and labels to styles
STYLES = ("**/affine/kernel", "**/norm*/gain/kernel", "**/norm*/bias/kernel")  # dense layers that scale channels
Groups = Mapping[str, Sequence[str]]  # name -> paths of kernels
PerFilter = dict[str, Any]  # path of a kernel -> [out]


def covered(patterns: Sequence[str], path: str) -> bool:
    """Whether any of the patterns covers a path."""
    return any(match(pattern, path) for pattern in patterns)


def in_head(pair: Pair, path: str) -> bool:
    """Whether a leaf of D's params belongs to its head."""
    return covered([f"{name}/**" for name in pair.d_head], path)


def filter_groups(pair: Pair, network: Network, leave: Sequence[str] = ()) -> dict[str, list[str]]:
    """The kernels of a plain network, in groups whose filters are compared: `convolutions`, `styles` and `dense`.

    D's head and G's mapping network are left out.

    Args:
      pair: of the network.
      network: `g` or `d`.
      leave: patterns of further kernels that are left out.
    """
    out = [*(f"{name}/**" for name in pair.d_head), *leave] if network == "d" else [*LABELS, *leave]
    params = (pair.d if network == "d" else pair.g).specs()["params"]
    groups: dict[str, list[str]] = {}
    for path, leaf in flatten(params).items():
        if match("**/kernel", path) and not covered(out, path):
            kind = "styles" if covered(STYLES, path) else "convolutions" if len(leaf.shape) == 4 else "dense"
            groups.setdefault(kind, []).append(path)
    return groups


def bias_of(path: str, leaves: Mapping[str, Any]) -> str | None:
    """The path of a dense layer's bias, which is part of its filters; None for a convolution's, which is not."""
    bias = f"{path.removesuffix('kernel')}bias"
    return bias if len(leaves[path].shape) == 2 and bias in leaves else None


def lowest(importance: PerFilter, groups: Groups, percent: float) -> PerFilter:
    """Masks, bool `[out]` for each kernel, of the least important `percent` of the filters of a group.

    The number is rounded down, so it may be 0 in a small group; filters that tie with the last one are included.

    Args:
      importance: of every kernel in the groups.
      groups: kernels by group; each group has its own quantile.
      percent: 0 .. 100.
    """
    masks = {}
    for paths in groups.values():
        values = jnp.sort(jnp.concatenate([importance[path] for path in paths]))
        count = min(math.floor(len(values) * percent / 100 + 1e-9), len(values))
        limit = values[count - 1] if count else -jnp.inf
        masks |= {path: importance[path] <= limit for path in paths}
    return masks


def moment_of(path: str) -> str | None:
    """The leaf whose moment is at a path of Adam's state, `0/mu/b4/conv/kernel`; None where the path is no moment's."""
    names = path.split("/")
    at = next((i for i, name in enumerate(names) if name in ("mu", "nu")), None)
    return None if at is None else "/".join(names[at + 1 :])


def choose(mask: Any, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Takes `yes` where `mask [out]` is true along the last axis, and `no` elsewhere."""
    return jnp.where(mask.reshape((1,) * (yes.ndim - 1) + (-1,)), yes, no)


# ----------------------------------------------------------------------------------------------------------------------
# Fisher information of parameters in the adversarial loss, estimated without training or during it.

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
            """The logits `[1, ...]` of the example on one side."""
            augmented = task.augment(group[side], sample, ctx.augment_p)
            return task.discriminate(d, augmented, group["batch"], False)[0][:1]

        fake = first_moves(task.generate(g, group["batch"], group["latents"], False)[0])
        d_loss, g_loss = adversarial(logits(task.real(group["batch"]), "real"), logits(fake, "fake"))
        return (d_loss if network == "d" else g_loss)[0].mean()  # over a map's patches

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


def information_of(context: PrepareContext, plain: PlainNetworks, nets: Networks, name: str, samples: int) -> Tree:
    """The same of any generator under its own discriminator; D's logits of several patches are averaged.

    Args:
      context: of the preparation.
      plain: say which discriminator is the generator's.
      nets: variables by network.
      name: of the generator.
      samples: generated images.
    """
    value = functools.partial(source_fisher, name=name, reads=plain.reads.get(name), judge=plain.judges[name])
    return estimate(
        context, nets[name], nets[plain.judges[name]], samples, value, like=nets[name]["params"], nets=nets
    )  # fmt: skip


def source_fisher(ctx: StepContext, name: str = "g", reads: str | None = None, judge: str = "d") -> Tree:
    """Computes the Fisher information of the parameters of the constant G, on the latents of a context.

    Args:
      ctx: has the examples.
      name, judge: the names of the networks, where there are several of each.
      reads: entry of a batch that this generator translates; None = the task generates with it.
    """
    g, d, task = ctx.constants["g"], ctx.constants["d"], ctx.task
    every = {"batch": ctx.batch, "latents": ctx.latent_keys}

    def images(g: Variables, batch: Any, keys: jax.Array) -> Any:
        if reads is None:
            return task.generate(g, batch, keys, False)[0]
        return task.nets[name].apply(g, batch[reads], train=False, keys=keys)[0]

    def logits(samples: Any, batch: Any) -> jax.Array:
        if reads is None:
            return task.discriminate(d, samples, batch, False)[0]
        return task.nets[judge].apply(d, samples, train=False)[0]

    def loss(params: Tree, example: Tree) -> jax.Array:
        group = in_its_group(example, every)
        samples = first_moves(images({**g, "params": params}, group["batch"], group["latents"]))
        return jax.nn.softplus(-logits(samples, group["batch"]))[0].mean()

    return fisher(loss, g["params"], {**every, **group_indices(ctx)}, sync=ctx.sync)


def estimate(
    context: PrepareContext,
    g: Variables,
    d: Variables,
    samples: int,
    value: Callable[[StepContext], Tree],
    like: Tree,
    wrap: Callable[[Pair], Pair] | None = None,
    nets: Networks | None = None,
) -> Tree:
    """Estimates the mean of `value(ctx)` over contexts with `samples` examples, in whole dispatches; nothing is trained.

    Args:
      context: of the preparation.
      g, d: variables, which contexts have as `constants["g"]` and `constants["d"]`.
      samples: examples, each of a real image and of latents.
      value: computes a mean over the examples of all devices.
      like: tree of the shapes of the value.
      wrap: makes the networks, where they are not the run's.
      nets: variables of all networks, where there are others than G and D.
    """
    nets = {"g": g, "d": d} if nets is None else nets

    def add(before: GanState, state: GanState, ctx: StepContext) -> GanState:
        total = jax.tree_util.tree_map(jnp.add, state.extras[ESTIMATE], value(ctx))
        return dataclasses.replace(state, extras={**state.extras, ESTIMATE: total})

    def zeros(nets: Networks) -> dict[str, Any]:
        """The sum at the start."""
        return {ESTIMATE: jax.tree_util.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), like)}

    state = context.train(
        nets, samples * context.config.train.d_steps / 1000, name="importance of weights",
        trains=dict.fromkeys(nets, no_leaf), wrap=wrap,
        extension=Extension(adversarial=False, post_step=add, init_extras=zeros),
        constants={"g": g, "d": d},
    )  # fmt: skip
    return jax.tree_util.tree_map(lambda total: total / state.step.astype(total.dtype), state.extras[ESTIMATE])
