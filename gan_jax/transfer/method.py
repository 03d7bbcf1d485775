"""The shape of a method: which networks start from the source, and which leaves are trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from gan_jax.trees import match


@dataclasses.dataclass(frozen=True)
class Method:
    """What a transfer does before the optimiser exists.

    Attributes:
      starts: the networks, of `g` and `d`, that start from the source; the others are fresh.
      frozen: patterns over `g/params/..` and `d/params/..` whose leaves are not trained.
    """

    starts: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def trains(self, network: str) -> Callable[[str], bool]:
        """Whether the leaf at a path below `network/params` is trained."""
        prefix = f"{network}/params/"
        return lambda path: not any(match(pattern, prefix + path) for pattern in self.frozen)


def networks_of(choice: str) -> Sequence[str]:
    """`both`, `g` or `d` as the networks that they name."""
    return ("g", "d") if choice == "both" else (choice,)
