"""Operations on grids of positions: kernels, constant inputs, position tables, and kernels with a resampling beside.

| operation | leaf | what stays |
|---|---|---|
| `resize` | kernel `[h, w, ..]` | the sum over the grid, its gain on a constant image |
| `resize_constant` | `[h, w, C]` or `[1, h, w, C]` | values: a constant stays that constant |
| `resize_positions` | `[n, d]` or `[1, n, d]` | values, and the rows of `prefix` as they are |
| `fuse_up` | kernel after a doubling by repetition -> 4x4 transposed | the function; smaller: least squares |
| `fuse_down` | kernel before 2x2 means -> 4x4 with stride 2 | the function; smaller: least squares |
| `fold_convs` | kernels one after another -> one | the function without nonlinearities; smaller: that of flat maps |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax.surgery.ops.basic import Args, OpError, Shape, wide, xp_of


def resize_matrix(new: int, old: int, method: str) -> np.ndarray:
    """`[new, old]`: interpolation on a line, pixel centres aligned, smoothed where it shrinks.

    Triangle (`linear`) or Keys' cubic with a = -1/2 (`cubic`); each row sums to 1.
    """
    if method not in ("linear", "cubic"):
        raise OpError(f"no method {method!r}; use 'linear' or 'cubic'")
    scale = max(1.0, old / new)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    x = np.abs(centres[:, None] - np.arange(old)[None]) / scale
    if method == "linear":
        weights = np.maximum(0.0, 1 - x)
    else:
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def fuse_matrix(new: int, old: int) -> np.ndarray:
    """`[new, old]`: a kernel on a line convolved with (1, 1), in the middle of `new`; the pseudo-inverse if smaller."""
    small, large = sorted((new, old))
    out, start = np.zeros((large, small)), (large - small - 1) // 2
    for i in range(small):
        out[start + i : start + i + 2, i] = 1
    return out if new > old else np.linalg.pinv(out)


def along(x: Any, matrix: np.ndarray, axis: int) -> Any:
    """A matrix `[new, old]` applied along one axis."""
    xp = xp_of(x)
    return xp.moveaxis(xp.tensordot(xp.asarray(matrix.astype(x.dtype)), x, axes=((1,), (axis,))), 0, axis)


def resize_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = tuple(shapes[0]), tuple(args["shape"])
    if len(source) < 3 or len(source) != len(target) or source[2:] != target[2:]:
        raise OpError(f"resize changes the two leading axes of a kernel only, not {list(source)} -> {list(target)}")
    return target


def resize(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Linear interpolation on the kernel grid. The sum over the grid, its gain on a constant image, stays exactly."""
    x = wide(sources[0])
    (kh, kw), (h, w) = x.shape[:2], args["shape"][:2]
    out = along(along(x, resize_matrix(h, kh, "linear"), 0), resize_matrix(w, kw, "linear"), 1) * (kh * kw / (h * w))
    out = out + (x.sum(axis=(0, 1)) - out.sum(axis=(0, 1)))[None, None] / (h * w)
    return out.astype(sources[0].dtype)


def constant_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = tuple(shapes[0]), tuple(args["shape"])
    batched = len(source) == len(target) == 4 and source[0] == target[0] == 1
    if not (batched or len(source) == len(target) == 3) or source[-1] != target[-1]:
        forms = "[h, w, C] or [1, h, w, C] with the same C"
        raise OpError(f"resize_constant needs {forms}, not {list(source)} -> {list(target)}")
    resize_matrix(1, 1, args.get("method", "linear"))
    return target


