"""What plays a role in a family, and how it is stored there.

| role, of G | leaf |
|---|---|
| `stem` | from latents to 4x4 maps |
| `const` | the maps where latents say nothing |
| `up8` | makes the 8 px maps from those of 4 px |
| `same8` | a further convolution of the 8 px maps |
| `skip8` | the linear way from 4 px to 8 px beside convolutions |
| `norm8` | what 8 px maps pass on their way up |
| `to_rgb`, `to_rgb8` | from maps to the image; from 8 px maps |

Of D: `from_rgb`, `down8` (from 16 px), `same8`, `skip8` and `head`. Between families a layer is passed on in a plain form:
the kernel `[k, k, I, O]` that computes, dense layers by position as `[z, (4 4 C)]` and `[(4 4 C), 1]`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from gan_jax.surgery.ops import Step

POSITIONS = 16  # 4 x 4: where maps begin in G and end in D


class Fill(NamedTuple):
    """How a leaf is filled from the plain form: operations, and what `across` has to know instead of the role's own."""

    takes: tuple[Step, ...] = ()
    about: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """What plays a role: leaves that are read, the operations to the plain form, and leaves that are filled from it."""

    reads: tuple[str, ...]
    gives: tuple[Step, ...] = ()
    fills: Mapping[str, Fill] = dataclasses.field(default_factory=dict)


Roles = Mapping[str, Part]


def leaf(path: str, gives: tuple[Step, ...] = (), takes: tuple[Step, ...] = (), **about: Any) -> Part:
    """A role of one leaf."""
    return Part((path,), gives, {path: Fill(takes, about or None)})
