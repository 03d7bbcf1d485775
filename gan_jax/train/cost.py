"""What a step costs, as XLA counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config
from gan_jax.nets import Pair, build
from gan_jax.nets.conv import single_operations
from gan_jax.tasks.image import image_task
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import resident_feed
from gan_jax.train.steps import Chosen, init_state, make_step


def _as_it_is(pair: Pair) -> Pair:
    return pair


def _nothing(g: Any, d: Any) -> dict[str, Any]:
    return {}


def step_flops(
    config: Config,
    trains: tuple[Chosen, Chosen],
    count: int = 64,
    *,
    grafted: Callable[[Pair], Pair] = _as_it_is,
    extension: Extension = NO_EXTENSION,
    keep: Callable[[Any, Any], dict[str, Any]] = _nothing,
) -> float:
    """Floating-point operations of one step (D and G) on one device, by the compiler's own count.

    Nothing is computed: the step is traced and lowered over shapes. A frozen leaf is no input of the differentiated
    function, so its backward pass is not in the program to begin with.

    Args:
      config: networks, loss and batch size.
      trains: which leaves of G's and of D's params are trained.
      count: images in the resident set.
      grafted, extension, keep: what a transfer method makes of the pair, adds to the game and keeps of the start. What
        is done in some steps only (a lazy penalty) counts as if it were done in each.
    """
    pair, net = grafted(build(config.net)), config.net
    task = image_task(pair, config.augment)
    images = np.zeros((count, net.resolution, net.resolution, net.channels), np.uint8)
    labels = np.zeros((count,), np.int32) if getattr(net, "num_classes", 0) else None
    feed = resident_feed(images, labels, config.data.mirror)
    step = make_step(task, config, feed.draw, trains, extension=extension)
    begin: Callable[..., Any] = lambda g, d: init_state(
        task, config, jax.random.key(0), g, d, trains, extension, keep(g, d)
    )  # fmt: skip
    state = jax.eval_shape(begin, pair.g.specs(), pair.d.specs())
    data = jax.eval_shape(lambda: jax.tree_util.tree_map(jnp.asarray, feed.resident))
    return lowered_flops(step, state, data)


def lowered_flops(function: Callable[..., Any], *specs: Any) -> float:
    """Floating-point operations of a function over these shapes, by the compiler's own count of the lowered program."""
    with single_operations():
        # A function of its own: one that was traced before would be counted in the form in which it runs.
        analysis = jax.jit(lambda *args: function(*args)).lower(*specs).cost_analysis()
    if analysis is None:
        raise RuntimeError("this version of XLA does not count operations on this platform")
    return float(analysis["flops"])
