"""Convolutions, NHWC by HWIO, in one place: the form that each platform runs fast.

XLA on CPU runs the *derived* backward convolutions inside loops and branches 20 to 40 times slower than outside,
because of their dimension numbers. There a stride-1 convolution and the gradient of its kernel are given gradients that
are written in the two, so that every derivative of any order is again a plain NHWC/HWIO convolution. Strides are done
beside it, by space-to-depth. GPU and TPU get the library's own form, which their kernels are matched from.

Two more things are slow on CPU, and the stride-1 convolution is run another way there, whatever it is the derivative of:

- Groups, which XLA runs as one loop over small products: they are convolved one after the other, each plainly, in a loop
  whose body is compiled once.
- A kernel that is larger than what it reads, as a kernel's gradient has where the output is larger than the input. XLA
  exchanges the two, and lands in the slow dimension numbers. The input is padded beforehand, so that no kernel is larger.

Sums are taken in another order by these: last bits differ from one operation of XLA's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import cast

import jax
import jax.numpy as jnp

Padding = tuple[tuple[int, int], tuple[int, int]]
_SINGLE: ContextVar[bool] = ContextVar("single", default=False)  # whether a convolution is one operation


def conv(x: jax.Array, w: jax.Array, padding: Padding | None = None, groups: int = 1) -> jax.Array:
    """Stride-1 correlation: `x [N, H, W, I]`, `w [kh, kw, I / groups, O]` -> `[N, H', W', O]`.

    `padding` None keeps the size for odd kernels. With `groups`, the channels of both sides fall into as many equal
    runs, and each run of outputs reads its own run of inputs.

    Raises:
      ValueError: channels that do not fall into the groups.
    """
    if x.shape[-1] != groups * w.shape[2] or w.shape[3] % groups:
        raise ValueError(
            f"{x.shape[-1]} channels and a kernel {list(w.shape)} do not make a convolution of {groups} groups; "
            "both numbers of channels must be multiples of it, and the kernel reads one group"
        )
    if padding is None:
        kh, kw = w.shape[:2]
        padding = (((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2))
    if groups == 1 and w.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
        return jnp.einsum("nhwi,io->nhwo", x, w[0, 0])  # a matrix product is fast everywhere
    return _closed_conv(x, w, padding, groups) if is_closed() else _plain_conv(x, w, padding, groups)


def conv_down(x: jax.Array, w: jax.Array) -> jax.Array:
    """4x4 correlation with stride 2 and padding 1: `[N, H, W, I]` -> `[N, H/2, W/2, O]`."""
    if not is_closed():
        return jax.lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    n, h, width, c = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x.reshape(n, h // 2 + 1, 2, width // 2 + 1, 2, c).transpose(0, 1, 3, 2, 4, 5)
    w = w.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5)
    return conv(x.reshape(n, h // 2 + 1, width // 2 + 1, 4 * c), w.reshape(2, 2, 4 * c, -1), ((0, 0), (0, 0)))


def strided(x: jax.Array, w: jax.Array, pad: int = 0) -> jax.Array:
    """Correlation with stride 2 of any size, zeros around: `[N, H, W, I]` -> `[N, (H + 2 pad - kh) // 2 + 1, .., O]`."""
    if not is_closed():
        return jax.lax.conv_general_dilated(
            x, w, (2, 2), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    if (*w.shape[:2], pad, x.shape[1] % 2, x.shape[2] % 2) == (4, 4, 1, 0, 0):
        return conv_down(x, w)  # one product in place of four
    if pad:
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    h, width = ((x.shape[axis] - w.shape[axis - 1]) // 2 + 1 for axis in (1, 2))
    parts = []
    for a in (0, 1):
        for b in (0, 1):  # even rows meet the even taps, odd rows the odd ones
            taps = w[a::2, b::2]
            if taps.size:
                rows, columns = h + taps.shape[0] - 1, width + taps.shape[1] - 1
                # not x[:, a::2, b::2], which gathers where the batch is open, as in an exported program
                ends = (x.shape[0], a + 2 * rows - 1, b + 2 * columns - 1, x.shape[3])
                parts.append(conv(jax.lax.slice(x, (0, a, b, 0), ends, (1, 2, 2, 1)), taps, ((0, 0), (0, 0))))
    return sum(parts[1:], parts[0])


def conv_up(x: jax.Array, w: jax.Array) -> jax.Array:
    """4x4 transposed convolution with stride 2 and padding 1: `[N, H, W, I]` -> `[N, 2H, 2W, O]`.

    `w [4, 4, I, O]` has the orientation of PyTorch's ConvTranspose2d: output `o` is the sum over `i` of
    `x[i] * w[o + 1 - 2i]`.
    """
    if not is_closed():
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, w[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=numbers
        )
    n, h, width, c = x.shape
    # Even outputs take taps 3 and 1 over inputs m-1 and m, odd outputs taps 2 and 0 over m and m+1.
    phases = w[::-1, ::-1].reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
    # Padded beforehand: the kernel's gradient is a convolution with a kernel of h + 1, and one that is larger than what it
    # reads runs 20 times slower on CPU.
    y = conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), phases, ((0, 0), (0, 0)))
    y = y.reshape(n, h + 1, width + 1, 2, 2, -1)
    rows = [jnp.stack([y[:, a : h + a, b : width + b, a, b] for b in (0, 1)], axis=3) for a in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * width, -1)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width by repetition: `[N, H, W, C]` -> `[N, 2H, 2W, C]`."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def upsample_linear(x: jax.Array) -> jax.Array:
    """Doubles height and width by linear interpolation: `[N, H, W, C]` -> `[N, 2H, 2W, C]`.

    Pixels are squares whose centres are interpolated between, and the outermost values go on: PyTorch's bilinear mode
    with `align_corners=False`.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        ends = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(4)], mode="edge")
        before, after = (jax.lax.slice_in_dim(ends, start, start + n, axis=axis) for start in (0, 2))
        pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return x


