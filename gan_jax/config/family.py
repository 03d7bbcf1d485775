"""The properties that all families of networks have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar


@dataclasses.dataclass(frozen=True)
class NetFamily:
    """Properties of a family of networks, beside the fields of its configurations.

    Every family has `resolution`, `channels`, `num_classes`, `z_dim` and `dtype`, as fields or, where there is no
    choice, as class attributes; those of texts have zeros, and `vocab` and `length`.

    Attributes:
      styles: whether G has styles, for path lengths.
      doubles: whether it can grow to twice its size with its function preserved.
      translates: whether G makes images from images `[N, H, W, in_channels]`, not from latents; it then has the fields
        `in_channels` and `d_condition` (whether D sees both, joined along the channels).
      writes: whether G writes texts, sequences of tokens, not images.
      positive: fields that must be more than 0 (or None where they may be) -> remedy, as the end of a sentence.
      not_negative: fields that must be at least 0.
    """

    styles: ClassVar[bool] = False
    doubles: ClassVar[bool] = False
    translates: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    positive: ClassVar[Mapping[str, str]] = {"z_dim": ""}
    not_negative: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # attributes of every family

        @property
        def resolution(self) -> int: ...
        @property
        def channels(self) -> int: ...
        @property
        def num_classes(self) -> int: ...
        @property
        def z_dim(self) -> int: ...
        @property
        def dtype(self) -> str: ...

    @property
    def makes(self) -> str:
        """What G makes, of what, as a task says it."""
        return made_of(type(self))

    @property
    def batch_norm_in_d(self) -> bool:
        """Whether D has batch norm, so that gradients of images depend on each other."""
        return False

    @property
    def compared(self) -> int:
        """Number of examples that D compares with each other, which divides batches; 0 = D compares none."""
        return 0

    @property
    def any_channels(self) -> bool:
        """Whether images may have numbers of channels other than grey's, RGB's and RGBA's."""
        return False

    @property
    def reversed(self) -> NetFamily:
        """The configuration of translators with input and output exchanged, for the way back; others as they are."""
        if not self.translates:
            return self
        return dataclasses.replace(self, in_channels=self.channels, channels=getattr(self, "in_channels"))  # noqa: B009

    def problems(self) -> Iterator[str]:
        """Yields a line for every problem of the networks, with field (`net.resolution is ..`) and remedy."""
        return iter(())


def made_of(kind: Any) -> str:
    """What generators of a family, or of a task, make: texts, images from images, or images from latents."""
    return "texts" if kind.writes else f"images from {'images' if kind.translates else 'latents'}"
