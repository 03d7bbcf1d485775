"""What can be done to one leaf: a table of pure functions, each declaring its effect on the shape.

An operation never sees a path. It gets its source arrays, the target's fresh value (what a new network would start
with) and JSON arguments; the arguments alone fix the resulting shape, so that a plan is checked before any array
exists. NumPy in, NumPy out; JAX in, JAX out, also under `jit`: host copies cost no compilation, and arrays that live
on several devices stay there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from gan_jax.surgery.ops import basic, dense, equalised, forms, grids, join, width
from gan_jax.surgery.ops.basic import Args, OpError, Shape, wide
from gan_jax.trees import did_you_mean

Step = tuple[str, Args]  # an operation's name and its arguments


@dataclasses.dataclass(frozen=True)
class Op:
    """An operation on leaves.

    Attributes:
      effect: what it does to the shape, in one line.
      shape: `(source_shapes, args) -> shape`; raises `OpError` where it cannot be applied.
      apply: `(sources, fresh, args) -> array` of that shape.
      sources: how many source leaves it reads; 0 = none.
      many: whether it reads any more that are named.
      scored: whether the sources after the first only score what is kept of the first, and give no values.
      fresh: whether it reads the target's fresh value (or its dtype).
      constant: whether of that it needs the dtype only.
      keeps: whether source values arrive as they are, as a function of them, or not at all.
      fills: whether every value of the result comes from the source, if it reads one.
      moments: the operation that moves Adam's moments along, with the same arguments; None = they are reset.
    """

    effect: str
    shape: Callable[[Sequence[Shape], Args], Shape]
    apply: Callable[[Sequence[Any], Any, Args], Any]
    sources: int = 1
    many: bool = False
    scored: bool = False
    fresh: bool = False
    constant: bool = False
    keeps: Literal["copied", "adapted", "fresh"] = "copied"
    fills: bool = True
    moments: str | None = None


def lookup(name: str) -> Op:
    """The operation of a name, or an error with the nearest ones."""
    if name not in OPS:
        raise OpError(f"no operation {name!r}{did_you_mean(name, OPS)}; the known ones are {', '.join(OPS)}")
    return OPS[name]


def shape_of_steps(steps: Sequence[Step], shapes: Sequence[Shape]) -> Shape:
    """The shape that a chain of operations makes; the first reads all sources, each later one what came before."""
    for name, args in steps:
        op = lookup(name)
        if op.sources > len(shapes) or (op.sources < len(shapes) and not op.many):
            least = " or more" if op.many else ""
            raise OpError(f"{name} reads {op.sources}{least} source leaves, but {len(shapes)} are named")
        try:
            shapes = [op.shape(shapes, args)]
        except KeyError as error:
            raise OpError(f"{name} needs the argument {error}") from error
    return tuple(shapes[0])


def run_steps(steps: Sequence[Step], sources: Sequence[Any], fresh: Any) -> Any:
    """Applies a chain of operations. Only the last may read `fresh`: what comes before has another shape."""
    for name, args in steps:
        sources = [lookup(name).apply(sources, fresh, args)]
    return sources[0]


def values_kept(steps: Sequence[Step], shapes: Sequence[Shape]) -> tuple[int, int]:
    """How many values of the result are (copied from, computed from) the source; the rest is fresh."""
    kept, adapted = None, False
    for name, args in steps:
        op = lookup(name)
        if op.keeps == "fresh":
            return 0, 0
        before, shape = sum(map(math.prod, shapes[:1] if op.scored else shapes)), op.shape(shapes, args)
        if name == "nested":
            parts = [values_kept(part["steps"], [shapes[i] for i in part["sources"]]) for part in args["inputs"]]
            op, adapted = lookup(args["op"]), any(computed for _, computed in parts)
            count = 1 if op.scored else len(parts)
            before = sum(map(math.prod, _input_shapes(shapes, args)[:count]))
            kept = sum(map(sum, parts[:count]))
        kept = before if kept is None else kept
        everything = op.keeps == "adapted" or (op.fills and kept == before)
        kept = math.prod(shape) if everything else min(kept, math.prod(shape))
        adapted = adapted or op.keeps == "adapted"
        shapes = [shape]
    return (0, kept or 0) if adapted else (kept or 0, 0)


def _input_shapes(shapes: Sequence[Shape], args: Args) -> list[Shape]:
    """The shapes of the inputs of a nested operation."""
    return [shape_of_steps(part["steps"], [shapes[i] for i in part["sources"]]) for part in args["inputs"]]


def _nested_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    inner = [args["op"], *(name for part in args["inputs"] for name, _ in part["steps"])]
    if fresh := [name for name in inner if lookup(name).fresh]:
        raise OpError(f"{fresh[0]} reads the target's fresh value, which nothing nested has")
    return shape_of_steps([(args["op"], args["args"])], _input_shapes(shapes, args))


def _nested(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """One operation on inputs that chains of operations make: `args["inputs"]` lists `sources` and `steps` of each."""
    inputs = [run_steps(part["steps"], [sources[i] for i in part["sources"]], fresh) for part in args["inputs"]]
    return lookup(args["op"]).apply(inputs, fresh, args["args"])


def _vector_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return shape_of_steps([*args["steps"]], shapes[1:])[-1:]


def _vector(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A singular vector for a kernel that changed: from the old vector (its dtype) and the old kernel, same steps."""
    return _changed(sources, args)[0]


