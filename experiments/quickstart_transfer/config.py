"""Does a pretrained pair help with 100 images? The adapted run; `run.py` in this folder makes all ten."""

from gan_jax.config import Config
from gan_jax.transfer.recipes import few_shot


def config() -> Config:
    """Seed 0 of the adapted runs, on ankle boots."""
    return few_shot("boot", transfer=True)
