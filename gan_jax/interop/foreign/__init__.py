"""Weights from elsewhere: `read_foreign` takes the tensors out of a file, and runs nothing of it."""

from gan_jax.interop.foreign.archive import ForeignError, Limits
from gan_jax.interop.foreign.collect import Recorded
from gan_jax.interop.foreign.read import Foreign, read_foreign

__all__ = ["Foreign", "ForeignError", "Limits", "Recorded", "read_foreign"]
