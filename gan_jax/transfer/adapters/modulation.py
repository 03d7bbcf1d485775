"""Adapters that multiply a kernel `[.., in, out]` by a small array: AdaFM, kernel modulation, scale of filters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gan_jax.transfer.adapters.adapter import KERNELS, Adapter, Arrays


def adafm(patterns: Sequence[str] = KERNELS) -> Adapter:
    """Adaptive filter modulation (Zhao, Cong, Carin, ICML 2020): `gamma * W + beta`, both `[in, out]`."""

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        return {"gamma": jnp.ones(kernel.shape[-2:], kernel.dtype), "beta": jnp.zeros(kernel.shape[-2:], kernel.dtype)}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        return kernel * _over(arrays["gamma"], kernel) + _over(arrays["beta"], kernel)

    return Adapter(tuple(patterns), init, apply)


def kml(patterns: Sequence[str] = KERNELS, scale: float = 1e-7) -> Adapter:
    """Kernel modulation of AdAM (Zhao et al., NeurIPS 2022): `W * (1 + u v)`, `u [in]` and `v [out]`.

    Args:
      patterns: of the adapted leaves.
      scale: standard deviation of the two vectors at the start. If both were zero, they would have no gradient; with
        the published 1e-7 the factor rounds to 1 in float32.
    """

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        keys, sizes = jax.random.split(key), kernel.shape[-2:]
        return {
            name: scale * jax.random.normal(k, (n,), kernel.dtype) for name, k, n in zip("uv", keys, sizes, strict=True)
        }

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        return kernel * _over(1 + jnp.outer(arrays["u"], arrays["v"]), kernel)

    return Adapter(tuple(patterns), init, apply)


def kml_where(patterns: Sequence[str] = KERNELS, scale: float = 1e-7) -> Adapter:
    """Kernel modulation of some filters only (AdAM's second stage): `where(mask, W * (1 + u v), W)`.

    `mask [out]` is fixed; True everywhere at the start. W has no gradient where it is True, `u` and `v` have none where
    it is False, so that W may be trained too: an optimiser whose moments start at zero leaves the modulated filters
    bit-exact.
    """
    gates = kml(patterns, scale)

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        return {**gates.init(key, kernel), "mask": jnp.ones(kernel.shape[-1:], bool)}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        gated = gates.apply(jax.lax.stop_gradient(kernel), arrays)
        return jnp.where(_over(arrays["mask"], kernel), gated, kernel)

    return dataclasses.replace(gates, init=init, apply=apply, fixed=("mask",))


def filter_scale(patterns: Sequence[str] = KERNELS) -> Adapter:
    """A factor for each output channel, `[out]`: scale and shift in networks without norms."""

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        return {"scale": jnp.ones(kernel.shape[-1:], kernel.dtype)}

    return Adapter(tuple(patterns), init, lambda kernel, arrays: kernel * _over(arrays["scale"], kernel))


def _over(factor: jax.Array, kernel: jax.Array) -> jax.Array:
    """The factor with leading axes of size 1, up to the kernel's number of axes."""
    return factor.reshape((1,) * (kernel.ndim - factor.ndim) + factor.shape)
