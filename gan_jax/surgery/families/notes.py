"""Notes on what a plan does to the function of each network, read from its operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from gan_jax.surgery.plan import Plan, PlanEntry

# What keeps the function by itself, given the roles that the families name; anything else is a reason.
EXACT = {
    *("copy", "pad", "widen", "widen_spectral", "colour_spectral", "duplicate", "permute", "tile", "gather", "regain"),
    *("zero", "fill", "identity", "mute", "ballast", "one_hot", "carry", "carry_on", "singular_vector"),
    *("resample", "pass_on", "in_pairs", "reshape"),
    *("shift", "equalise", "parts", "carry_centre", "carry_head"),
}
REASONS = {
    "slice": "channels or latents dropped",
    "important": "only the most important channels kept, exact where the others were dead",
    "resize": "smaller kernels",
    "mean": "classes averaged",
    "mix": "classes mixed of several",
    "init": "fresh values",
    "cast": "another number format",
    "fold_head": "layers folded into a head, exact where growth made them",
    "fold_rgb": "layers folded into a head, exact where growth made them",
    "fold_linear": "layers folded into a head, exact where growth made them",
    "fold_convs": "layers folded into one, as if they were linear",
}
CONDITIONS = {
    "carry": "in evaluation mode (in training mode after calibration of the new norms)",
    "gather": "for each class as the one that it starts from",
    "colour": "on images that the old colours can show",
}


def plan_notes(plan: Plan) -> tuple[str, ...]:
    """For each network a sentence: `g: function preserved`, or `d: not preserved: ..` with every reason and a leaf.

    It says what follows from the operations in the roles that the families give them; for rules of your own measure it.
    """
    roots = dict.fromkeys(entry.target.split("/")[0] for entry in plan.entries)
    return tuple(_sentence(plan, root) for root in roots)


def with_notes(plan: Plan) -> Plan:
    """The plan, with these sentences before its notes."""
    return dataclasses.replace(plan, notes=(*plan_notes(plan), *plan.notes))


def _sentence(plan: Plan, root: str) -> str:
    entries = [entry for entry in plan.entries if entry.target.startswith(f"{root}/")]
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        for reason in _reasons(entry, _zero_outputs(entries)):
            reasons.setdefault(reason, []).append(entry.target)
    origins = {path.split("/")[0] for entry in entries for path in entry.sources}
    if left := [path for path in plan.unused if path.split("/")[0] in origins]:
        reasons["source leaves dropped, exact where they did nothing"] = left
    if reasons:
        return f"{root}: not preserved: " + "; ".join(f"{reason} ({_some(paths)})" for reason, paths in reasons.items())
    names = {"colour" if name in ("colour_in", "colour_spectral") else name for e in entries for name, _ in e.steps}
    conditions = [text for name, text in CONDITIONS.items() if name in names]
    conditions += dict.fromkeys(args["condition"] for e in entries for _, args in e.steps if "condition" in args)
    return f"{root}: function preserved" + "".join(f", {text}" for text in conditions)


def _zero_outputs(entries: list[PlanEntry]) -> tuple[str, ...]:
    """Modules with zero output, whose fresh values change nothing."""
    residuals = [e.target.removesuffix("conv1/kernel") for e in entries if e.op in ("zero", "ballast")]
    gains = [e.target.removesuffix("gain") for e in entries if e.op == "zero"]
    return tuple(prefix.split("/", 2)[-1] for prefix in (*residuals, *gains) if prefix.endswith("/"))


def _reasons(entry: PlanEntry, zero_outputs: tuple[str, ...]) -> Iterator[str]:
    _, kind, path = entry.target.split("/", 2)
    if kind == "spectral":
        return  # follows its kernel
    for name, args in entry.steps:
        if name == "init" and (path.startswith(zero_outputs) or args.get("unheard")):
            continue
        if "reason" in args:  # of the rule that knows what the network does with the leaf
            yield args["reason"]
        elif name == "gather" and -1 in args["index"]:
            yield REASONS["mean"]
        elif name in ("colour_in", "colour_out"):
            if len(args["matrix"]) < len(args["matrix"][0]):
                yield "fewer image channels"
        elif name not in EXACT:
            yield REASONS.get(name, f"values computed by {name}")


def _some(paths: list[str]) -> str:
    return paths[0] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
