"""Adapters in the space of a kernel as a matrix `[.. * in, out]`: LoRA for convolutions, and singular values (FSGAN)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gan_jax.transfer.adapters.adapter import KERNELS, Adapter, Arrays


def lora(patterns: Sequence[str] = KERNELS, rank: int = 4, alpha: float | None = None) -> Adapter:
    """Low-rank update (Hu et al., ICLR 2022): `W + (alpha / rank) A B`, `a [.. * in, rank]` normal, `b [rank, out]` zero.

    It is added before demodulation and before spectral normalisation, which act on the sum.

    Args:
      patterns: of the adapted leaves.
      rank: of the update; in a kernel with fewer rows or columns, their number.
      alpha: scale of the update; None = the rank, so that its factor is 1.

    Raises:
      ValueError: a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; use at least 1")
    factor = 1.0 if alpha is None else alpha / rank

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        rows, columns = _matrix(kernel).shape
        inner = min(rank, rows, columns)
        a = jax.random.normal(key, (rows, inner), kernel.dtype) / jnp.sqrt(jnp.asarray(rows, kernel.dtype))
        return {"a": a, "b": jnp.zeros((inner, columns), kernel.dtype)}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        return kernel + factor * _product(arrays["a"], arrays["b"]).reshape(kernel.shape)

    return Adapter(tuple(patterns), init, apply)


def singular_values(patterns: Sequence[str] = KERNELS) -> Adapter:
    """Singular values alone (FSGAN; Robb et al., 2020): `U diag(gain * s) V` of the frozen kernel, `gain [n]` from 1.

    Written as the kernel and what is added to it, so that a gain of 1 changes no bit. `u` holds the singular values.
    """

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        u, s, v = jnp.linalg.svd(_matrix(kernel), full_matrices=False)
        return {"gain": jnp.ones(s.shape, kernel.dtype), "u": u * s[None], "v": v}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        added = _product(arrays["u"] * (arrays["gain"] - 1)[None], arrays["v"])
        return kernel + added.reshape(kernel.shape)

    return Adapter(tuple(patterns), init, apply, fixed=("u", "v"))


def _matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    # By default accelerators round the factors to 10 bits, too few for a small delta.
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)
