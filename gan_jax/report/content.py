"""The content of a report, as frozen dataclasses. The caller fills in the numbers; `html.py` shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gan_jax.report.curves import Chart
from gan_jax.report.neighbours import Gallery
from gan_jax.report.table import Table


@dataclasses.dataclass(frozen=True)
class Highlight:
    """One number at the top of the page."""

    value: str  # short: `31 ± 2`
    label: str  # what it is
    note: str = ""  # against what: `scratch: 88 ± 4`


@dataclasses.dataclass(frozen=True)
class Fact:
    """One line about what was run: data, budget, device, protocol id, an index hash."""

    name: str
    value: str
    code: bool = False  # shown in a fixed-width font: hashes, ids, commands


@dataclasses.dataclass(frozen=True)
class PictureRow:
    """Images under one label; resolutions and channels may differ from row to row."""

    label: str
    images: Any  # [N, H, W, C] uint8; N about 10, all are shown
    note: str = ""  # small, under the label: `16 px, before transplanting`


@dataclasses.dataclass(frozen=True)
class Cost:
    """The floating-point operations of one step, as the compiler counts them."""

    label: str
    flops: float


@dataclasses.dataclass(frozen=True)
class Report:
    """A full page. Sections without content are left out."""

    title: str
    summary: str  # what was done and what came out, in two or three sentences; blank lines part paragraphs
    results: Table
    command: str = ""  # makes all of this again
    highlights: tuple[Highlight, ...] = ()
    facts: tuple[Fact, ...] = ()
    config: Mapping[str, Any] | None = None  # the resolved configuration, as plain JSON values
    versions: Mapping[str, str] | None = None  # package: version
    pictures: tuple[PictureRow, ...] = ()
    pictures_note: str = ""  # whether they were picked: `same 10 latents in each row, not picked`
    tables: tuple[tuple[str, Table], ...] = ()  # (title, table) of further tables, after the curves
    charts: tuple[Chart, ...] = ()
    gallery: Gallery | None = None
    warnings: tuple[str, ...] = ()  # sentences of diagnoses: what is wrong and what to do
    diagnoses: Table | None = None  # every number that was checked, with the limit beyond which it warns
    plan: Table | None = None  # where every leaf of the transplanted pair comes from
    plan_summary: str = ""  # how many leaves were copied, widened, grown, fresh
    costs: tuple[Cost, ...] = ()  # the others are compared with the first
    costs_note: str = ""
    limits: tuple[str, ...] = ()  # what these numbers do not show
