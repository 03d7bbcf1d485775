"""The report as one HTML file that needs nothing else: images and drawings inside, no outside reference.

Only a page of pairs has a script (`report.pairs`), which the page's policy names by its hash.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.files import printable, write_atomically
from gan_jax.report import curves
from gan_jax.report.curves import Chart
from gan_jax.report.grids import Gallery, png_bytes, three_digits, to_rgb
from gan_jax.report.style import CSS
from gan_jax.report.table import Table, html_table

# ----------------------------------------------------------------------------------------------------------------------
# The content of a report, as frozen dataclasses. The caller fills in the numbers; the functions below show them.


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


# ----------------------------------------------------------------------------------------------------------------------
# The page.

# the browser itself refuses whatever would leave the file
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
FINE_PX = 64  # images of this size or more are shown reduced, and smoothed instead of skipping pixels


def write_report(path: str | os.PathLike[str], report: Report) -> Path:
    """Writes the page to one file, atomically; returns its path."""
    return write_atomically(path, render_report(report).encode("utf-8", "replace"))


def render_report(report: Report) -> str:
    """The page as text; equal reports give equal pages."""
    parts: list[tuple[str, str, str]] = [  # (anchor, heading, content)
        ("run", "What was run", _run(report)),
        ("pictures", "Pictures", strips(report.pictures, report.pictures_note)),
        ("results", "Results", html_table(report.results)),
        ("diagnoses", "Does anything look wrong?", _diagnoses(report)),
        ("curves", "Curves", "\n".join(map(chart_figure, report.charts))),
        (
            "tables",
            "Tables",
            "\n".join(f"<h3>{escape(title)}</h3>\n{html_table(table)}" for title, table in report.tables),
        ),
        ("memory", "Does it copy its training images?", gallery_figure(report.gallery) if report.gallery else ""),
        ("plan", "Where every leaf comes from", _plan(report.plan, report.plan_summary) if report.plan else ""),
        ("cost", "What freezing saves", _costs(report.costs, report.costs_note) if report.costs else ""),
        ("limits", "Limits", bullets(report.limits)),
    ]
    again = f"<p>Made again by <code>{escape(report.command)}</code>.</p>" if report.command else ""
    lead = f"{paragraphs(report.summary, 'lead')}\n{tiles(report.highlights)}"
    return render_page(report.title, lead, parts, again)


def render_page(
    title: str, lead: str, parts: Sequence[tuple[str, str, str]], again: str = "", *, script: str = "", style: str = ""
) -> str:
    """A page of sections, with a link to each of them; those without content are left out.

    Args:
      title: of the page, as text.
      lead: HTML below the title.
      parts: (anchor, heading as text, content as HTML).
      again: HTML of the foot: what makes the page again.
      script: the only script that the page may run; "" = none.
      style: further rules of the style sheet.
    """
    parts = [part for part in parts if part[2]]
    links = "".join(f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, heading, _ in parts)
    sections = "\n".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-h">\n'
        f'<h2 id="{anchor}-h">{escape(heading)}</h2>\n{content}\n</section>'
        for anchor, heading, content in parts
    )
    policy, code = POLICY, ""
    if script:
        hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, code = f"{POLICY}; script-src 'sha256-{hashed}'", f"<script>{script}</script>\n"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{CSS}{style}</style>
</head>
<body>
<div class="column">
<header>
<h1>{escape(title)}</h1>
{lead}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{sections}
</main>
<footer>{again}<p>Written by gan_jax. This file holds all that it shows.</p></footer>
</div>
{code}</body>
</html>
"""


def escape(text: object) -> str:
    """Text escaped for HTML content and attributes."""
    return html.escape(printable(text), quote=True)


def paragraphs(text: str, kind: str = "") -> str:
    """Text as paragraphs of one CSS class, split at blank lines."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]
    return "\n".join(f'<p class="{kind}">{escape(block)}</p>' for block in blocks)


def tiles(highlights: Sequence[Highlight]) -> str:
    """A few numbers at the top of a page."""
    if not highlights:
        return ""
    items = "".join(
        f'<div><dt>{escape(h.label)}</dt><dd class="value">{escape(h.value)}</dd>'
        + (f'<dd class="note">{escape(h.note)}</dd>' if h.note else "")
        + "</div>"
        for h in highlights
    )
    return f'<dl class="highlights">{items}</dl>'


def _run(report: Report) -> str:
    out = ""
    if report.facts:
        out += fact_list(report.facts)
    if report.versions:
        out += folded("Package versions", "\n".join(f"{name}=={version}" for name, version in report.versions.items()))
    if report.config is not None:
        out += folded("The whole configuration", json.dumps(report.config, indent=2, ensure_ascii=False))
    return out


def fact_list(facts: Sequence[Fact]) -> str:
    """Names and values as a list, one line each."""
    value = lambda fact: f"<code>{escape(fact.value)}</code>" if fact.code else escape(fact.value)  # noqa: E731
    lines = "".join(f"<dt>{escape(fact.name)}</dt><dd>{value(fact)}</dd>" for fact in facts)
    return f'<dl class="facts">{lines}</dl>\n'


def folded(title: str, text: str) -> str:
    """Text in a fixed-width font, folded below a heading."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>\n"


