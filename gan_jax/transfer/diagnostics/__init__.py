"""Diagnostics: checks for the failures of transfers with advice for each, and the ranking of sources."""

from __future__ import annotations

from gan_jax.transfer.diagnostics.diagnose import Diagnosis, checks, make_diagnosis, new_warnings
from gan_jax.transfer.diagnostics.failures import Check, read_against
from gan_jax.transfer.diagnostics.sources import Ranking, SourceScore, advice, rank_sources

__all__ = [
    "Check",
    "Diagnosis",
    "Ranking",
    "SourceScore",
    "advice",
    "checks",
    "make_diagnosis",
    "new_warnings",
    "rank_sources",
    "read_against",
]