def _regain(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A gain that keeps gain * kernel / singular value: sources gain, singular vector, kernel, and what it reads.

    With `args["alone"]` there was none, which counts as 1.
    """
    gain, sources = (np.ones((), sources[0].dtype), sources) if args.get("alone") else (sources[0], sources[1:])
    vector, kernel = _changed(sources, args)
    size = lambda kernel, vector: equalised.stretch(kernel, vector, args.get("refine", False))
    ratio = size(kernel, vector) / size(sources[1], sources[0])
    return (wide(gain) * ratio).astype(gain.dtype)


def _gain_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return () if args.get("alone") else basic.same_shape(shapes, args)


def _changed(sources: Sequence[Any], args: Args) -> tuple[Any, Any]:
    """The singular vector and the kernel after `args["steps"]`; the vector's own channels go by `args["select"]`."""
    kernel = run_steps(args["steps"], sources[1:], None)
    chosen = run_steps(args["select"], sources, None) if "select" in args else sources[0]
    return equalised.vector_after(chosen, kernel, sources[0], sources[1]), kernel


_NEW = {"sources": 0, "fresh": True, "keeps": "fresh"}
_CONSTANT = {**_NEW, "constant": True}

OPS: dict[str, Op] = {
    "copy": Op("the same shape", basic.same_shape, basic.copy, moments="copy"),
    "init": Op("the target's shape, its fresh value", basic.given_shape, basic.init, **_NEW),
    "zero": Op("the target's shape", basic.given_shape, basic.zero, **_CONSTANT),
    "identity": Op("[.., I, O], one tap in the middle", basic.kernel_shape, basic.identity, **_CONSTANT),
    "slice": Op(
        "a part along each axis, the leading one unless it has `starts`",
        basic.smaller_shape,
        basic.part,
        moments="slice",
    ),
    "widen": Op(
        "larger; fresh, but new inputs feed old outputs with zero",
        basic.larger_shape,
        basic.widen,
        fresh=True,
        fills=False,
        moments="pad",
    ),
    "pad": Op("larger, by zeros", basic.larger_shape, basic.pad, fills=False, moments="pad"),
    "tile": Op("a new axis of equal parts", basic.tile_shape, basic.tile),
    "mean": Op("one axis less", basic.mean_shape, basic.mean, keeps="adapted"),
    "gather": Op("one axis by a list of indices, -1 for the mean", join.gather_shape, join.gather, moments="gather"),
    "colour_in": Op("image channels, in what reads them", basic.mix_shape, basic.mix, keeps="adapted"),
    "colour_out": Op("image channels, in what writes them", basic.mix_shape, basic.mix, keeps="adapted"),
    "resize": Op("another kernel size, the same sum", grids.resize_shape, grids.resize, keeps="adapted"),
    "cast": Op("the same shape, another dtype", basic.same_shape, basic.cast, moments="cast"),
    "widen_spectral": Op(
        "as widen, the largest singular value kept",
        basic.larger_shape,
        equalised.widen,
        fresh=True,
        fills=False,
        moments="pad",
    ),
    "colour_spectral": Op(
        "[1, 1, 1, O] -> [1, 1, 3 or 4, O'], the largest singular value kept",
        equalised.colour_shape,
        equalised.colour,
        keeps="adapted",
    ),
    "mute": Op("the target's shape, fresh but for a last output of zeros", basic.kernel_shape, equalised.mute, **_NEW),
    "ballast": Op("the target's shape, zero but for one weight", basic.kernel_shape, equalised.ballast, **_CONSTANT),
    "one_hot": Op(
        "the target's shape, a unit vector, or rows of them", basic.given_shape, equalised.one_hot, **_CONSTANT
    ),
    "singular_vector": Op(
        "[O] for a changed kernel [.., O]", _vector_shape, _vector, sources=2, many=True, keeps="adapted"
    ),
    "duplicate": Op("more channels, copies of others", width.duplicate_shape, width.duplicate, keeps="adapted"),
    "important": Op(
        "fewer channels along some axes: those that matter most to the output",
        width.important_shape,
        width.important,
        sources=2,
        many=True,
        scored=True,
        moments="important",
    ),
    "regain": Op(
        "the same gain, times how much the singular value of its kernel grew",
        _gain_shape,
        _regain,
        sources=2,
        many=True,
        keeps="adapted",
    ),
    "fill": Op("the target's shape, one value", basic.given_shape, dense.fill, **_CONSTANT),
    "mix": Op("one axis by combinations of what is along it", basic.mix_shape, basic.mix, keeps="adapted"),
    "carry": Op("a head as a layer within", dense.carry_shape, dense.carry, fresh=True, fills=False, keeps="adapted"),
    "carry_on": Op("4x4, passes an image on, else fresh", dense.carry_on_shape, dense.carry_on, **_NEW),
    "fold_head": Op(
        "a head and layers next to it as one",
        dense.fold_head_shape,
        dense.fold_head,
        sources=4,
        many=True,
        keeps="adapted",
    ),
    "fold_linear": Op(
        "kernels of size 1 one after the other as one",
        dense.linear_shape,
        dense.fold_linear,
        sources=2,
        many=True,
        keeps="adapted",
    ),
    "top_vector": Op("[O], what a kernel [.., O] stretches most", basic.output_shape, equalised.top, keeps="adapted"),
    "permute": Op("the same shape, one axis in another order", join.permute_shape, join.gather, moments="permute"),
    "strongest": Op(
        "fewer channels along some axes: those with the largest norm in the leaves that `scores` name",
        join.strongest_shape,
        join.strongest,
        many=True,
        scored=True,
        moments="strongest",
    ),
    "concatenate": Op(
        "the sources one after the other along an axis",
        join.concatenate_shape,
        join.concatenate,
        sources=2,
        many=True,
        moments="concatenate",
    ),
    "stack": Op("the sources along a new axis", join.stack_shape, join.stack, sources=2, many=True, moments="stack"),
    "split": Op("one of equal or given parts of an axis", join.split_shape, join.split, moments="split"),
    "unstack": Op("one position of an axis, which goes", join.unstack_shape, join.unstack, moments="unstack"),
    "transpose": Op("the axes in another order", join.transpose_shape, join.transpose, moments="transpose"),
    "reshape": Op("the same values in another shape", join.reshape_shape, join.reshape, moments="reshape"),
    "average": Op(
        "the shape that all sources have", join.average_shape, join.average, sources=2, many=True, keeps="adapted"
    ),
    "resize_constant": Op(
        "[h, w, C] or [1, h, w, C] on another grid", grids.constant_shape, grids.resize_constant, keeps="adapted"
    ),
    "resize_positions": Op(
        "[n, d] or [1, n, d] with other positions", grids.positions_shape, grids.resize_positions, keeps="adapted"
    ),
    "fuse_up": Op("3x3 after a doubling <-> 4x4 transposed", grids.fuse_shape, grids.fuse_up, keeps="adapted"),
    "fuse_down": Op("3x3 before 2x2 means <-> 4x4, stride 2", grids.fuse_shape, grids.fuse_down, keeps="adapted"),
    "fold_convs": Op(
        "[size, size, I, O], convolutions one after another as one",
        grids.fold_convs_shape,
        grids.fold_convs,
        many=True,
        keeps="adapted",
    ),
    "noise": Op("the same shape, plus seeded noise", basic.noise_shape, basic.noise, keeps="adapted", moments="copy"),
    "scale": Op("the same shape, times a number", basic.scale_shape, basic.scale, keeps="adapted"),
    "equalise": Op(
        "the same shape, times sqrt(new / old fan-in)", equalised.equalise_shape, equalised.equalise, keeps="adapted"
    ),
    "parts": Op(
        "larger or smaller, by parts of an axis that is read",
        equalised.parts_shape,
        equalised.parts,
        fresh=True,
        fills=False,
        keeps="adapted",
    ),
    "carry_centre": Op(
        "[k, k, I, O], its middle passes an image on, else fresh",
        equalised.carry_centre_shape,
        equalised.carry_centre,
        **_NEW,
    ),
    "carry_head": Op(
        "[1, 1, c, O] as the middle of a layer within",
        equalised.carry_head_shape,
        equalised.carry_head,
        fresh=True,
        fills=False,
        keeps="adapted",
    ),
    "fold_rgb": Op(
        "a head and the layers after it as one head",
        equalised.fold_rgb_shape,
        equalised.fold_rgb,
        sources=2,
        many=True,
        keeps="adapted",
    ),
    "resample": Op("pixels along one axis at another size", dense.resample_shape, dense.resample, keeps="adapted"),
    "pass_on": Op("[I, O], passes units on, else fresh", dense.pass_on_shape, dense.pass_on, **_NEW),
    "in_pairs": Op(
        "twice as many along an axis: each unit read as a pair of both signs",
        dense.in_pairs_shape,
        dense.in_pairs,
        keeps="adapted",
    ),
    "fold_dense": Op(
        "what reads a layer, and layers before it, as one",
        dense.fold_shape,
        dense.fold_dense,
        sources=2,
        many=True,
        keeps="adapted",
    ),
    "shift": Op(
        "[O], for a kernel whose inputs are shifted", basic.same_shape, equalised.shift, sources=3, keeps="adapted"
    ),
    "modulated": Op(
        "a kernel with the styles that it is multiplied with",
        forms.modulated_shape,
        forms.modulated,
        sources=2,
        keeps="adapted",
    ),
    "unit_rms": Op("the same shape, root mean square 1", basic.same_shape, forms.unit_rms, keeps="adapted"),
    "flip": Op("the same kernel, turned by half a turn", forms.kernel_shape, forms.flip, moments="flip"),
    "spread": Op(
        "a dense layer and a map for each channel as a dense layer by position",
        forms.spread_shape,
        forms.spread,
        sources=2,
        keeps="adapted",
    ),
    "rank_one": Op("of a dense layer by position, a part", forms.rank_one_shape, forms.rank_one, keeps="adapted"),
    "fold_residual": Op(
        "residual blocks of three kernels as one 3x3 kernel",
        forms.residual_shape,
        forms.fold_residual,
        sources=3,
        many=True,
        keeps="adapted",
    ),
    "unit": Op("the same kernel, largest singular value 1", basic.matrix_shape, basic.unit, keeps="adapted"),
    "nested": Op("one operation on inputs that others make", _nested_shape, _nested, many=True),
}
