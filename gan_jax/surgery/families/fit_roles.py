"""Operations that a plan works out from the shapes: `fit`, and those that need more than one source for it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from gan_jax.surgery.families import fit_biggan, fit_dense, fit_equalised, fit_heads
from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, lookup, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, Shape

Resolver = Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]


def fit_vector(shapes: Sequence[Shape], target: Shape, args: Args, by: Resolver = fit) -> tuple[int, list[Step]]:
    """As `fit`, for the singular vector `u` that belongs to the kernel given as second source.

    `args["shape"]` is the kernel's target shape, the other arguments are the kernel's role. Zeros extend the vector
    of a kernel that only became wider; any other change needs a new vector, unless the old one (its channels chosen
    by `args["vector"]`, where the kernel's are) is stretched as far as it was. `by` is what the kernel is fitted by.
    """
    read, steps = _kernel(shapes[1:], args, by)
    if not steps:
        view = {"view": args["vector_view"]} if "vector_view" in args else {}
        return 1, [("pad", {"shape": list(target), **view})] if shapes[0] != target else []
    out: list[Step] = [("singular_vector", {"steps": [list(step) for step in steps], **select_of(args, steps)})]
    if (shape := shape_of_steps(out, shapes)) != target:
        view = (
            [[*args["vector_view"][1][:-1], shape[0] * args["vector_view"][1][-1] // target[0]]]
            if ("vector_view" in args)
            else []
        )
        out.append(("pad", {"shape": list(target), **({"view": [*view, args["vector_view"][1]]} if view else {})}))
    return 1 + read, out


def fit_gain(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """For the gain `[]` of a kernel under spectral norm: sources gain, singular vector, kernel, and what it reads.

    The arguments are those of `fit_vector`. Where the kernel's singular value changes, the gain makes up for it; it is
    worked out as the layer does where that has `refine`; with `alone` there is no old gain among the sources.
    """
    before = 1 if args.get("alone") else 2
    read, steps = _kernel(shapes[before:], args)
    if not steps:
        return 1, []
    how = {key: True for key in ("refine", "alone") if args.get(key)}
    return before + read, [("regain", {"steps": [list(step) for step in steps], **select_of(args, steps), **how})]


def _kernel(shapes: Sequence[Shape], args: Args, by: Resolver = fit) -> tuple[int, list[Step]]:
    """The steps of a kernel that may change its singular value."""
    role = {key: value for key, value in args.items() if key not in OWN}
    read, steps = by(shapes, tuple(args["shape"]), role)
    return read, [step for step in steps if not lookup(step[0]).fresh]


def select_of(args: Args, steps: Sequence[Step]) -> dict[str, object]:
    """How a vector's own channels are chosen: by importance, or as those of its kernel, whose last axis they are."""
    if args.get("vector"):
        arguments = dict(args["vector"])
        fused = {"shape": [math.prod(arguments["view"][1])]} if "view" in arguments else {}
        return {"select": [["important", {**arguments, **fused}]]}
    last = len(args["shape"]) - 1
    parts = len(args["vector_view"][0]) if "vector_view" in args else 1
    chosen: list[list[object]] = []
    for name, arguments in steps:
        if name == "gather" and arguments["axis"] == last:
            chosen.append([name, {**arguments, "axis": 0}])
        elif name == "slice" and "starts" not in arguments:
            view = {"view": [list(sizes)[-parts:] for sizes in arguments["view"]]} if "view" in arguments else {}
            chosen.append([name, {"shape": list(arguments["shape"])[-1:], **view}])
    return {"select": chosen} if chosen else {}


OWN = ("shape", "vector", "vector_view", "refine", "alone")  # not for `fit`


RESOLVERS: dict[str, Resolver] = {
    "fit": fit,
    "fit_vector": fit_vector,
    "fit_gain": fit_gain,
    **fit_equalised.RESOLVERS,
    **fit_dense.RESOLVERS,
    **fit_heads.RESOLVERS,
    **fit_biggan.RESOLVERS,
    **{f"{name}_vector": functools.partial(fit_vector, by=by) for name, by in fit_biggan.KERNELS.items()},
}
