"""Progress of a run on the terminal, re-exported under the name that experiments import."""

from __future__ import annotations

from gan_jax.report.watch import Watch, make_callbacks

__all__ = ["Watch", "make_callbacks"]
