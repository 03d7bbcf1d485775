"""Downsampling and upsampling of rows by a wavelet; each is the other's transpose and gradient.

Both are sums of strided slices. The default gradients of slices would be sums of padded arrays, which compilers fuse into
programs that repeat computations: 50 times the cost of the transposes written here.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

Taps = tuple[float, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def contract(y: jax.Array, taps: Taps, offset: int, n: int, length: int) -> jax.Array:
    """Computes x[s] = sum over i of y[i] taps[i - 2 s + offset]: `[length, ...]` -> `[n, ...]`."""
    before = max(0, offset)
    after = max(0, 2 * n - 1 + len(taps) - offset - length)
    y = jnp.pad(y, ((before, after), *((0, 0),) * (y.ndim - 1)))
    first = before - offset
    return sum((tap * y[first + k :: 2][:n] for k, tap in enumerate(taps)), start=jnp.zeros((), y.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def spread(x: jax.Array, taps: Taps, offset: int, n: int, length: int) -> jax.Array:
    """Computes y[i] = sum over s of x[s] taps[i - 2 s + offset]: `[n, ...]` -> `[length, ...]`, the transpose of `contract`."""
    half = -(-length // 2)
    reach = len(taps) + abs(offset)
    x = jnp.pad(x, ((reach, reach + max(0, half - n)), *((0, 0),) * (x.ndim - 1)))

    def rows(parity: int) -> jax.Array:
        """Computes the rows of a parity; they use every other tap."""
        meets = [(k, reach + (parity + offset - k) // 2) for k in range((parity + offset) % 2, len(taps), 2)]
        return sum((taps[k] * x[first:][:half] for k, first in meets), start=jnp.zeros((), x.dtype))

    return jnp.stack([rows(0), rows(1)], 1).reshape(2 * half, *x.shape[1:])[:length]


def _with_transpose(function: Any, transpose: Any) -> None:
    forward = lambda a, *sizes: (function(a, *sizes), None)
    function.defvjp(forward, lambda taps, offset, n, length, _, g: (transpose(g, taps, offset, n, length),))


_with_transpose(contract, spread)
_with_transpose(spread, contract)
