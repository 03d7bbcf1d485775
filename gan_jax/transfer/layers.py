"""Which leaves of a pair the methods speak of: the first blocks of G or of D, D's head, norms, kernels.

All are patterns over `g/params/..` and `d/params/..`, as a `Method` takes them, or paths below `params`, as an adapter
does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.build import Net
from gan_jax.trees import flatten, match


def image_side(pair: Pair, blocks: int, field: str = "transfer.blocks") -> tuple[str, ...]:
    """D's first layer and the `blocks` blocks behind it.

    Raises:
      ConfigError: no block would be left to train; `field` is what asked for so many.
    """
    stem, *rest = pair.d_blocks
    if blocks >= len(rest):
        raise ConfigError(
            f"{field} is {blocks}, but D has {len(rest)} ({', '.join(rest)}): freeze at most {len(rest) - 1}"
        )
    return _within("d", (stem, *rest[:blocks]))


def latent_side(pair: Pair, blocks: int, field: str = "transfer.blocks") -> tuple[str, ...]:
    """G's first `blocks` layers, counted from the latents.

    Raises:
      ConfigError: none of them would be left; `field` is what asked for so many.
    """
    if blocks >= len(pair.g_blocks):
        raise ConfigError(
            f"{field} is {blocks}, but G has {len(pair.g_blocks)} ({', '.join(pair.g_blocks)}): "
            f"use at most {len(pair.g_blocks) - 1}"
        )
    return _within("g", pair.g_blocks[:blocks])


def head(pair: Pair) -> tuple[str, ...]:
    """The layers that make D's logits of what its blocks give."""
    return tuple(f"d/params/{name}/**" for name in pair.d_head)


def norms(net: Net) -> tuple[str, ...]:
    """Paths of a network's batch norms: the modules that keep running statistics."""
    return tuple(dict.fromkeys(path.rpartition("/")[0] for path in flatten(net.specs().get("batch_stats", {}))))


def kernels(net: Net, chosen: Callable[[str, Any], bool] = lambda path, spec: True) -> tuple[str, ...]:
    """Paths of a network's kernels `[.., in, out]`, those for which `chosen(path, spec)`."""
    leaves = flatten(net.specs()["params"])
    return tuple(path for path, spec in leaves.items() if path.rpartition("/")[2] == "kernel" and chosen(path, spec))


def body(pair: Pair) -> tuple[str, ...]:
    """Paths of D's kernels that are not its head's."""
    heads = head(pair)
    return kernels(pair.d, lambda path, _: not any(match(pattern, f"d/params/{path}") for pattern in heads))


def _within(network: str, names: Sequence[str]) -> tuple[str, ...]:
    beside = (f"norm{name[1:]}" for name in names if name[0] == "b")  # DCGAN keeps a block's norm beside it
    return tuple(f"{network}/params/{name}/**" for name in (*names, *beside))
