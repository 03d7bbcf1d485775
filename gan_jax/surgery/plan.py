"""Plans: one entry for every target leaf, as text, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.documents import escaped, parse_document, shown
from gan_jax.surgery.ops import Step, lookup, shape_of_steps, values_kept
from gan_jax.surgery.ops.basic import Shape
from gan_jax.trees import TreeError

# ----------------------------------------------------------------------------------------------------------------------
# What a plan is: one entry for every target leaf, with a table for the eye and JSON for the record.

FORMAT = 1  # of the JSON


class PlanError(TreeError):
    """A plan that cannot be made or does not fit; the message names leaf, shapes and the option that allows it."""


@dataclasses.dataclass(frozen=True)
class Action:
    r"""The action of a rule: what to do with each target leaf that it covers.

    Attributes:
      op: an operation, or `fit`: whichever operations lead from the source's shape to the target's. Several in a row
        are joined by `+`, their arguments listed in `args["steps"]`.
      sources: paths of the source leaves; None = the target's own path. Where the pattern is a regular expression,
        its groups are filled in: `Rule("re:g/b8/(.*)", Action(sources=("g/block0/\1",)))`.
      args: of the operation.
    """

    op: str = "copy"
    sources: tuple[str, ...] | None = None
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PlanEntry:
    """One target leaf of a plan. Several operations in a row are joined by `+`, their arguments listed in `steps`."""

    target: str
    sources: tuple[str, ...]
    op: str
    args: dict[str, Any]
    target_shape: Shape
    target_dtype: str
    source_shapes: tuple[Shape, ...]
    frozen: bool = False

    @property
    def steps(self) -> list[Step]:
        """The operations in order, each with its arguments."""
        names = self.op.split("+")
        return list(zip(names, self.args["steps"])) if len(names) > 1 else [(self.op, self.args)]

    @property
    def size(self) -> int:
        """Values in the target leaf."""
        return math.prod(self.target_shape)

    @property
    def values(self) -> dict[str, int]:
        """How many of the leaf's values are copied, adapted (computed from the source) and fresh."""
        copied, adapted = values_kept(self.steps, self.source_shapes)
        return {"copied": copied, "adapted": adapted, "fresh": self.size - copied - adapted}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Every target leaf exactly once, and what is left over of the source. `print(plan)` is the table.

    Attributes:
      entries: in the order of the target's leaves.
      unused: source leaves that no entry reads.
      notes: sentences for the reader, such as what is preserved.
      policies: the options under which it was made.
    """

    entries: tuple[PlanEntry, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    policies: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def needed(self) -> tuple[str, ...]:
        """The source leaves that the plan reads, each once."""
        return tuple(dict.fromkeys(path for entry in self.entries for path in entry.sources))

    @property
    def totals(self) -> dict[str, int]:
        """Values copied, adapted and fresh; their sum is the size of the target."""
        each = [entry.values for entry in self.entries]
        return {kind: sum(values[kind] for values in each) for kind in ("copied", "adapted", "fresh")}

    def __str__(self) -> str:
        """The table."""
        return plan_table(self)

    @property
    def summary(self) -> str:
        """The table in ten lines at most."""
        return plan_summary(self)

    def to_json(self) -> str:
        """The plan as JSON text; `from_json` gives an equal plan."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Reads what `to_json` wrote, and checks that it is whole."""
        try:
            values = parse_document(text, "this is no plan: the text", PlanError)
            if values["format"] != FORMAT:
                raise PlanError(f"this plan has format {shown(values['format'])}; this version reads {FORMAT}")
            shape = lambda value: tuple(int(n) for n in value)
            entries = tuple(
                PlanEntry(**{
                    **entry,
                    "sources": tuple(entry["sources"]),
                    "target_shape": shape(entry["target_shape"]),
                    "source_shapes": tuple(map(shape, entry["source_shapes"])),
                })
                for entry in values["entries"]
            )  # fmt: skip
            plan = Plan(entries, tuple(values["unused"]), tuple(values["notes"]), dict(values["policies"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            if isinstance(error, TreeError):
                raise
            raise PlanError(f"this is no plan: {escaped(repr(error), 200)}") from error
        for entry in plan.entries:
            if not isinstance(entry.target, str) or not isinstance(entry.op, str) or not isinstance(entry.args, dict):
                raise PlanError(
                    f"this is no plan: leaf {shown(entry.target)} has {shown(entry.op)} of {shown(entry.args)}"
                )
            check_entry(entry)
        return plan


def check_entry(entry: PlanEntry) -> None:
    """Raises PlanError unless the entry's operations exist and make exactly the target's shape."""
    try:
        shape = shape_of_steps(entry.steps, entry.source_shapes)
        early = [name for name, _ in entry.steps[:-1] if lookup(name).fresh and not lookup(name).constant]
    except (TreeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise PlanError(f"leaf {entry.target!r}: {escaped(entry.op, 80)} fails: {escaped(str(error), 300)}") from error
    if shape != entry.target_shape:
        old = " and ".join(str(list(s)) for s in entry.source_shapes) or "nothing"
        raise PlanError(
            f"leaf {entry.target!r} is {list(entry.target_shape)}, but {entry.op} makes {list(shape)} of {old}; "
            "name another operation, or use Action('fit') with shape='adapt'"
        )
    if early:
        raise PlanError(
            f"leaf {entry.target!r}: {early[0]} reads the target's fresh value, so it must come last in {entry.op}"
        )


# ----------------------------------------------------------------------------------------------------------------------
# A plan as text.

HEAD = ("target", "source (= same path)", "op", "shape", "dtype", "values", "share", "frozen")


def plan_table(plan: Plan) -> str:
    """One line for each target leaf, then totals, what is left over, and the notes."""
    total = max(1, sum(entry.size for entry in plan.entries))
    rows = [_row(entry, total) for entry in plan.entries]
    lines = [*align([HEAD, *rows], right=(5, 6)), totals_line(plan)]
    if plan.unused:
        shown = ", ".join(plan.unused[:6]) + (f" and {len(plan.unused) - 6} more" if len(plan.unused) > 6 else "")
        lines.append(f"not used of the source: {shown}")
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def plan_summary(plan: Plan) -> str:
    """A plan in ten lines at most: totals, each network's share, which operations, what is left over, the notes."""
    lines = [totals_line(plan)]
    networks: dict[str, list[PlanEntry]] = {}
    for entry in plan.entries:
        networks.setdefault(entry.target.partition("/")[0], []).append(entry)
    for name, entries in networks.items():
        ops = Counter(entry.op for entry in entries)
        shown = ", ".join(f"{op} {n}" for op, n in ops.most_common(4)) + (", .." if len(ops) > 4 else "")
        size, fresh = sum(entry.size for entry in entries), sum(entry.values["fresh"] for entry in entries)
        frozen = sum(entry.size for entry in entries if entry.frozen)
        facts = [f"{len(entries)} leaves", f"{size:,} values", f"{100 * fresh / max(1, size):.1f} % fresh"]
        facts += [f"{frozen:,} frozen"] if frozen else []
        lines.append(f"{name}: {', '.join(facts)} ({shown})")
    reshaped = [entry for entry in plan.entries if entry.source_shapes and entry.source_shapes[0] != entry.target_shape]
    if reshaped:
        first = reshaped[0]
        more = f", and {len(reshaped) - 1} more" if len(reshaped) > 1 else ""
        lines.append(
            f"of another shape: {first.target} {_shape(first.source_shapes[0])} -> {_shape(first.target_shape)}{more}"
        )
    if plan.unused:
        lines.append(f"not used of the source: {_few(plan.unused, 2)}")
    space = SUMMARY - len(lines) - 1
    notes = [f"note: {note}" for note in plan.notes]
    lines += notes if len(notes) <= space else [*notes[: space - 1], f"and {len(notes) - space + 1} more notes"]
    return "\n".join(lines)


SUMMARY = 10  # lines of a summary, the one that says where the whole table is among them


def totals_line(plan: Plan) -> str:
    """`12,345 values: 80.0 % copied, 15.0 % adapted, 5.0 % fresh`."""
    totals, frozen = plan.totals, sum(entry.size for entry in plan.entries if entry.frozen)
    count = sum(totals.values())
    shares = ", ".join(f"{100 * n / max(1, count):.1f} % {kind} ({n:,})" for kind, n in totals.items())
    return f"{len(plan.entries)} leaves, {count:,} values: {shares}" + (f"; {frozen:,} frozen" if frozen else "")


def align(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns, a rule below the first; columns in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    pad = lambda i, cell: cell.rjust(widths[i]) if i in right else cell.ljust(widths[i])
    lines = ["  ".join(pad(i, cell) for i, cell in enumerate(row)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


def _row(entry: PlanEntry, total: int) -> tuple[str, ...]:
    sources = "-" if not entry.sources else "=" if entry.sources == (entry.target,) else _few(entry.sources)
    old = _few([_shape(shape) for shape in entry.source_shapes])
    new = _shape(entry.target_shape)
    shape = new if not old or old == new else f"{old} -> {new}"
    share = f"{100 * entry.size / total:.1f} %"
    return (
        entry.target,
        sources,
        entry.op,
        shape,
        entry.target_dtype,
        f"{entry.size:,}",
        share,
        "yes" if entry.frozen else "",
    )


def _few(names: Sequence[str], most: int = 4) -> str:
    """All of a few; of many, which only score channels, the first."""
    return " + ".join(names) if len(names) <= most else f"{names[0]} + {len(names) - 1} more"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
