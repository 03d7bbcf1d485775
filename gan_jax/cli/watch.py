"""What a person watches while a run goes on, under the name that experiments import it by."""

from __future__ import annotations

from gan_jax.report.watch import Watch, make_callbacks

__all__ = ["Watch", "make_callbacks"]
