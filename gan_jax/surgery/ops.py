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

from gan_jax.surgery import leaf, spectral
from gan_jax.surgery.arrays import Args, OpError, Shape
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
      fresh: whether it reads the target's fresh value (or its dtype).
      keeps: whether source values arrive as they are, as a function of them, or not at all.
      moments: the operation that moves Adam's moments along, with the same arguments; None = they are reset.
    """

    effect: str
    shape: Callable[[Sequence[Shape], Args], Shape]
    apply: Callable[[Sequence[Any], Any, Args], Any]
    sources: int = 1
    fresh: bool = False
    keeps: Literal["copied", "adapted", "fresh"] = "copied"
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
        if op.sources > len(shapes):
            raise OpError(f"{name} reads {op.sources} source leaves, but {len(shapes)} are named")
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
    kept, adapted = math.prod(shapes[0]) if shapes else 0, False
    for name, args in steps:
        op = lookup(name)
        shapes = [op.shape(shapes, args)]
        if op.keeps == "fresh":
            return 0, 0
        repeats = op.keeps == "adapted" or name == "tile"
        kept = math.prod(shapes[0]) if repeats else min(kept, math.prod(shapes[0]))
        adapted = adapted or op.keeps == "adapted"
    return (0, kept) if adapted else (kept, 0)


def _vector_shape(shapes: Sequence[Shape], args: Args) -> Shape:
    return shape_of_steps([*args["steps"]], shapes[1:])[-1:]


def _vector(sources: Sequence[Any], fresh: Any, args: Args) -> Any:
    """A singular vector for a kernel that changed: from the old vector (its dtype) and the old kernel, same steps."""
    return spectral.top_vector(run_steps(args["steps"], sources[1:], None), sources[0])


_NEW = {"sources": 0, "fresh": True, "keeps": "fresh"}

OPS: dict[str, Op] = {
    "copy": Op("the same shape", leaf.same_shape, leaf.copy, moments="copy"),
    "init": Op("the target's shape, its fresh value", leaf.given_shape, leaf.init, **_NEW),
    "zero": Op("the target's shape", leaf.given_shape, leaf.zero, **_NEW),
    "identity": Op("[.., I, O], one tap in the middle", leaf.kernel_shape, leaf.identity, **_NEW),
    "slice": Op("the leading part along each axis", leaf.smaller_shape, leaf.part, moments="slice"),
    "widen": Op(
        "larger; fresh, but new inputs feed old outputs with zero",
        leaf.larger_shape,
        leaf.widen,
        fresh=True,
        moments="pad",
    ),
    "pad": Op("larger, by zeros", leaf.larger_shape, leaf.pad, moments="pad"),
    "tile": Op("a new axis of equal parts", leaf.tile_shape, leaf.tile),
    "mean": Op("one axis less", leaf.mean_shape, leaf.mean, keeps="adapted"),
    "gather": Op("one axis by a list of indices, -1 for the mean", leaf.gather_shape, leaf.gather, moments="gather"),
    "colour_in": Op("image channels, in what reads them", leaf.mix_shape, leaf.mix, keeps="adapted"),
    "colour_out": Op("image channels, in what writes them", leaf.mix_shape, leaf.mix, keeps="adapted"),
    "resize": Op("another kernel size, the same sum", leaf.resize_shape, leaf.resize, keeps="adapted"),
    "cast": Op("the same shape, another dtype", leaf.same_shape, leaf.cast, moments="cast"),
    "widen_spectral": Op(
        "as widen, the largest singular value kept", leaf.larger_shape, spectral.widen, fresh=True, moments="pad"
    ),
    "colour_spectral": Op(
        "[1, 1, 1, O] -> [1, 1, 3 or 4, O'], the largest singular value kept",
        spectral.colour_shape,
        spectral.colour,
        keeps="adapted",
    ),
    "mute": Op("the target's shape, fresh but for a silent last output", leaf.kernel_shape, spectral.mute, **_NEW),
    "ballast": Op("the target's shape, zero but for one weight", leaf.kernel_shape, spectral.ballast, **_NEW),
    "one_hot": Op("the target's shape, a unit vector", leaf.given_shape, spectral.one_hot, **_NEW),
    "singular_vector": Op("[O] for a changed kernel [.., O]", _vector_shape, _vector, sources=2, keeps="adapted"),
}
