"""Variants of `fit` for heads that become layers within, and for layers that are folded into a head."""

from __future__ import annotations

from collections.abc import Sequence

from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.families.fit_equalised import fit_equalised
from gan_jax.surgery.ops import Step, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, Shape


def fit_carry(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A head of another number of image channels and perhaps of copied ones, as a layer within.

    `args["colour"]` is as in `fit`, `channels` how many image channels the layer carries, and `by` the operation that
    makes the layer of a head with so many, and its arguments but for the shape: see `heads.carry` and
    `equalised.carry_head`; where nothing stands between the layers, it is `widen`.
    """
    _, axis = args["colour"]
    other, middle = 5 - axis, [*shapes[0][:2], *target[2:]]
    middle[axis] = args["channels"]
    if "copies" not in args:
        middle[other] = min(shapes[0][other], target[other])
    _, steps = fit(shapes, tuple(middle), {key: args[key] for key in ("colour", "copies") if key in args})
    steps = [("pad", {"shape": a["shape"]}) if name == "widen" else (name, a) for name, a in steps]
    name, arguments = args["by"]
    return 1, [*steps, (name, {"shape": list(target), **arguments})]


def fit_fold(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """All sources as one head by the operation `args["fold"]` (its name and arguments), then whatever leads to the target."""
    name, arguments = args["fold"]
    steps: list[Step] = [(name, arguments)]
    role = {key: value for key, value in args.items() if key != "fold"}
    return len(shapes), [*steps, *fit_equalised([shape_of_steps(steps, shapes)], target, role)[1]]


RESOLVERS = {"fit_carry": fit_carry, "fit_fold": fit_fold}
