"""Variants of `fit` for layers with an equalised learning rate, as `families.stylegan2` has them.

The rules work the numbers out: `gain` is `[old, new]` fan-in (or any other such ratio, under a square root).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.ops import Step, lookup
from gan_jax.surgery.ops.arrays import Args, Shape

OWN = ("gain", "silent", "opaque", "last", "parts", "condition")  # not for `fit`


def fit_equalised(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """`fit`, and the factor that keeps weight / sqrt(fan-in).

    Further arguments: `gain`; `silent`: new outputs are zero instead of fresh; `opaque`: the value of new alpha;
    `last`: what the source writes is the last output, all others are zero; `condition`: for the notes.
    """
    between = (*target[:-1], shapes[0][-1]) if args.get("last") else target
    read, steps = fit(shapes, between, _role(args))
    out: list[Step] = []
    for name, arguments in steps:
        arguments = dict(arguments)
        if name == "widen" and args.get("silent"):
            arguments.pop("inputs", None)
            name = "pad"
        if name == "colour_out" and "offset" in arguments:
            arguments["offset"] = [0, 0, 0, args["opaque"]]
        out.append((name, arguments))
    old, new = args.get("gain", (1, 1))
    if old != new:
        note = {"condition": args["condition"]} if "condition" in args else {}
        late = bool(out) and lookup(out[-1][0]).fresh
        out.insert(len(out) - late, ("equalise", {"old": old, "new": new, **note}))
    if args.get("last") and between != target:
        index = [*range(between[-1], target[-1]), *range(between[-1])]
        out += [("pad", {"shape": list(target)}), ("permute", {"axis": len(target) - 1, "index": index})]
    return read, out


def fit_parts(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """For a kernel whose input axis holds several things: `args["parts"]` are the arguments of that operation."""
    parts = dict(args["parts"])
    outputs = target[-1] if args.get("copies") else min(shapes[0][-1], target[-1])
    between = [target[i] if i != parts["axis"] else n for i, n in enumerate(shapes[0])]
    role = {key: value for key, value in _role(args).items() if key != "inputs"}
    read, steps = fit(shapes, (*between[:-1], outputs), role)
    if parts["old"] == parts["new"] and outputs == target[-1] and set(parts["factors"]) == {1.0}:
        return read, steps
    return read, [*steps, ("parts", {"shape": list(target), **parts})]


def _role(args: Args) -> dict[str, Any]:
    return {key: value for key, value in args.items() if key not in OWN}


RESOLVERS = {
    "fit_equalised": fit_equalised,
    "fit_parts": fit_parts,
}
