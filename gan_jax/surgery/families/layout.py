"""What the axes of every leaf are: the one description from which width, alignment and scales are worked out.

A family describes a network as text, a line for each leaf: `"h w b4:b8/norm0 -> b8/conv0"` says that a kernel reads
channel group `b4` and writes group `b8/conv0`. What stands before the arrow is read, what stands after it is written;
parentheses hold the parts of a fused axis, `"z -> (4 4 b4)"`. All axes of one group number the same channels, so they
are permuted, selected and widened together. After the colon stands the scale, where it is another than the group's:
normalisation keeps the order of channels and forgets their size.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cached_property

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
    """

    group: str | None
    scale: str | None
    reads: bool
    size: int | None = None
    name: str | None = None


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
    """

    text: Mapping[str, str]
    free: frozenset[str] = frozenset()
    spectral: tuple[str, ...] = ()

    @cached_property
    def leaves(self) -> dict[str, Leaf]:
        """The leaves, parsed."""
        return {path: parse(text) for path, text in self.text.items()}

    @cached_property
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
    return Leaf(tuple(axes), tuple(fused))


def _axis(word: str, reads: bool) -> Axis:
    if word.isdecimal():
        return Axis(None, None, reads, int(word))
    group, _, scale = word.partition(":")
    if group in FIXED:
        return Axis(None, None, reads, name=group)
    return Axis(group, scale or group, reads, name=group)
