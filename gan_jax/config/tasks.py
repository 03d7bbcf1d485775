"""Tasks: one dataclass for each configuration, and `TaskConfig`, any of them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ImageTask:
    """Images from latents, unconditional or of classes: a generator `g` and a discriminator `d` (`net`)."""


TaskConfig = ImageTask
