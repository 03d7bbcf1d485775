"""Operations that a plan works out from the shapes: `fit`, and those that need more than one source for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gan_jax.surgery.families import fit_dense, fit_equalised, fit_heads
from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, lookup, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, Shape


def fit_vector(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """As `fit`, for the singular vector `u` that belongs to the kernel given as second source.

    `args["shape"]` is the kernel's target shape, the other arguments are the kernel's role. Zeros extend the vector
    of a kernel that only became wider; any other change wants the vector anew, unless the old one (its channels chosen
    by `args["vector"]`, where the kernel's are) is stretched as far as it was.
    """
    read, steps = _kernel(shapes[1:], args)
    if not steps:
        return 1, [("pad", {"shape": list(target)})] if shapes[0] != target else []
    out: list[Step] = [("singular_vector", {"steps": [list(step) for step in steps], **_select(args)})]
    if shape_of_steps(out, shapes) != target:
        out.append(("pad", {"shape": list(target)}))
    return 1 + read, out


def fit_gain(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """For the gain `[]` of a kernel under spectral norm: sources gain, singular vector, kernel, and what it reads.

    The arguments are those of `fit_vector`. Where the kernel's singular value changes, the gain makes up for it.
    """
    read, steps = _kernel(shapes[2:], args)
    if not steps:
        return 1, []
    return 2 + read, [("regain", {"steps": [list(step) for step in steps], **_select(args)})]


def _kernel(shapes: Sequence[Shape], args: Args) -> tuple[int, list[Step]]:
    """The steps of a kernel that may change its singular value."""
    role = {key: value for key, value in args.items() if key not in ("shape", "vector")}
    read, steps = fit(shapes, tuple(args["shape"]), role)
    return read, [step for step in steps if not lookup(step[0]).fresh]


def _select(args: Args) -> dict[str, object]:
    return {"select": [["important", args["vector"]]]} if args.get("vector") else {}


RESOLVERS: dict[str, Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]] = {
    "fit": fit,
    "fit_vector": fit_vector,
    "fit_gain": fit_gain,
    **fit_equalised.RESOLVERS,
    **fit_dense.RESOLVERS,
    **fit_heads.RESOLVERS,
}
