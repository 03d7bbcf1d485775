"""Operations on dense layers: what reads or writes pixels at another size, and layers that pass units on or fold away.

| operation | leaf | what stays |
|---|---|---|
| `resample` | an axis of pixels | written: images, repeated; read: the logit of an image brought to the old size |
| `pass_on` | a new layer `[I, O]` | the units before it, behind its activation |
| `in_pairs` | what reads units that a leaky layer passes on as pairs | the function |
| `fold_dense` | what reads a layer, and the layer | the function, if the layer were linear |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.surgery.ops.arrays import Args, OpError, Shape, paste, wide, xp_of
from gan_jax.surgery.ops.grids import along, resize_matrix
from gan_jax.surgery.ops.heads import signs, width_of


def image_matrix(new: int, old: int) -> np.ndarray:
    """`[new, old]`: a line of pixels at another size, by repetition, by means, else by linear interpolation."""
    if new % old == 0:
        return np.repeat(np.eye(old), new // old, axis=0)
    if old % new == 0:
        return np.repeat(np.eye(new), old // new, axis=1) * new / old
    return resize_matrix(new, old, "linear")


def resample_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, axis, size = list(shapes[0]), args["axis"], args["size"]
    if not 0 <= axis < len(shape) or size < 1 or args["side"] not in ("in", "out"):
        raise OpError(f"resample needs an axis of {shape}, a size of 1 or more and a side, 'in' or 'out', not {args}")
    shape[axis] = size
    return tuple(shape)


def resample(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Pixels along one axis at another size, in what writes images (`out`) or reads them (`in`).

    A reader of `size` pixels gives for an image what it gave for that image at the old size.
    """
    x, axis, size = wide(sources[0]), args["axis"], args["size"]
    old = x.shape[axis]
    matrix = image_matrix(size, old) if args["side"] == "out" else image_matrix(old, size).T
    return along(x, matrix, axis).astype(sources[0].dtype)


def pass_on_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    shape, needed = tuple(args["shape"]), [width_of(args[key], args["units"]) for key in ("reads", "writes")]
    if len(shape) != 2 or any(n < m for n, m in zip(shape, needed)):
        raise OpError(f"this needs a kernel [{needed[0]} or more, {needed[1]} or more], not {list(shape)}")
    return shape


def pass_on(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """The first `units` pass a layer, from and to `plain` units or `pairs` of both signs, times `value`; else fresh.

    What passes on reads nothing but these units.
    """
    units, (inputs, outputs) = args["units"], tuple(args["shape"])
    written = width_of(args["writes"], units)
    matrix = args["value"] * signs(args["reads"], units, inputs).T @ signs(args["writes"], units, outputs)
    return paste(fresh, (slice(None), slice(0, written)), matrix[:, :written].astype(fresh.dtype))


def in_pairs_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return tuple(2 * n if i == args["axis"] else n for i, n in enumerate(shapes[0]))


def in_pairs(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """Reads unit i as units 2 i and 2 i + 1 of opposite signs: weights times `value` and times -`value`."""
    x, axis = wide(sources[0]), args["axis"]
    pairs = xp_of(x).stack([x, -x], axis=axis + 1) * np.asarray(args["value"], x.dtype)
    return pairs.reshape(in_pairs_shape([x.shape], args)).astype(sources[0].dtype)


def fold_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    reader, layers, axis = list(shapes[0]), shapes[1:], args["axis"]
    chain = [*(n for layer in layers for n in layer), reader[axis]]
    if any(len(layer) != 2 for layer in layers) or any(a != b for a, b in zip(chain[1::2], chain[2::2])):
        raise OpError(f"fold_dense needs what reads a layer, then layers one after the other, not {list(shapes)}")
    reader[axis] = chain[0]
    return tuple(reader)


def fold_dense(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A reader and the layers before it as one reader, as if they were linear, times `value` for each layer."""
    x, axis = wide(sources[0]), args["axis"]
    xp = xp_of(*sources)
    for layer in reversed(sources[1:]):
        product = xp.tensordot(wide(layer), x, axes=((1,), (axis,))) * np.asarray(args["value"], x.dtype)
        x = xp.moveaxis(product, 0, axis)
    return x.astype(sources[0].dtype)
