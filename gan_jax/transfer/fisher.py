"""Fisher information of parameters: how much each of them matters to a loss, example by example.

The square is taken of each example's gradient, before the mean. The square of a batch's mean gradient, which some
published codes take for it, is smaller by about the size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.nets.conv import is_closed
from gan_jax.trees import Tree

CHUNK = 16  # examples whose gradients exist at once, where many at once are faster


def at_once() -> int:
    """How many examples' gradients are taken in one pass on this platform.

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
    """Mean over examples of the squared gradient of each example's loss: a tree like `params`.

    Args:
      loss: `(params, example) -> []`, of one example without a batch axis.
      params: what is differentiated.
      examples: a tree of arrays (and typed keys) that lead with the axis of examples, `[N, ...]`.
      chunk: examples in one pass; None = as many as suit the platform. Memory for so many gradients is taken.
      sync: the mean of a tree over devices, each of which has N examples of its own; None = one device.

    Raises:
      ValueError: no examples, or axes of different lengths.
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
            one = gradient(params, jax.tree_util.tree_map(lambda x: x[0], some))
            return jax.tree_util.tree_map(jnp.square, one)
        each = jax.vmap(gradient, (None, 0))(params, some)
        return jax.tree_util.tree_map(lambda g: jnp.square(g).sum(0), each)

    whole = n // size * size
    chunks = jax.tree_util.tree_map(lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), examples)
    add = lambda total, some: (jax.tree_util.tree_map(jnp.add, total, squares(some)), None)
    total, _ = jax.lax.scan(add, jax.tree_util.tree_map(jnp.zeros_like, params), chunks)
    if whole < n:
        total, _ = add(total, jax.tree_util.tree_map(lambda x: x[whole:], examples))
    mean = jax.tree_util.tree_map(lambda t: t / n, total)
    return mean if sync is None else sync(mean)
