"""Convolutions of networks from images to images as matrix products, which CPUs run fast: few examples, many channels.

XLA's convolutions on CPU lose their speed for strides, few channels and small maps, and their kernel gradients more than
that; matrix products keep it. What a product reads is gathered from the map by slices, or what it makes is scattered onto
the map; each is the other's gradient. A convolution of 3x3 px with many channels takes 16 products of pixels for four outputs
in place of 36 (Winograd's minimal filtering F(2x2, 3x3); Lavin and Gray, 2016), and so do its gradients.

GPU and TPU get the library's own form, and so do half precision and programs that are counted or written. Sums are taken
in another order by these: last bits differ from one operation of XLA's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets.conv import conv, conv_up, is_closed, is_single, strided
from gan_jax.nets.resample import conv_up3_plain

FEW = 4  # channels: those of images
SMALL = 16  # positions, up to which a kernel is much larger than the maps
TILED_CHANNELS, TILED_POSITIONS = 32, 256  # from which F(2x2, 3x3) is faster
LARGEST = 2**24  # values gathered at stride 1, where there may be kh * kw for each value of the map

Size = tuple[int, int]
Form = Callable[[jax.Array, jax.Array, int], jax.Array]


def padded_conv(x: jax.Array, w: jax.Array, stride: int = 1, pad: int = 0) -> jax.Array:
    """Correlation with zeros around: `[N, H, W, I]`, `w [kh, kw, I, O]` -> `[N, (H + 2 pad - kh) // stride + 1, .., O]`.

    `stride` is 1 or 2.
    """
    empty = min(x.shape[1] - w.shape[0], x.shape[2] - w.shape[1]) + 2 * pad < 0  # the kernel fits nowhere
    if not _takes_products(x) or empty or (stride == 1 and w.shape[:2] == (1, 1)):
        return strided(x, w, pad) if stride == 2 else conv(x, w, ((pad, pad), (pad, pad)))
    form = _gathered if stride == 2 else _form(x, w, pad)
    if form is None:
        return conv(x, w, ((pad, pad), (pad, pad)))
    return form(jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else x, w, stride)


def transposed_conv(x: jax.Array, w: jax.Array) -> jax.Array:
    """Transposed convolution that doubles the size: `[N, H, W, I]`, `w [k, k, I, O]` -> `[N, 2H, 2W, O]`.

    Output `o` is the sum over `i` of `x[i] * w[o + 1 - 2i]`, as PyTorch's ConvTranspose2d of stride 2 and padding 1 has it
    for 4 px, and with output padding 1 for 3 px.
    """
    size = w.shape[0]
    if not _takes_products(x):
        return conv_up(x, w) if size == 4 else conv_up3_plain(x, w)
    n, h, width, features = *x.shape[:3], w.shape[3]
    if n * h * width <= SMALL:  # the kernel as it is: no copy of it
        maps = jnp.broadcast_to(x.reshape(1, -1, x.shape[3]), (size**2, n * h * width, x.shape[3]))
        taps = _batched(maps, w.reshape(size**2, *w.shape[2:])).reshape(size**2, n, h, width, features)
        first = True
    else:
        taps = jax.checkpoint(jnp.matmul)(x.reshape(-1, x.shape[3]), w.transpose(2, 0, 1, 3).reshape(x.shape[3], -1))
        taps, first = taps.reshape(n, h, width, size**2, features), False
    y: Any = _scatter(taps, (size, size), 2, 0 if first else 3, 1, (2 * h + 2, 2 * width + 2))
    return y[:, 1:-1, 1:-1]


def _takes_products(x: jax.Array) -> bool:
    return is_closed() and not is_single() and x.dtype.itemsize >= 4


# ----------------------------------------------------------------------------------------------------------------------
# The forms of stride 1, without padding: `(x [N, H, W, I], w [kh, kw, I, O], stride) -> [N, H - kh + 1, W - kw + 1, O]`.


def _form(x: jax.Array, w: jax.Array, pad: int) -> Form | None:
    """The fastest form of these shapes; None = XLA's convolution."""
    kh, kw, channels, features = w.shape
    positions = x.shape[0] * (x.shape[1] + 2 * pad - kh + 1) * (x.shape[2] + 2 * pad - kw + 1)
    if (kh, kw) == (3, 3) and min(channels, features) >= TILED_CHANNELS and positions >= TILED_POSITIONS:
        return lambda x, w, stride: _tiled(x, w)
    if features <= FEW < channels:
        return lambda x, w, stride: _scattered(x, w)
    return _gathered if channels > FEW and positions * kh * kw * channels <= LARGEST else None


