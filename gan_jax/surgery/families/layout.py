"""What the axes of every leaf are: the one description from which width, alignment and scales are worked out.

A family describes a network as text, a line for each leaf (`surgery.axes`).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from gan_jax.config import NETS, NetConfig, kind_of
from gan_jax.surgery.axes import Leaf, parse
from gan_jax.surgery.ops.basic import Shape
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import did_you_mean

# ----------------------------------------------------------------------------------------------------------------------
# The file of a family of networks, found by its name in `config.NETS`.


def part_of(config: NetConfig, part: str) -> Callable[..., Any] | None:
    """A function of the family's file, such as `layouts`; None where there is none.

    What is in no row of `NETS` may name its file as `roles_file`.
    """
    return getattr(_file(getattr(config, "roles_file", None) or kind_of(config)), part, None)


def families_with(part: str) -> list[str]:
    """The names of the families whose files have a function."""
    return [name for name in NETS if hasattr(_file(name), part)]


@functools.cache
def _file(name: str) -> ModuleType | None:
    where = f"gan_jax.surgery.families.{name}"
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name != where:
            raise
        return None


# ----------------------------------------------------------------------------------------------------------------------
# Layouts, and how a leaf takes part in a scale.


class Use(NamedTuple):
    """How a leaf takes part in a scale: it reads or writes it, along these axes of its view."""

    scale: str
    reads: bool
    axes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The leaves of one network.

    Attributes:
      text: path (`params/b8/conv0/kernel`) -> axes as text.
      free: scales that the function does not see: write times c and read divided by c, for any c > 0 per channel.
      spectral: kernels that are divided by their largest singular value: their size is not seen.
      joint: scale -> groups, where it has a factor for each combination of their channels.
      pinned: groups that alignment leaves in their order, although any one order of theirs keeps the function.
    """

    text: Mapping[str, str]
    free: frozenset[str] = frozenset()
    spectral: tuple[str, ...] = ()
    joint: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    pinned: frozenset[str] = frozenset()

    @functools.cached_property
    def leaves(self) -> dict[str, Leaf]:
        """The leaves, parsed."""
        return {path: parse(text) for path, text in self.text.items()}

    @functools.cached_property
    def groups(self) -> dict[str, list[tuple[str, int]]]:
        """Group -> every (path, axis of the view) that numbers its channels, those that write first."""
        out: dict[str, list[tuple[str, int]]] = {}
        for reads in (False, True):
            for path, leaf in self.leaves.items():
                for i, axis in enumerate(leaf.axes):
                    if axis.group is not None and axis.reads == reads:
                        out.setdefault(axis.group, []).append((path, i))
        return out

    def leaf(self, path: str) -> Leaf:
        """The axes of a leaf, or an error with the nearest names."""
        if path not in self.leaves:
            raise PlanError(f"the layout does not know leaf {path!r}{did_you_mean(path, self.leaves)}")
        return self.leaves[path]

    def uses(self, path: str) -> list[Use]:
        """The scales that a leaf takes part in."""
        leaf, uses = self.leaf(path), []
        for i, axis in enumerate(leaf.axes):
            for scale, reads in ((axis.over, True), (axis.scale, axis.reads)):
                if scale is not None:
                    joint = self.joint.get(scale)
                    uses.append(Use(scale, reads, tuple(leaf.where(g)[0] for g in joint) if joint else (i,)))
        return uses

    def sizes(self, shapes: Mapping[str, Shape]) -> dict[str, int]:
        """How many channels each group has.

        Raises:
          PlanError: two leaves say different numbers, or a leaf's rank is another.
        """
        sizes: dict[str, int] = {}
        for path, shape in shapes.items():
            leaf = self.leaf(path)
            if len(leaf.fused) != len(shape):
                raise PlanError(f"leaf {path!r} {list(shape)} does not have the axes {self.text[path]!r}")
            for axis, n in zip(leaf.axes, leaf.view(shape)):
                if axis.group is not None and sizes.setdefault(axis.group, n) != n:
                    raise PlanError(f"leaf {path!r} has {n} channels of {axis.group!r}, others {sizes[axis.group]}")
        return sizes
