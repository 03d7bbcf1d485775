"""Scales and shifts of a generator: those of its norms, or the nearest equivalent where it has none."""

from __future__ import annotations

from gan_jax.nets import Pair
from gan_jax.transfer.adapters import Adapter, filter_scale
from gan_jax.transfer.layers import kernels, norms


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
