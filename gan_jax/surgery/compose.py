"""Two plans in a row as one, without the tree between them.

`transplant(compose(second, first), a, c)` is `transplant(second, transplant(first, a, b)[0], c)`, bit-exact.
A leaf with one source gets the steps of both plans in a row. Where the second plan reads several leaves, what the first
plan does to each is kept inside the step (`nested`). Neighbours that amount to less are merged: a slice of a slice is a
slice, a choice of a choice is a choice, what is padded and cut off again was never there.
"""

from __future__ import annotations

from collections.abc import Mapping

from gan_jax.surgery.ops import Step, lookup
from gan_jax.surgery.ops.arrays import Shape
from gan_jax.surgery.ops.simplify import simplify
from gan_jax.surgery.plan import Plan, PlanEntry, PlanError, check_entry
from gan_jax.trees import did_you_mean


def compose(second: Plan, first: Plan) -> Plan:
    """The plan that does what `first` does and then `second`.

    Args:
      second: its source is what `first` makes.
      first: of the earlier step.

    Returns:
      a plan from the first plan's source to the second plan's target. Unused is what neither reads on to the end; the
      notes are those of both; a policy is the second plan's, or the first's where the second one allows nothing.

    Raises:
      PlanError: the second plan reads a leaf that the first does not make, or makes in another shape, or one with
        values that were fresh in between: those are not known from the source, so execute one after the other.
    """
    between = {entry.target: entry for entry in first.entries}
    entries = tuple(_entry(entry, between) for entry in second.entries)
    read = {path for entry in entries for path in entry.sources}
    paths = sorted({*first.needed, *first.unused}, key=lambda path: path.split("/"))  # the order of a tree of dicts
    names = {**first.policies, **second.policies}
    allowed = lambda name: [p for plan in (second, first) if (p := plan.policies.get(name, "error")) != "error"]
    policies = {name: (allowed(name) or ["error"])[0] for name in names}
    notes = tuple(dict.fromkeys(first.notes + second.notes))
    return Plan(entries, tuple(path for path in paths if path not in read), notes, policies)


def _entry(entry: PlanEntry, between: Mapping[str, PlanEntry]) -> PlanEntry:
    """An entry of the second plan, reading what the first plan's entries read."""
    if not entry.sources:
        return entry
    inputs = [_input(entry, name, shape, between) for name, shape in zip(entry.sources, entry.source_shapes)]
    if len(inputs) == 1:
        steps = simplify([*inputs[0].steps, *entry.steps], inputs[0].source_shapes)
        leaves = dict(zip(inputs[0].sources, inputs[0].source_shapes))
        sources = inputs[0].sources
    else:
        leaves = {path: shape for part in inputs for path, shape in zip(part.sources, part.source_shapes)}
        sources = tuple(path for part in inputs for path in part.sources)
        steps = entry.steps
        if any(part.op != "copy" for part in inputs):
            sources = tuple(leaves)
            number = {path: i for i, path in enumerate(leaves)}
            parts = [
                {"sources": [number[path] for path in part.sources], "steps": [list(step) for step in part.steps]}
                for part in inputs
            ]
            (name, args), *rest = steps
            steps = [("nested", {"op": name, "args": args, "inputs": parts}), *rest]
    _refuse_fresh(entry, inputs, steps)
    if lookup(steps[0][0]).sources == 0:
        sources = ()
    composed = PlanEntry(
        target=entry.target,
        sources=sources,
        op="+".join(name for name, _ in steps),
        args=dict(steps[0][1]) if len(steps) == 1 else {"steps": [args for _, args in steps]},
        target_shape=entry.target_shape,
        target_dtype=entry.target_dtype,
        source_shapes=tuple(leaves[path] for path in sources),
        frozen=entry.frozen,
    )
    check_entry(composed)
    return composed


def _input(entry: PlanEntry, name: str, shape: Shape, between: Mapping[str, PlanEntry]) -> PlanEntry:
    if name not in between:
        raise PlanError(
            f"leaf {entry.target!r} comes from {name!r}, which the first plan does not make{did_you_mean(name, between)}"
        )
    if between[name].target_shape != shape:
        raise PlanError(
            f"leaf {entry.target!r} {list(entry.target_shape)} reads {name!r} as {list(shape)}, but the first plan makes "
            f"it {list(between[name].target_shape)}; make the second plan for what the first one fills"
        )
    return between[name]


def _refuse_fresh(entry: PlanEntry, inputs: list[PlanEntry], steps: list[Step]) -> None:
    """Raises where fresh values of the tree in between are carried on."""
    reads_fresh = lambda name: lookup(name).fresh and not lookup(name).constant
    own = steps[-1][1] is entry.steps[-1][1]  # the last step may read what is fresh in the end
    early = [name for name, _ in (steps[:-1] if own else steps) if reads_fresh(name)]
    inner = [part for part in inputs if any(lookup(name).fresh for name, _ in part.steps)]
    if early or (inner and steps[0][0] == "nested"):
        fresh = inner[0]
        raise PlanError(
            f"leaf {entry.target!r} {list(entry.target_shape)} reads {fresh.target!r} {list(fresh.target_shape)}, of which "
            f"{fresh.op} leaves {fresh.values['fresh']:,} values fresh: they are not known from the source. Execute one "
            "plan after the other, or drop these values in the second plan"
        )
