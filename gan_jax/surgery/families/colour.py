"""Image channels: how a kernel that reads (`in`) or writes (`out`) images changes with their number.

One channel is grey, three are RGB, four are RGBA; any other number are bands without a known meaning.

| change | in the writer | in the reader | exact |
|---|---|---|---|
| 1 -> k | the grey value k times | 1/k each | writer: grey repeated; reader: on such images |
| 1 -> RGBA | RGB so, alpha by an offset | 1/3 for RGB, alpha unread | the same, whatever alpha is |
| k -> 1 | the mean (of RGB) | the sum (of RGB) | writer: before the tanh; reader: on grey images |
| k -> m > k | kept, new ones zero | kept, new ones unread | writer: old channels; reader: whatever the new ones hold |
| k -> m < k | kept, others dropped | kept, others dropped | writer: kept channels; reader: where the others are 0 |

With `fill="mean"` (`beside` among the arguments of `fit`) new channels start as the mean of the old ones: a guess at
what they will look like. The writer's old channels stay exact, the reader's function does not.
"""

from __future__ import annotations

from typing import Literal

from gan_jax.surgery.ops.arrays import OpError

GREY, RGB, RGBA = 1, 3, 4
OPAQUE = 4.0  # alpha before the tanh, 0.9993 after: 255 as a byte, and not so flat that it cannot be trained


def colour_matrix(old: int, new: int, side: str, fill: Literal["zero", "mean"] = "zero") -> list[list[float]]:
    """`[new, old]`: image channels `new` from `old`, in the kernel that reads (`in`) or writes (`out`) the image.

    Args:
      old: number of channels before.
      new: number of channels after.
      side: `in` or `out`.
      fill: what new channels start from; alpha is always zero here.

    Raises:
      OpError: a number below 1, or an unknown word.
    """
    if old < 1 or new < 1:
        raise OpError(f"no colour heads for {old} -> {new} image channels; an image has one channel or more")
    if side not in ("in", "out") or fill not in ("zero", "mean"):
        raise OpError(f"side is {side!r} and fill is {fill!r}; use 'in' or 'out', and 'zero' or 'mean'")
    colours = lambda channels: min(channels, RGB) if channels == RGBA else channels  # all but alpha
    old_colours, new_colours = colours(old), colours(new)
    rows = [[0.0] * old for _ in range(new)]
    if old == GREY:
        for i in range(new_colours):
            rows[i][0] = 1.0 if side == "out" else 1 / new_colours
    elif new == GREY:
        rows[0][:old_colours] = [1 / old_colours if side == "out" else 1.0] * old_colours
    else:
        for i in range(new):
            if i < old:
                rows[i][i] = 1.0
            elif fill == "mean" and (old, new) != (RGB, RGBA):
                rows[i][:old_colours] = [1 / old_colours] * old_colours
    return rows
