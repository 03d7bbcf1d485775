"""TensorBoard events, where tensorboardX is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class EventWriter:
    """Writes TensorBoard scalars and images over images shown. Without tensorboardX it only logs one message.

    Args:
      folder: where the event file goes; made at the first write.
      purge_images: image count of a resumed run: TensorBoard hides later values of earlier files. None = a fresh run.
      note: is called with the message that tensorboardX is missing.
    """

    _noted = False  # one note per process, however many runs it has

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        purge_images: int | None = None,
        note: Callable[[str], None] | None = None,
    ):
        self._folder, self._purge, self._writer = Path(folder), purge_images, None
        self.enabled = True
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            self.enabled = False
            if not EventWriter._noted:
                EventWriter._noted = True
                say = note or (lambda text: print(text, file=sys.stderr))
                say("no TensorBoard files: tensorboardX is not installed; pip install 'gan_jax[report]' adds it")

    def scalars(self, images: int, metrics: Mapping[str, Any], prefix: str = "") -> None:
        """Writes each number at an image count; other values are skipped."""
        if not self.enabled:
            return
        for name, value in metrics.items():
            if isinstance(value, str) or value is None or np.ndim(value) != 0:
                continue
            self._open().add_scalar(f"{prefix}{name}", float(value), global_step=int(images))

    def image(self, images: int, tag: str, image: Any) -> None:
        """Writes a picture [H, W, C] uint8 at an image count."""
        if self.enabled:
            self._open().add_image(tag, np.asarray(image), global_step=int(images), dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge)
        return self._writer

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