def resize_constant(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Interpolates the values of a constant input by `method`, linear unless it says cubic."""
    x, method = wide(sources[0]), args.get("method", "linear")
    for axis in (x.ndim - 3, x.ndim - 2):
        x = along(x, resize_matrix(args["shape"][axis], x.shape[axis], method), axis)
    return x.astype(sources[0].dtype)


def positions_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target, prefix = tuple(shapes[0]), tuple(args["shape"]), args.get("prefix", 0)
    if not 2 <= len(source) == len(target) <= 3 or source[:-2] not in ((), (1,)) or source[-1] != target[-1]:
        forms = "[n, d] or [1, n, d] with the same d"
        raise OpError(f"resize_positions needs {forms}, not {list(source)} -> {list(target)}")
    grids = args.get("grid", [[source[-2] - prefix], [target[-2] - prefix]])
    positions = [math.prod(grid) + prefix for grid in grids]
    if positions != [source[-2], target[-2]] or len(grids[0]) != len(grids[1]):
        raise OpError(
            f"grids {grids[0]} -> {grids[1]} and {prefix} rows before them hold {positions[0]} -> {positions[1]} positions, "
            f"but the tables have {source[-2]} -> {target[-2]}"
        )
    resize_matrix(1, 1, args.get("method", "cubic"))
    return target


def resize_positions(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Interpolates the rows of a position table by `method`, cubic unless it says linear.

    `grid` is `[[h, w], [h', w']]` where the positions are those of an image; without it they lie on a line. The first
    `prefix` rows (a class token's) are kept as they are.
    """
    x, prefix = wide(sources[0]).reshape(sources[0].shape[-2:]), args.get("prefix", 0)
    kept, rows = x[:prefix], x[prefix:]
    old, new = args.get("grid", [[len(rows)], [args["shape"][-2] - prefix]])
    rows = rows.reshape(*old, -1)
    for axis, (a, b) in enumerate(zip(old, new)):
        rows = along(rows, resize_matrix(b, a, args.get("method", "cubic")), axis)
    out = xp_of(x).concatenate([kept, rows.reshape(-1, x.shape[-1])], axis=0)
    return out.reshape(tuple(args["shape"])).astype(sources[0].dtype)


def fuse_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    source, target = tuple(shapes[0]), tuple(args["shape"])
    if len(source) != 4 or len(target) != 4 or source[2:] != target[2:]:
        raise OpError(f"this needs kernels [k, k, I, O] of the same I and O, not {list(source)} -> {list(target)}")
    if any((t - s) % 2 == 0 or max(s, t) % 2 for s, t in zip(source[:2], target[:2])):
        raise OpError(
            f"the smaller size must be odd and the larger even, as 3x3 and 4x4 are, not {list(source)} -> {list(target)}"
        )
    return target


def _fuse(x: Any, args: Args, flip: bool, gain: float) -> Any:
    """`gain` is that of the larger kernel, along each axis."""
    out = wide(x)
    for axis, new in enumerate(args["shape"][:2]):
        old = x.shape[axis]
        matrix = fuse_matrix(new, old) * (gain if new > old else 1 / gain)
        out = along(out, matrix[::-1] if flip else matrix, axis)
    return out.astype(x.dtype)


def fuse_up(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A correlation after a doubling by repetition, as one transposed convolution; and back, by least squares."""
    return _fuse(sources[0], args, flip=True, gain=1.0)


def fuse_down(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A correlation before 2x2 means, as one correlation with stride 2; and back, by least squares."""
    return _fuse(sources[0], args, flip=False, gain=0.5)


# ----------------------------------------------------------------------------------------------------------------------
# Convolutions one after another as one, as if they were linear.
#
# The kernel so far reads the input at `start`, `start` + 1, .. px from `stride` times the place of its output. The next
# kernel reads outputs that lie `stride` px apart in the input.

RELU_SLOPE = 0.5  # mean of a ReLU's slopes


class Folded(NamedTuple):
    """A kernel `[k, k, I, O]` on the way, the place of its first tap, and how far its outputs lie apart."""

    kernel: Any
    start: int
    stride: int


def fold_convs_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    args["start"]  # has to be there
    if args["size"] < 1:
        raise OpError(f"size is {args['size']}; a kernel has 1 px or more")
    return (args["size"], args["size"], args["channels"], _width_behind(args["layers"], shapes, args["channels"]))


def _width_behind(layers: Sequence[Any], shapes: Sequence[Shape], width: int) -> int:
    """Channels behind layers that read `width` of them."""
    for kind, about in layers:
        if kind == "add":
            if (behind := _width_behind(about, shapes, width)) != width:
                raise OpError(f"fold_convs cannot add layers that make {behind} channels to the {width} that they read")
        elif kind == "conv":
            kernel, depthwise = tuple(shapes[about["kernel"]]), about.get("depthwise", False)
            if len(kernel) != 4 or kernel[2] != (1 if depthwise else width) or (depthwise and kernel[3] != width):
                what = "a depthwise kernel" if depthwise else "a kernel"
                raise OpError(
                    f"fold_convs has {width} channels before {what} {list(kernel)}, which reads another number"
                )
            if any(tuple(shapes[about[name]]) != kernel[3:] for name in ("scale", "var") if name in about):
                raise OpError(f"fold_convs needs a scale and a variance for each output of a kernel {list(kernel)}")
            width = kernel[3]
        elif kind != "mean":
            raise OpError(f"fold_convs knows no layer {kind!r}; use conv, mean or add")
    return width


def fold_convs(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """One kernel `[size, size, channels, O]` whose first tap reads `start` px from its output's place times the stride.

    `layers` are `["conv", {..}]` with the numbers of its sources (`kernel`, of batch norm `scale` and `var` with `eps`),
    `stride`, `pad`, `depthwise`, and the `slope` of what follows; `["mean", {"size", "stride", "pad"}]`; and
    `["add", [layers]]`, which are added to what they read. Taps that lie outside go to the outermost: what a flat map
    gives stays.
    """
    first = wide(sources[0])
    nothing = Folded(xp_of(first).eye(args["channels"], dtype=first.dtype)[None, None], 0, 1)
    folded = _fold(args["layers"], sources, nothing)
    places = np.clip(np.arange(folded.kernel.shape[0]) + folded.start - args["start"], 0, args["size"] - 1)
    matrix = (np.arange(args["size"])[:, None] == places[None]).astype(np.float64)
    return along(along(folded.kernel, matrix, 0), matrix, 1).astype(sources[0].dtype)


def _fold(layers: Sequence[Any], sources: Sequence[Any], so_far: Folded) -> Folded:
    for kind, about in layers:
        if kind == "add":
            added = _fold(about, sources, so_far)
            before = so_far.start - added.start
            after = added.kernel.shape[0] - so_far.kernel.shape[0] - before
            sides = ((before, after), (before, after), (0, 0), (0, 0))
            so_far = added._replace(kernel=added.kernel + xp_of(added.kernel).pad(so_far.kernel, sides))
        elif kind == "mean":
            taps = np.full((about["size"], about["size"], 1, 1), about["size"] ** -2.0)
            so_far = _then(so_far, taps, about, depthwise=True)
        else:
            so_far = _then(so_far, _scaled(sources, about), about, about.get("depthwise", False))
    return so_far


def _scaled(sources: Sequence[Any], about: Args) -> Any:
    """A kernel times the scale of its batch norm and the slope of its nonlinearity."""
    kernel = wide(sources[about["kernel"]])
    if "var" in about:
        scale, var = (wide(sources[about[name]]) for name in ("scale", "var"))
        kernel = kernel * (scale / xp_of(var).sqrt(var + np.asarray(about["eps"], var.dtype)))[None, None, None]
    return kernel * np.asarray(about.get("slope", 1.0), kernel.dtype)


def _then(so_far: Folded, taps: Any, about: Args, depthwise: bool) -> Folded:
    """The kernel so far and the next one, `taps [k, k, I, O]` or, depthwise, `[k, k, 1, O]`, as one."""
    kernel, start, stride = so_far
    reach = stride * (taps.shape[0] - 1)
    out: Any = 0
    for i in range(taps.shape[0]):
        for j in range(taps.shape[1]):
            tap = taps[i, j].astype(kernel.dtype)
            part = kernel * tap[None, None] if depthwise else kernel @ tap
            sides = [(stride * k, reach - stride * k) for k in (i, j)]
            out = out + xp_of(kernel).pad(part, (*sides, (0, 0), (0, 0)))
    return Folded(out, start - stride * about["pad"], stride * about["stride"])
