"""Selections of networks' leaves for methods: first blocks, heads, norms, kernels, scales and shifts, styled layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError
from gan_jax.nets import Networks, Pair
from gan_jax.nets.build import Net
from gan_jax.transfer.adapters import Adapter, filter_scale
from gan_jax.trees import flatten, match

# ----------------------------------------------------------------------------------------------------------------------
# The first blocks of generators or discriminators, heads, norms, kernels.
#
# Results are patterns over `g/params/..` and `d/params/..` for a `Method`, or paths below `params` for an adapter.


def image_side(nets: Networks, blocks: int, field: str = "transfer.blocks") -> tuple[str, ...]:
    """Patterns of the first layer and the next `blocks` blocks of every discriminator.

    Raises:
      ConfigError: no block would be left to train; names the option `field`.
    """
    stem, *rest = _named(nets.d_blocks, "D", field)
    if blocks >= len(rest):
        raise ConfigError(
            f"{field} is {blocks}, but D has {len(rest)} ({', '.join(rest)}): freeze at most {len(rest) - 1}"
        )
    return tuple(path for d in nets.discriminators for path in _within(d, (stem, *rest[:blocks])))


def latent_side(nets: Networks, blocks: int, field: str = "transfer.blocks") -> tuple[str, ...]:
    """Patterns of the first `blocks` layers of every generator, counted from the latents.

    Raises:
      ConfigError: no layer would be left to train; names the option `field`.
    """
    names = _named(nets.g_blocks, "G", field)
    if blocks >= len(names):
        raise ConfigError(
            f"{field} is {blocks}, but G has {len(names)} ({', '.join(names)}): use at most {len(names) - 1}"
        )
    return tuple(path for g in nets.generators for path in _within(g, names[:blocks]))


def _named(blocks: tuple[str, ...], network: str, field: str) -> tuple[str, ...]:
    if not blocks:
        raise ConfigError(f"{field} counts blocks of {network}, but these networks do not say which they have")
    return blocks


def head(nets: Networks) -> tuple[str, ...]:
    """Patterns of each discriminator's head, the layers from the output of its blocks to the logits."""
    return tuple(f"{d}/params/{name}/**" for d in nets.discriminators for name in nets.d_head)


def norms(net: Net) -> tuple[str, ...]:
    """Paths of a network's batch norms, the modules with running statistics."""
    return tuple(dict.fromkeys(path.rpartition("/")[0] for path in flatten(net.specs().get("batch_stats", {}))))


def kernels(net: Net, chosen: Callable[[str, Any], bool] = lambda path, spec: True) -> tuple[str, ...]:
    """Paths of a network's kernels `[.., in, out]` for which `chosen(path, spec)` is true."""
    leaves = flatten(net.specs()["params"])
    return tuple(path for path, spec in leaves.items() if path.rpartition("/")[2] == "kernel" and chosen(path, spec))


def body(nets: Networks, network: str = "d") -> tuple[str, ...]:
    """Paths of a discriminator's kernels outside its head."""
    heads = head(nets)
    outside = lambda path, _: not any(match(pattern, f"{network}/params/{path}") for pattern in heads)
    return kernels(nets.nets[network], outside)


def _within(network: str, names: Sequence[str]) -> tuple[str, ...]:
    block_norms = (f"norm{name[1:]}" for name in names if name[0] == "b")  # DCGAN's norms are modules of their own
    return tuple(f"{network}/params/{name}/**" for name in (*names, *block_norms))


# ----------------------------------------------------------------------------------------------------------------------
# Scales and shifts of a generator: those of its norms, or the nearest equivalent where it has none.


def scales_and_shifts(pair: Pair) -> tuple[tuple[str, ...], Adapter | None]:
    """Patterns of G's leaves that are scales and shifts, and an adapter for scales without leaves of their own.

    - With norms: the scales and shifts of norms, and the dense layers of conditional norms. No adapter.
    - With styles (StyleGAN2): a factor for each output of the affine layers, that is for each input channel of a
      convolution, and the biases of synthesis. A factor for each filter would do nothing: demodulation undoes it.
    - Else (R3GAN, MLP): a factor for each filter of every kernel, and the biases.
    """
    if names := norms(pair.g):
        return tuple(f"g/params/{name}/**" for name in names), None
    if affine := kernels(pair.g, lambda path, _: path.endswith("/affine/kernel")):
        return ("g/params/synthesis/**/bias",), filter_scale(affine)
    return ("g/params/**/bias",), filter_scale(kernels(pair.g))


# ----------------------------------------------------------------------------------------------------------------------
# Styled convolutions of a generator by index, for methods that train some of them in a step.

LAYER = re.compile(r"(?:^|/)b(\d+)/(?:conv(\d)|const)(?:/|$)")  # the constant at 4 px goes with the first convolution
Layers = tuple[tuple[int, int], ...]


def corrected(betas: jax.Array, counts: jax.Array, all_: jax.Array) -> jax.Array:
    """Factors `[layers]` that change Adam's bias correction from `all_` updates to `counts [layers]`, each layer's own."""

    def bias(n: jax.Array) -> jax.Array:
        """`[2, layers]` 1 - beta^n."""
        return 1 - betas[:, None] ** n.astype(jnp.float32)[None]

    first, second = bias(counts) / bias(all_[None])
    return jnp.sqrt(second) / first


def style_layers(pair: Pair) -> Layers:
    """`(resolution, number)` of G's styled convolutions, in the order of their styles.

    Raises:
      ConfigError: the generator has no styles.
    """
    if "synthesise" not in pair.g.parts or "map" not in pair.g.parts:
        raise ConfigError(
            "transfer.layers chooses layers by their styles, which only StyleGAN2 has; use 0 for all layers"
        )
    matches = (LAYER.search(path) for path in flatten(pair.g.specs()["params"]))
    return tuple(sorted({(int(match[1]), int(match[2] or 1)) for match in matches if match}))


def layer_of(path: str, layers: Layers) -> int:
    """The index of a leaf's layer in `layers`."""
    match = LAYER.search(path)
    assert match is not None, f"{path} is no leaf of a styled convolution"
    return layers.index((int(match[1]), int(match[2] or 1)))
