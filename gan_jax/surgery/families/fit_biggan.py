"""Variants of `fit` for kernels under spectral norm that read several things, images of other colours, or a shifted image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gan_jax.surgery.families.colour import GREY, RGBA, colour_matrix
from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, Shape

OWN = ("shape", "vector", "vector_view", "joined", "image", "reason", "factor", "channels")  # not for `fit`
Resolver = Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]


def fit_with_reason(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """`fit`, whose first step says with `reason` why the function is not preserved."""
    read, steps = fit(shapes, target, _role(args))
    (name, arguments), *rest = steps or [("copy", {})]
    return read, [(name, {**arguments, "reason": args["reason"]}), *rest]


def fit_joined(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A layer `[I, O]` that reads two things side by side, of `joined` = `[old sizes, new sizes]`: each grows at its end.

    New rows are zero, which the singular value does not see; then new outputs as always.
    """
    role = {key: value for key, value in _role(args).items() if key != "inputs"}
    read, steps = fit(shapes, (shapes[0][0], min(shapes[0][-1], target[-1])), role)
    rest = {key: value for key, value in role.items() if key != "keep"}
    outputs = (shape_of_steps(steps, shapes) if steps else shapes[0])[-1]
    steps = [*steps, *_rows(args["joined"][0], args["joined"][1], outputs)]
    shape = shape_of_steps(steps, shapes) if steps else tuple(shapes[0])
    return read, [*steps, *fit([shape], target, rest)[1]]


def _rows(old: Sequence[int], new: Sequence[int], outputs: int) -> list[Step]:
    """The operations from rows of parts with the sizes `old` to those with the sizes `new`."""
    kept = [min(sizes) for sizes in zip(old, new)]

    def kept_first(sizes: Sequence[int]) -> list[int]:
        """All rows of parts with these sizes: those that are kept, then the others."""
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        index = [start + i for start, n in zip(starts, kept) for i in range(n)]
        return [*index, *(i for i in range(sum(sizes)) if i not in set(index))]

    steps: list[Step] = []
    first = kept_first(old)
    if sum(kept) < sum(old):
        steps += [("permute", {"axis": 0, "index": first})] if first != sorted(first) else []
        steps.append(("slice", {"shape": [sum(kept), outputs]}))
    if sum(kept) < sum(new):
        steps.append(("pad", {"shape": [sum(new), outputs]}))
        order = kept_first(new)  # where each row goes
        back = sorted(range(len(order)), key=order.__getitem__)
        steps += [("permute", {"axis": 0, "index": back})] if back != sorted(back) else []
    return steps


def fit_reader(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A kernel that reads an image, of `image` = `[old, new]` channels, or channels whose first ones hold an image."""
    role = {key: value for key, value in _role(args).items() if key != "colour"}
    old, new = args["image"]
    middle = (*shapes[0][:2], min(shapes[0][2], old), min(shapes[0][-1], target[-1]))
    read, steps = fit(shapes, middle, {key: value for key, value in role.items() if key not in ("inputs", "spectral")})
    if old != new:
        matrix = grey_weights(new) if old == GREY else colour_matrix(old, new, "in")
        steps = [*steps, ("colour_in", {"axis": 2, "matrix": matrix})]
    rest = {key: value for key, value in role.items() if key != "keep"}
    shape = shape_of_steps(steps, shapes) if steps else tuple(shapes[0])
    return read, [*steps, *fit([shape], target, {**rest, "inputs": [2]})[1]]


def grey_weights(channels: int) -> list[list[float]]:
    """How a grey reader sees colours `[channels, 1]`: weights whose sum and whose sum of squares are 1, alpha unread.

    So that a grey image is read as before, and the kernel's largest singular value stays.
    """
    if channels in (3, RGBA):
        return [[2 / 3], [2 / 3], [-1 / 3], [0.0]][:channels]
    return [[1.0], *([0.0] for _ in range(channels - 1))]


def fit_shifted(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """A bias beside a kernel (and its singular vector) whose first `channels` inputs are 1 more: see `ops.shift`."""
    about = {key: args[key] for key in ("factor", "channels", "reason") if key in args}
    return 3, [("shift", about), *fit(shapes[:1], target, _role(args))[1]]


def _role(args: Args) -> dict[str, Any]:
    return {key: value for key, value in args.items() if key not in OWN}


KERNELS: dict[str, Resolver] = {"fit_with_reason": fit_with_reason, "fit_joined": fit_joined, "fit_reader": fit_reader}
RESOLVERS: dict[str, Resolver] = {**KERNELS, "fit_shifted": fit_shifted}
