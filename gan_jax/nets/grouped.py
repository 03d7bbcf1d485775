"""D outside of training: logits computed in full groups of different images.

StyleGAN2's D compares the images of a group (minibatch standard deviation), in evaluation too. A batch that does not fall
into groups is an error. An image grouped with copies of itself would look to D like one of a collapsed generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gan_jax.nets.build import Pair

CHUNK = 32  # images in one call, approximately


def whole_groups(pair: Pair, n: int) -> int:
    """Returns the largest number up to n that makes full groups of D; n itself if it is less than one group."""
    return n - n % pair.d_group if n > pair.d_group else n


def up_to_groups(n: int, *pairs: Pair) -> int:
    """Returns the smallest number from n on that makes full groups of every pair's D."""
    groups = {pair.d_group for pair in pairs if pair.d_group < n}
    return next(count for count in range(n, n + _common(groups)) if not any(count % group for group in groups))


def logits_in_groups(
    ask: Callable[..., Any],
    d_vars: Any,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    group: int = 1,
    at_most: int | None = None,
    chunk: int = CHUNK,
) -> np.ndarray:
    """Computes logits [N] of images in groups of different images of the set.

    Fewer images than a group are scored as one smaller group.

    Args:
      ask: `(d_vars, images [n, ...], labels [n] int32 or None) -> logits [n]`, compiled once for each n.
      d_vars: D's variables.
      images: [N, ...].
      labels: [N], for conditional networks.
      group: number of examples that D compares (`Pair.d_group`).
      at_most: upper bound of the group size, so that sets of different sizes are scored alike; each group is then a
        separate call.
      chunk: images in one call, rounded to groups.
    """
    n = len(images)
    group_size = min(group, n, at_most or group)
    if group_size < group:
        size = group_size
    else:
        size = group_size * max(1, chunk // group_size)
        if group_size > 1 and size > n:
            size = n - n % group_size
    parts = []
    for start in range(0, n, size):
        # The last chunk is filled from the start, so one program serves all; where D compares images, size is at most n.
        index = np.arange(start, start + size) % n
        chunk_labels = None if labels is None else np.asarray(labels)[index].astype(np.int32)
        parts.append(np.asarray(ask(d_vars, images[index], chunk_labels)))
    return np.concatenate(parts)[:n]


def _common(groups: set[int]) -> int:
    return int(np.lcm.reduce([1, *groups]))
