"""From a leaf in one family to the leaf of the same role in another: what the role means for the operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, lookup, shape_of_steps
from gan_jax.surgery.ops.arrays import Args, OpError, Shape

POSITIONS = 16  # 4 x 4: where maps begin in G and end in D

# role, without its resolution -> the arguments of `across`
KINDS: dict[str, Mapping[str, Any]] = {
    "stem": {"inputs": [0], "fused": 1},
    "up": {"inputs": [2], "resample": "fuse_up"},
    "to_rgb": {"inputs": [2], "resample": "fuse_up", "colour": ("out", 3)},
    "down": {"inputs": [2], "resample": "fuse_down"},
    "from_rgb": {"inputs": [2], "resample": "fuse_down", "colour": ("in", 2)},
    "head": {"inputs": [0]},
}


def across(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """As `fit`, for a leaf of another family.

    Args:
      shapes: of the sources; the first is read.
      target: shape to reach.
      args: those of `fit`, and `unit`: the source's kernel is divided by its largest singular value; `resample`: the
        operation between a kernel beside a resampling and one that resamples; `fused`: the axis that holds positions
        and channels; `heads`: `tile` where all positions get the weights of one, `mean` where one gets those of all.
    """
    steps: list[Step] = []
    made = lambda: shape_of_steps(steps, shapes[:1]) if steps else tuple(shapes[0])
    role = {key: args[key] for key in ("inputs", "colour", "classes", "spectral") if key in args}
    if args.get("unit"):
        steps.append(("unit", {}))
    if "resample" in args:
        steps += _resampled(made(), target, args["resample"])
    if "fused" in args:
        role["view"] = [[z, POSITIONS, n // POSITIONS] for z, n in (made(), target)]
    if args.get("heads") == "tile":
        width, outputs = made()
        steps.append(("tile", {"axis": 0, "repeats": POSITIONS}))
        steps.append(("reshape", {"shape": [POSITIONS * width, outputs]}))
        role["view"] = [[POSITIONS, n, outputs] for n in (width, target[0] // POSITIONS)]
    elif args.get("heads") == "mean":
        width, outputs = made()
        steps.append(("reshape", {"shape": [POSITIONS, width // POSITIONS, outputs]}))
        steps.append(("mean", {"axis": 0}))
    return 1, [*steps, *fit([made()], target, role)[1]]


def across_vector(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """The singular vector of a kernel that `across` makes, from that kernel's source; `args["shape"]` is the kernel's."""
    _, steps = across(shapes, tuple(args["shape"]), {k: v for k, v in args.items() if k != "shape"})
    steps = [*(step for step in steps if not lookup(step[0]).fresh), ("top_vector", {})]
    made = shape_of_steps(steps, shapes[:1])
    return 1, steps if made == target else [*steps, ("pad", {"shape": list(target)})]


def _resampled(shape: Shape, target: Shape, name: str) -> list[Step]:
    """From an odd kernel beside a resampling to an even one that resamples, or back; sizes that differ else are `fit`'s."""
    if len(shape) != 4 or len(target) != 4:
        raise OpError(f"{list(shape)} -> {list(target)} are no kernels [k, k, I, O]")
    old, new = shape[0], target[0]
    if (old - new) % 2 == 0:
        return []
    if old % 2:
        size = max(new, old + 1)
        fused: list[Step] = [(name, {"shape": [size, size, *shape[2:]]})]
        middle = {"shape": [new, new, *shape[2:]], "starts": [(size - new) // 2] * 2 + [0, 0]}
        return fused if size == new else [*fused, ("slice", middle)]
    size = min(new, old - 1)
    return [(name, {"shape": [size, size, *shape[2:]]})]


RESOLVERS: dict[str, Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]] = {
    "across": across,
    "across_vector": across_vector,
}
