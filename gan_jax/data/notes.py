"""Sentences about things that reading images lost or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gan_jax.data.decode import Facts
from gan_jax.data.fit import Shape, has_colour, losses, of, share

_MOST_NAMED = 10


def sentences(facts: Sequence[Facts], shape: Shape, colour: int = 0) -> tuple[str, ...]:
    """A sentence for each thing that decoding files and bringing them to a shape loses or adds.

    Args:
      facts: of each file.
      shape: that the images get.
      colour: number of images with colour, where they become grey.
    """
    out = [*depth_sentences(facts)]
    total = len(facts)
    sizes = Counter((f.width, f.height) for f in facts)
    out += losses(sizes, shape, colour=colour, alpha=sum(f.alpha for f in facts)) if facts else []
    if n := sum(f.mode == "CMYK" for f in facts):
        out.append(f"CMYK becomes RGB without a colour profile in {share(n, total)}")
    if n := sum(f.frames for f in facts):
        out.append(f"{of(n, total, 'hold', 'holds')} several frames, of which the first one counts")
    if n := sum(f.damaged_exif for f in facts):
        out.append(
            f"{of(n, total, 'have', 'has')} a damaged EXIF block: pixels are whole, a camera's turn may not be known"
        )
    return tuple(out)


def depth_sentences(facts: Sequence[Facts]) -> list[str]:
    """Sentences about files of more than 8 bits a channel."""
    deep = [f for f in facts if f.depth > 8]
    if not deep:
        return []
    bits = " or ".join(map(str, sorted({f.depth for f in deep})))
    text = f"{of(len(deep), len(facts), 'have', 'has')} {bits} bits a channel, rounded to 8"
    bright = max((f.brightest for f in deep if f.brightest is not None), default=65535)
    if bright < 65536 // 4:
        bits_left = max(1, int(np.ceil(np.log2(bright * 255 / 65535 + 1))))
        text += (
            f"; their brightest value is {bright / 655.35:.2g} % of the range (as of a 12-bit camera in a 16-bit file), so "
            f"about {bits_left} bits are left of them: stretch their values first"
        )
    return [text]


def array_sentences(pixels: np.ndarray, shape: Shape) -> tuple[str, ...]:
    """A sentence for each thing that bringing images `[N, H, W, C]` in memory to a shape loses or adds."""
    n, h, w, c = pixels.shape
    colour = sum(map(has_colour, pixels)) if shape.channels == 1 else 0
    alpha = int((pixels[..., 3].reshape(n, -1) < 255).any(1).sum()) if c == 4 and shape.channels in (1, 3) else 0
    return tuple(losses(Counter({(w, h): n}), shape, colour=colour, alpha=alpha))


def left_out_text(left_out: Sequence[tuple[str, str]], most: int | None = _MOST_NAMED) -> str:
    """Files left out with their reasons, and the number of those not named: `a.jpg is empty; b.png ..; and 3 more`."""
    named = left_out if most is None else left_out[:most]
    more = f"; and {len(left_out) - len(named)} more" if len(named) < len(left_out) else ""
    return "; ".join(f"{printable(name)} {reason}" for name, reason in named) + more


def printable(name: str) -> str:
    """A file's name without control characters."""
    return name if name.isprintable() else ascii(name)[1:-1]
