"""What a person watches while a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gan_jax.config import Config


def make_callbacks(config: Config, folder: Path) -> Any:
    """The callbacks of a run that is started from the command line."""
    return ()
