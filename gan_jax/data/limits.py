"""Limits of what is read from one file: a file that unpacks to far more than its size is refused before."""

from __future__ import annotations

import os
from typing import Any

from gan_jax.data.images import DataError

MAX_FILE_BYTES = 1 << 28  # of one file in a folder or zip, unpacked; larger ones are refused before they are read
MAX_UNPACKED_BYTES = 1 << 30  # that a compressed file may unpack to, if `MAX_RATIO` times its size is less
MAX_RATIO = 100


def check_unpacked(path: Any, size: int, packed: int | None = None) -> None:
    """Refuses a file that would unpack to far more than its size.

    Args:
      path: of the compressed file.
      size: unpacked, bytes.
      packed: size of the compressed file, bytes; None reads it from the disk.
    """
    packed = os.stat(path).st_size if packed is None else packed
    most = max(MAX_UNPACKED_BYTES, MAX_RATIO * packed)
    if size > most:
        raise DataError(
            f"{path} has {packed:,} bytes and unpacks to {size:,}; the limit is {MAX_UNPACKED_BYTES:,} bytes or "
            f"{MAX_RATIO} times the file. If it is the right file, store it without compression"
        )
