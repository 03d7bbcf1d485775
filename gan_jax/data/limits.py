"""How much may be read from one file: what unpacks to far more than it is, is refused before it is unpacked."""

from __future__ import annotations

import os
from typing import Any

from gan_jax.data.images import DataError

MAX_FILE_BYTES = 1 << 28  # of one file in a folder or zip, unpacked; larger ones are refused before they are read
MAX_UNPACKED_BYTES = 1 << 30  # of a compressed file, or as many times its own size as below
MAX_RATIO = 100


def check_unpacked(path: Any, size: int, packed: int | None = None) -> None:
    """Refuses what would unpack to far more than it is.

    Args:
      path: of the compressed file.
      size: of what it unpacks to, bytes.
      packed: its own size, bytes; None asks the file.
    """
    packed = os.stat(path).st_size if packed is None else packed
    most = max(MAX_UNPACKED_BYTES, MAX_RATIO * packed)
    if size > most:
        raise DataError(
            f"{path} has {packed:,} bytes and unpacks to {size:,}; the limit is {MAX_UNPACKED_BYTES:,} bytes or "
            f"{MAX_RATIO} times the file. If it is what you want, store it without compression"
        )