@functools.partial(jax.checkpoint, static_argnums=2)  # what is gathered is not kept for the gradient
def _gathered(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """A convolution without padding as one product of all values that each position reads."""
    n, size, features = x.shape[0], (w.shape[0], w.shape[1]), w.shape[3]
    taps: Any = _gather(x, size, stride, 3, 1, (x.shape[1], x.shape[2]))
    return (taps.reshape(-1, w.size // features) @ w.reshape(-1, features)).reshape(n, *taps.shape[1:3], features)


@jax.checkpoint
def _scattered(x: jax.Array, w: jax.Array) -> jax.Array:
    """A convolution without padding to few channels as the product of every pixel, whose parts are added in planes."""
    (kh, kw, channels, features), (n, h, width) = w.shape, x.shape[:3]
    kernel = w[::-1, ::-1].transpose(2, 0, 1, 3).reshape(channels, -1)
    planes = jax.lax.dot_general(kernel, x.reshape(-1, channels), (((0,), (1,)), ((), ())))
    planes = planes.reshape(kh * kw, features, n, h, width)
    y: Any = _scatter(planes, (kh, kw), 1, 0, 2, (h + kh - 1, width + kw - 1))
    return y[:, :, kh - 1 : h, kw - 1 : width].transpose(1, 2, 3, 0)


# ----------------------------------------------------------------------------------------------------------------------
# Gathering and scattering: what the taps of a kernel read from a map, and its transpose.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _gather(x: jax.Array, kernel: Size, stride: int, tap_axis: int, axis: int, size: Size) -> jax.Array:
    """What each tap reads at each position: a map whose height is `axis`, with the taps as a further axis `tap_axis`.

    Args:
      x: map of height and width `size`.
      kernel: its height and width; taps are in the order of its rows.
      stride: of the positions.
      tap_axis, axis, size: as above.
    """
    rows, columns = ((edge - k) // stride + 1 for edge, k in zip(size, kernel, strict=True))

    def tap(a: int, b: int) -> jax.Array:
        part = jax.lax.slice_in_dim(x, a, a + stride * (rows - 1) + 1, stride, axis)
        return jax.lax.slice_in_dim(part, b, b + stride * (columns - 1) + 1, stride, axis + 1)

    return jnp.stack([tap(a, b) for a in range(kernel[0]) for b in range(kernel[1])], tap_axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _scatter(taps: jax.Array, kernel: Size, stride: int, tap_axis: int, axis: int, size: Size) -> jax.Array:
    """The transpose of `_gather`: adds what each tap has at each position, onto a map of `size`."""
    taps = taps.reshape(*taps.shape[:tap_axis], *kernel, *taps.shape[tap_axis + 1 :])
    columns = _joined(taps, tap_axis + 1, axis + (2 if tap_axis < axis else 1), stride, size[1])
    return _joined(columns, tap_axis, axis, stride, size[0])


def _joined(taps: jax.Array, tap_axis: int, axis: int, stride: int, size: int) -> jax.Array:
    """Adds the taps of an axis: position `m` of tap `a` is `stride * m + a` of `size` on `axis` of the sum."""
    edge = -(-size // stride)

    def placed(tap: jax.Array, start: int) -> jax.Array:
        widths = [(0, 0, 0)] * tap.ndim
        widths[axis] = (start, edge - tap.shape[axis] - start, 0)
        return jax.lax.pad(tap, jnp.zeros((), tap.dtype), widths)

    every = [jax.lax.index_in_dim(taps, a, tap_axis, keepdims=False) for a in range(taps.shape[tap_axis])]
    phases = []
    for first in range(stride):
        parts = [placed(every[a], a // stride) for a in range(first, len(every), stride)]
        phases.append(sum(parts[1:], parts[0]))
    if stride == 1:
        return phases[0]
    y = jnp.stack(phases, axis + 1)
    y = y.reshape(*y.shape[:axis], stride * edge, *y.shape[axis + 2 :])
    return jax.lax.slice_in_dim(y, 0, size, axis=axis)


_gather.defvjp(lambda x, *how: (_gather(x, *how), None), lambda *args: (_scatter(args[-1], *args[:-2]),))
_scatter.defvjp(lambda taps, *how: (_scatter(taps, *how), None), lambda *args: (_gather(args[-1], *args[:-2]),))


# ----------------------------------------------------------------------------------------------------------------------
# F(2x2, 3x3): tiles of 4x4 px, two px apart, are transformed into 16 values that meet those of the kernel one by one.

OF_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _tiled(x: jax.Array, w: jax.Array, turned: bool = False) -> jax.Array:
    """A 3x3 convolution without padding: `[N, H, W, I]` -> `[N, H - 2, W - 2, O]`.

    With `turned` the kernel is `w [3, 3, O, I]` reversed, as in the gradient of an input. Its transform is that of `w` in
    another order, so that there is one for both.
    """
    n, h, width = x.shape[0], x.shape[1] - 2, x.shape[2] - 2
    rows, columns = -(-h // 2), -(-width // 2)
    order = (3, 1, 2, 0) if turned else (0, 1, 2, 3)
    numbers = (((2,), (2 if turned else 1,)), ((0,), (0,)))
    products = jax.lax.dot_general(_tiles(x, order), _of_kernel(w), numbers).reshape(4, 4, n, rows, columns, -1)
    halves = [_outputs([products[i, j] for i in order]) for j in order]
    pairs = [jnp.stack(_outputs([half[a] for half in halves]), 3) for a in (0, 1)]
    return jnp.stack(pairs, 2).reshape(n, 2 * rows, 2 * columns, -1)[:, :h, :width]


@jax.custom_vjp
def _tiled_kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """What the kernel's gradient is, where `g [N, H - 2, W - 2, O]` is that of the output: `[3, 3, I, O]`."""
    n, h, width, features = g.shape
    rows, columns = -(-h // 2), -(-width // 2)
    g = jnp.pad(g, ((0, 0), (0, 2 * rows - h), (0, 2 * columns - width), (0, 0))) if (h % 2, width % 2) != (0, 0) else g
    g = g.reshape(n, rows, 2, columns, 2, features)
    halves = [_of_outputs(g[:, :, 0, :, b], g[:, :, 1, :, b]) for b in (0, 1)]
    spread = jnp.stack([part for i in range(4) for part in _of_outputs(halves[0][i], halves[1][i])])
    products = jax.lax.dot_general(_tiles(x), spread.reshape(16, -1, features), (((1,), (1,)), ((0,), (0,))))
    both = np.kron(OF_KERNEL, OF_KERNEL).T.astype(x.dtype)
    return (jnp.asarray(both) @ products.reshape(16, -1)).reshape(3, 3, x.shape[3], features)


def _turned(w: jax.Array) -> jax.Array:
    """The kernel reversed, its inputs and outputs exchanged."""
    return w[::-1, ::-1].swapaxes(2, 3)


def _around(g: jax.Array) -> jax.Array:
    return jnp.pad(g, ((0, 0), (2, 2), (2, 2), (0, 0)))


def _tiles(x: jax.Array, order: tuple[int, ...] = (0, 1, 2, 3)) -> jax.Array:
    """The tiles of a map, transformed: `[N, H, W, C]` -> `[16, N * ceil(H / 2 - 1) * ceil(W / 2 - 1), C]`."""
    n, h, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, width % 2), (0, 0))) if (h % 2, width % 2) != (0, 0) else x
    x = x.reshape(n, -(-h // 2), 2, -(-width // 2), 2, channels)
    parts = _of_tile(x[:, :-1, 0], x[:, :-1, 1], x[:, 1:, 0], x[:, 1:, 1])
    rows = jax.lax.optimization_barrier(jnp.stack([parts[i] for i in order]))  # merged, every value would read 16 px
    parts = _of_tile(rows[:, :, :, :-1, 0], rows[:, :, :, :-1, 1], rows[:, :, :, 1:, 0], rows[:, :, :, 1:, 1])
    return jnp.stack([parts[i] for i in order], 1).reshape(16, -1, channels)


def _of_tile(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> list[jax.Array]:
    return [a - c, b + c, c - b, b - d]


def _of_kernel(w: jax.Array) -> jax.Array:
    """`[3, 3, I, O]` -> `[16, I, O]`."""
    both = np.kron(OF_KERNEL, OF_KERNEL).astype(w.dtype)
    return (jnp.asarray(both) @ w.reshape(9, -1)).reshape(16, *w.shape[2:])


def _outputs(values: list[jax.Array]) -> list[jax.Array]:
    a, b, c, d = values
    return [a + b + c, b - c - d]


def _of_outputs(a: jax.Array, b: jax.Array) -> list[jax.Array]:
    """The transpose of `_outputs`."""
    return [a, a + b, a - b, -b]


def _batched(a: jax.Array, b: jax.Array) -> jax.Array:
    """`[T, P, I]`, `[T, I, O]` -> `[T, P, O]`."""
    return jax.lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))))


_tiled.defvjp(
    lambda x, w, turned: (_tiled(x, w, turned), (x, w)),
    lambda turned, saved, g: (
        _tiled(_around(g), saved[1], not turned),
        _turned(_tiled_kernel_gradient(saved[0], g)) if turned else _tiled_kernel_gradient(saved[0], g),
    ),
)
_tiled_kernel_gradient.defvjp(  # of <c, kernel gradient>, which is <g, the convolution of x by c>
    lambda x, g: (_tiled_kernel_gradient(x, g), (x, g)),
    lambda saved, c: (_tiled(_around(saved[1]), c, True), _tiled(saved[0], c)),
)
