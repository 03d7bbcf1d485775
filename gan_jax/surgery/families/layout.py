"""What the axes of every leaf are: the one description from which width, alignment and scales are worked out.

A family describes a network as text, a line for each leaf: `"h w b4:b8/norm0 -> b8/conv0"` says that a kernel reads
channel group `b4` and writes group `b8/conv0`. What stands before the arrow is read, what stands after it is written;
parentheses hold the parts of a fused axis, `"z -> (4 4 b4)"`. All axes of one group number the same channels, so they
are permuted, selected and widened together. After the colon stands the scale, where it is another than the group's:
normalisation keeps the order of channels and forgets their size.

A weight for each channel has one axis for what it reads and what it writes: `b4:stem>b4` reads the scale `stem` and
writes the scale `b4`. The channels of a grouped convolution are two groups in one axis, `(groups=8 inner)`: 8 runs of
channels, which may change places, and the places within a run, which are the same for all runs.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from gan_jax.surgery.ops.arrays import Shape
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import did_you_mean

FIXED = ("h", "w", "z", "rgb", "classes", "logit", "joined")  # axes that no permutation may touch: the world outside
# sees them, or they hold several things side by side


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a leaf, fused axes taken apart.

    Attributes:
      group: of channels; None = an axis of `FIXED`, or a number of positions.
      scale: whose factor this axis takes part in.
      reads: whether the leaf reads this axis; else it writes it (or belongs to what is written, as a bias does).
      size: of a part of a fused axis that is a number; None = what the array says.
      name: the group, or which of `FIXED`; None = a number of positions.
      over: a scale that is read along this axis, where another is written along it.
    """

    group: str | None
    scale: str | None
    reads: bool
    size: int | None = None
    name: str | None = None
    over: str | None = None


class Use(NamedTuple):
    """How a leaf takes part in a scale: it reads or writes it, along these axes of its view."""

    scale: str
    reads: bool
    axes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """The axes of a leaf; `fused` are the (start, stop) of axes that the array holds as one."""

    axes: tuple[Axis, ...]
    fused: tuple[tuple[int, int], ...]

    def view(self, shape: Shape) -> Shape:
        """The array's shape with fused axes taken apart."""
        out: list[int] = []
        for n, (start, stop) in zip(shape, self.fused, strict=True):
            known = 1
            for axis in self.axes[start:stop]:
                known *= axis.size or 1
            out += [axis.size or n // known for axis in self.axes[start:stop]]
        return tuple(out)

    def where(self, group: str) -> list[int]:
        """The axes (of the view) that number the channels of a group."""
        return [i for i, axis in enumerate(self.axes) if axis.group == group]


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
        leaf, found = self.leaf(path), []
        for i, axis in enumerate(leaf.axes):
            for scale, reads in ((axis.over, True), (axis.scale, axis.reads)):
                if scale is not None:
                    joint = self.joint.get(scale)
                    found.append(Use(scale, reads, tuple(leaf.where(g)[0] for g in joint) if joint else (i,)))
        return found

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


@functools.cache
def parse(text: str) -> Leaf:
    """Reads `"h w b4:b8/norm0 -> b8/conv0"`."""
    before, arrow, after = text.partition("->")
    if not arrow:
        raise PlanError(f"axes {text!r} have no arrow; write 'read axes -> written axes'")
    axes: list[Axis] = []
    fused: list[tuple[int, int]] = []
    for side, reads in ((before, True), (after, False)):
        for word in re.findall(r"\([^)]*\)|\S+", side):
            start = len(axes)
            axes += [_axis(part, reads) for part in word.strip("()").split()]
            fused.append((start, len(axes)))
    names = [axis.name for axis in axes]
    for i, axis in enumerate(axes):
        beside = names[i + 1 : i + 2] == ["w"] if axis.name == "h" else i > 0 and names[i - 1] == "h"
        if axis.name in ("h", "w") and not (axis.reads and beside):
            raise PlanError(
                f"axes {text!r}: {axis.name!r} is the height or width of a kernel or a map, which are read as 'h w'; "
                "name a group of channels otherwise"
            )
    return Leaf(tuple(axes), tuple(fused))


def _axis(word: str, reads: bool) -> Axis:
    if word.isdecimal():
        return Axis(None, None, reads, int(word))
    name, _, size = word.partition("=")
    group, _, scale = name.partition(":")
    if group in FIXED:
        if group != word:
            raise PlanError(
                f"axis {word!r}: {group!r} is a fixed axis, without scale or size; name the group otherwise"
            )
        return Axis(None, None, reads, name=group)
    if not group or (size and not size.isdecimal()):
        raise PlanError(f"axis {word!r} is no 'group', 'group:scale', 'group:read>written' or 'group=size'")
    over, _, written = scale.rpartition(">")
    return Axis(group, written or group, reads, int(size) if size else None, group, over or None)
