"""Selections of a pair's leaves for methods: the first blocks of G or of D, D's head, norms, kernels.

Results are patterns over `g/params/..` and `d/params/..` for a `Method`, or paths below `params` for an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.build import Net
from gan_jax.trees import flatten, match


def image_side(pair: Pair, blocks: int, field: str = "transfer.blocks") -> tuple[str, ...]:
    """Patterns of D's first layer and the next `blocks` blocks.

    Raises:
      ConfigError: no block would be left to train; names the option `field`.
    """
    stem, *rest = pair.d_blocks
    if blocks >= len(rest):
        raise ConfigError(
            f"{field} is {blocks}, but D has {len(rest)} ({', '.join(rest)}): freeze at most {len(rest) - 1}"
        )
    return _within("d", (stem, *rest[:blocks]))


def latent_side(pair: Pair, blocks: int, field: str = "transfer.blocks") -> tuple[str, ...]:
    """Patterns of G's first `blocks` layers, counted from the latents.

    Raises:
      ConfigError: no layer would be left to train; names the option `field`.
    """
    if blocks >= len(pair.g_blocks):
        raise ConfigError(
            f"{field} is {blocks}, but G has {len(pair.g_blocks)} ({', '.join(pair.g_blocks)}): "
            f"use at most {len(pair.g_blocks) - 1}"
        )
    return _within("g", pair.g_blocks[:blocks])


def head(pair: Pair) -> tuple[str, ...]:
    """Patterns of D's head, the layers from the output of its blocks to the logits."""
    return tuple(f"d/params/{name}/**" for name in pair.d_head)


def norms(net: Net) -> tuple[str, ...]:
    """Paths of a network's batch norms, the modules with running statistics."""
    return tuple(dict.fromkeys(path.rpartition("/")[0] for path in flatten(net.specs().get("batch_stats", {}))))


def kernels(net: Net, chosen: Callable[[str, Any], bool] = lambda path, spec: True) -> tuple[str, ...]:
    """Paths of a network's kernels `[.., in, out]` for which `chosen(path, spec)` is true."""
    leaves = flatten(net.specs()["params"])
    return tuple(path for path, spec in leaves.items() if path.rpartition("/")[2] == "kernel" and chosen(path, spec))


def body(pair: Pair) -> tuple[str, ...]:
    """Paths of D's kernels outside its head."""
    heads = head(pair)
    return kernels(pair.d, lambda path, _: not any(match(pattern, f"d/params/{path}") for pattern in heads))


def _within(network: str, names: Sequence[str]) -> tuple[str, ...]:
    block_norms = (f"norm{name[1:]}" for name in names if name[0] == "b")  # DCGAN's norms are modules of their own
    return tuple(f"{network}/params/{name}/**" for name in (*names, *block_norms))
