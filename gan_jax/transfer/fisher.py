"""Fisher information of parameters: how much each matters to a loss, from gradients of single examples.

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