def downsample_mean(x: jax.Array) -> jax.Array:
    """Halves height and width by 2x2 means: `[N, H, W, C]` -> `[N, H/2, W/2, C]`."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def is_closed() -> bool:
    """Whether convolutions take the form that is closed under differentiation, which XLA needs on CPU."""
    return jax.default_backend() == "cpu"


def is_single() -> bool:
    """Whether every convolution is one operation of XLA's now (`single_operations`)."""
    return _SINGLE.get()


@contextlib.contextmanager
def single_operations() -> Iterator[None]:
    """Makes every stride-1 convolution one operation of XLA's in what is traced within, for programs not run here.

    Operations are counted right (a loop's body counts once), and an exported program has the convolutions of the network.
    """
    token = _SINGLE.set(True)
    try:
        yield
    finally:
        _SINGLE.reset(token)


def _plain_conv(x: jax.Array, w: jax.Array, padding: Padding, groups: int) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=numbers, feature_group_count=groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _closed_conv(x: jax.Array, w: jax.Array, padding: Padding, groups: int) -> jax.Array:
    """The convolution, whose gradients are this and `_kernel_gradient`, whose gradients are this: `conv` on CPU."""
    if _SINGLE.get():
        return _plain_conv(x, w, padding, groups)
    return _by_groups(lambda x, w: _padded_conv(x, w, padding), x, w, groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x: jax.Array, g: jax.Array, padding: Padding, groups: int) -> jax.Array:
    """What a kernel's gradient is, where `g [N, H', W', O]` is that of the output: `[kh, kw, I / groups, O]`.

    The examples are what is summed over, so they are the channels here: those of a group, for each group's outputs.
    """
    if _SINGLE.get():
        images = _exchanged(x.transpose(1, 2, 0, 3), groups).transpose(2, 0, 1, 3)
        return _plain_conv(images, g.transpose(1, 2, 0, 3), padding, groups).transpose(1, 2, 0, 3)

    def of_group(x: jax.Array, g: jax.Array) -> jax.Array:
        return _padded_conv(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding).transpose(1, 2, 0, 3)

    return _by_groups(of_group, x, g, groups)


def _input_gradient(g: jax.Array, w: jax.Array, padding: Padding, groups: int) -> jax.Array:
    """What an input's gradient is, where `g [N, H', W', O]` is that of the output: `[N, H, W, I]`."""
    kh, kw = w.shape[:2]
    (top, bottom), (left, right) = padding
    rest = ((kh - 1 - top, kh - 1 - bottom), (kw - 1 - left, kw - 1 - right))
    return cast(jax.Array, _closed_conv(g, _exchanged(w[::-1, ::-1], groups), rest, groups))


def _padded_conv(x: jax.Array, w: jax.Array, padding: Padding) -> jax.Array:
    """The plain convolution of an input that is at least as large as the kernel: padded beforehand where it is not.

    Without the barrier XLA takes the padding back into the convolution, and exchanges the two for all that.
    """
    if w.shape[0] * w.shape[1] > x.shape[1] * x.shape[2]:
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((a, b, 0) for a, b in padding), (0, 0, 0)])
        x, padding = jax.lax.optimization_barrier(x), ((0, 0), (0, 0))
    return _plain_conv(x, w, padding, 1)


def _by_groups(form: Callable[[jax.Array, jax.Array], jax.Array], a: jax.Array, b: jax.Array, groups: int) -> jax.Array:
    """`form` of each group's runs of the last axis of both, in a loop: written out, every group would be compiled."""
    if groups == 1:
        return form(a, b)

    def run(array: jax.Array, group: jax.Array) -> jax.Array:
        size = array.shape[-1] // groups
        return jax.lax.dynamic_slice_in_dim(array, group * size, size, axis=-1)

    y = jax.lax.map(lambda group: form(run(a, group), run(b, group)), jnp.arange(groups))
    return jnp.moveaxis(y, 0, 3).reshape(*y.shape[1:4], -1)


def _exchanged(w: jax.Array, groups: int) -> jax.Array:
    """The last two axes exchanged within each group: `[H, W, I, groups * O]` -> `[H, W, O, groups * I]`."""
    h, width, i, o = w.shape
    parts = w.reshape(h, width, i, groups, o // groups)
    return parts.transpose(0, 1, 4, 3, 2).reshape(h, width, o // groups, groups * i)


_closed_conv.defvjp(
    lambda x, w, padding, groups: (_closed_conv(x, w, padding, groups), (x, w)),
    lambda padding, groups, saved, g: (
        _input_gradient(g, saved[1], padding, groups),
        _kernel_gradient(saved[0], g, padding, groups),
    ),
)
_kernel_gradient.defvjp(  # of <c, kernel gradient>, which is <g, the convolution of x by c>
    lambda x, g, padding, groups: (_kernel_gradient(x, g, padding, groups), (x, g)),
    lambda padding, groups, saved, c: (
        _input_gradient(saved[1], c, padding, groups),
        _closed_conv(saved[0], c, padding, groups),
    ),
)
