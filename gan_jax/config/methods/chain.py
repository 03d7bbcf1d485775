"""Several methods at once."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from gan_jax.config.methods.whole import FinetuneConfig, TransferConfig

__all__ = ["ChainConfig"]


@dataclasses.dataclass(frozen=True)
class ChainConfig(FinetuneConfig):
    """Several methods at once (`--method lora ewc`): loss terms are added, preparations run one after the other.

    Source, networks and policies of the transplant are those of the chain.
    """

    methods: tuple[TransferConfig, ...] = ()  # in the order of their preparations and hooks

    several_networks: ClassVar[bool] = True
    several: ClassVar[bool] = True

    @property
    def parts(self) -> tuple[Any, ...]:
        """The methods' configurations with the source and the policies of the chain."""
        common = {field.name: getattr(self, field.name) for field in dataclasses.fields(FinetuneConfig)}
        return tuple(dataclasses.replace(method, **common) for method in self.methods)

    @property
    def adversarial(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether D is trained: it is where all methods have an adversarial loss."""
        return all(method.adversarial for method in self.methods)

    @property
    def images(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None where a method needs the number of training images."""
        return None if any(method.images is None for method in self.methods) else 0

    def counted(self, images: int) -> ChainConfig:
        """Sets the number of training images in the methods that need it."""

        def fill(method: Any) -> Any:
            return dataclasses.replace(method, images=images) if method.images is None else method

        return dataclasses.replace(self, methods=tuple(fill(method) for method in self.methods))
