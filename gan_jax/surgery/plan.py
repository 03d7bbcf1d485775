"""What a plan is: one entry for every target leaf, with a table for the eye and JSON for the record."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from gan_jax.documents import escaped, parse_document, shown
from gan_jax.surgery.ops import Step, lookup, shape_of_steps, values_kept
from gan_jax.surgery.ops.arrays import Shape
from gan_jax.surgery.table import plan_summary, plan_table
from gan_jax.trees import TreeError

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
