"""The axes of a leaf, written as text.

`"h w b4:b8/norm0 -> b8/conv0"` says that a kernel reads channel group `b4` and writes group `b8/conv0`. What stands
before the arrow is read, what stands after it is written; parentheses hold the parts of a fused axis, `"z -> (4 4 b4)"`.
All axes of one group number the same channels, so they are permuted, selected and widened together. After the colon
stands the scale, where it is another than the group's: normalisation keeps the order of channels and forgets their size.

A weight for each channel has one axis for what it reads and what it writes: `b4:stem>b4` reads the scale `stem` and
writes the scale `b4`. The channels of a grouped convolution are two groups in one axis, `(groups=8 inner)`: 8 runs of
channels, which may change places, and the places within a run, which are the same for all runs.
"""

from __future__ import annotations

import dataclasses
import functools
import re

from gan_jax.trees import TreeError

Shape = tuple[int, ...]

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


@functools.cache
def parse(text: str) -> Leaf:
    """Reads `"h w b4:b8/norm0 -> b8/conv0"`."""
    before, arrow, after = text.partition("->")
    if not arrow:
        raise TreeError(f"axes {text!r} have no arrow; write 'read axes -> written axes'")
    axes: list[Axis] = []
    fused: list[tuple[int, int]] = []
    for side, reads in ((before, True), (after, False)):
        for word in re.findall(r"\([^)]*\)|\S+", side):
            start = len(axes)
            axes += [_axis(part, reads) for part in word.strip("()").split()]
            fused.append((start, len(axes)))
    names = [axis.name for axis in axes]
    for i, axis in enumerate(axes):
        adjacent = names[i + 1 : i + 2] == ["w"] if axis.name == "h" else i > 0 and names[i - 1] == "h"
        if axis.name in ("h", "w") and not (axis.reads and adjacent):
            raise TreeError(
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
            raise TreeError(
                f"axis {word!r}: {group!r} is a fixed axis, without scale or size; name the group otherwise"
            )
        return Axis(None, None, reads, name=group)
    if not group or (size and not size.isdecimal()):
        raise TreeError(f"axis {word!r} is no 'group', 'group:scale', 'group:read>written' or 'group=size'")
    over, _, written = scale.rpartition(">")
    return Axis(group, written or group, reads, int(size) if size else None, group, over or None)