def strips(pictures: Sequence[PictureRow], note: str = "") -> str:
    """Rows of images, each with its label at the left."""
    if not pictures:
        return ""
    rows = []
    for row in pictures:
        images = to_rgb(row.images, f"pictures {row.label!r}")
        small = f" <small>{escape(row.note)}</small>" if row.note else ""
        cells = "".join(image_element(image) for image in images)
        caption = f"{escape(row.label)}: {len(images)} images"
        rows.append(
            f'<figure class="strip"><figcaption>{escape(row.label)}{small}</figcaption>\n'
            f'<div class="images" style="--n:{len(images)}" role="img" aria-label="{caption}">'
            f"{cells}</div></figure>"
        )
    caption = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<div class="strips">\n{"".join(rows)}\n</div>\n{caption}'


def image_element(image: np.ndarray, alt: str = "") -> str:
    """An image [H, W, 3] uint8 as an `<img>` element with its data inside."""
    height, width, _ = image.shape
    if (image == image[..., :1]).all():
        image = image[..., :1]  # a grey picture in three channels is three times the bytes
    data = base64.b64encode(png_bytes(image)).decode()
    size = f'width="{width}" height="{height}"'
    fine = " fine" if min(height, width) >= FINE_PX else ""
    return f'<img class="pixels{fine}" {size} alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def chart_figure(chart: curves.Chart) -> str:
    """A chart with its title, legend, panels and note."""
    keys = "".join(
        f'<li><svg viewBox="0 0 30 8" aria-hidden="true"><line x1="0" y1="4" x2="30" y2="4" stroke-width="2.6" '
        f'style="stroke:var({variable})" stroke-dasharray="{dashes}"/></svg>{escape(label)}</li>'
        for label, variable, dashes in curves.legend_keys(chart)
    )
    panels = "\n".join(f"<div>{curves.panel_svg(chart, axis)}</div>" for axis in chart.axes())
    note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
    return f'<h3>{escape(chart.title)}</h3>\n<ul class="keys">{keys}</ul>\n<div class="panels">{panels}</div>\n{note}'


def gallery_figure(gallery: Gallery) -> str:
    """Pairs of a generated image and its nearest training image, with a summary of the distances."""
    generated, nearest = to_rgb(gallery.generated, "generated"), to_rgb(gallery.nearest, "nearest")
    pairs = "".join(
        f'<figure class="pair"><div>{image_element(a, "generated")}{image_element(b, "nearest training image")}</div>'
        f"<figcaption>distance {three_digits(distance)}</figcaption></figure>"
        for a, b, distance in zip(generated, nearest, gallery.distances, strict=True)
    )
    caption = "Left: generated; right: the training image nearest to it. "
    caption += f"Shown are the {len(generated)} nearest pairs of {gallery.total:,}."
    return (
        f'<p>{escape(gallery.summary())}</p>\n<div class="pairs">{pairs}</div>\n<p class="note">{escape(caption)}</p>'
    )


def _diagnoses(report: Report) -> str:
    if report.diagnoses is None:
        return bullets(report.warnings)
    calm = "<p>Nothing that was looked at is beyond its limit.</p>"
    return (bullets(report.warnings) or calm) + "\n" + html_table(report.diagnoses)


def _plan(plan: Table, summary: str) -> str:
    text = f"<p>{escape(summary)}</p>" if summary else ""
    return f'{text}\n<div class="plan" tabindex="0">{html_table(plan)}</div>'


def _costs(costs: tuple[Cost, ...], note: str) -> str:
    largest, first = max(cost.flops for cost in costs), costs[0].flops
    if not largest > 0 or not first > 0:
        raise ValueError(f"costs must be above 0 FLOP, not {[cost.flops for cost in costs]}")
    rows = []
    for i, cost in enumerate(costs):
        percent = f"{100 * (cost.flops / first - 1):+.0f} %".replace("-", "−")
        change = "" if i == 0 else f" <small>({percent})</small>"
        rows.append(
            f'<div class="row"><div>{escape(cost.label)}</div><div class="bar-box" aria-hidden="true">'
            f'<div class="bar{" first" if i == 0 else ""}" style="width:{100 * cost.flops / largest:.2f}%"></div></div>'
            f'<div class="amount">{flops_text(cost.flops)}{change}</div></div>'
        )
    caption = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<div class="bars">{"".join(rows)}</div>\n{caption}'


def flops_text(flops: float) -> str:
    """`1.23 GFLOP`."""
    for limit, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if flops >= limit:
            return f"{flops / limit:.2f} {unit}"
    return f"{flops / 1e3:.2f} kFLOP"


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list; "" where there is none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="limits">{items}</ul>' if items else ""
