"""D asked outside training: about whole groups of different images.

StyleGAN2's D compares the images of a group (minibatch standard deviation), in evaluation too. A batch that does not fall
into groups is an error, and an image that is beside copies of itself looks to D like one of a collapsed generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gan_jax.nets.build import Pair

CHUNK = 32  # images in one call, or so


def whole_groups(pair: Pair, n: int) -> int:
    """How many of n examples make whole groups of D's: the largest multiple up to n; n itself where it is one part-group."""
    return n - n % pair.d_group if n > pair.d_group else n


def up_to_groups(n: int, *pairs: Pair) -> int:
    """The smallest number from n that falls into whole groups of every pair's D."""
    groups = {pair.d_group for pair in pairs if pair.d_group < n}
    return next(count for count in range(n, n + _common(groups)) if not any(count % group for group in groups))


def judge_in_groups(
    ask: Callable[..., Any],
    d_vars: Any,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    group: int = 1,
    at_most: int | None = None,
    chunk: int = CHUNK,
) -> np.ndarray:
    """Logits [N] of images, each beside others of the same set: no group holds an image twice.

    Fewer images than a group are judged as one smaller group.

    Args:
      ask: `(d_vars, images [n, ...], labels [n] int32 or None) -> logits [n]`, compiled once for each n.
      d_vars: D's variables.
      images: [N, ...].
      labels: [N], of conditional networks.
      group: how many examples D compares (`Pair.d_group`).
      at_most: images in a group where that is fewer, so that sets of unlike sizes are judged alike; each group is a call
        of its own then.
      chunk: images in one call, rounded to groups.
    """
    n = len(images)
    together = min(group, n, at_most or group)
    if together < group:
        size = together
    else:
        size = together * max(1, chunk // together)
        if together > 1 and size > n:
            size = n - n % together
    parts = []
    for start in range(0, n, size):
        # Filled up from the beginning, so that one program serves all: where images are compared, size is at most n.
        index = np.arange(start, start + size) % n
        given = None if labels is None else np.asarray(labels)[index].astype(np.int32)
        parts.append(np.asarray(ask(d_vars, images[index], given)))
    return np.concatenate(parts)[:n]


def _common(groups: set[int]) -> int:
    return int(np.lcm.reduce([1, *groups]))
