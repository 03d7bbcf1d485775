"""Curves over images and over seconds, since a run costs both. SVG for the page, SVG or PNG as a file.

The page gets two small drawings per chart, one for each axis, so that a phone can stack them. Their colours are CSS
variables (light and dark), their text is text, and they refer to no other file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from gan_jax.extras import require
from gan_jax.files import printable, write_atomically

Axis = Literal["images", "seconds"]
AXES: dict[Axis, str] = {"images": "real images shown to D", "seconds": "seconds of training"}

# (CSS variable, light colour) of ink, lines and series: distinct to the colour-blind, and by dashes in print
INK = ("--ink-2", "#4a5260")
LINE = ("--line", "#dfe3e8")
SERIES = [("--series-1", "#1f6fd6"), ("--series-2", "#d2602a"), ("--series-3", "#13856b"), ("--series-4", "#8a5bd1")]
DASHES = ["solid", (0, (5, 1.6)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5))]  # in line widths
REFERENCE_DASH = (0, (2.4, 2))
DASH_ARRAYS = ["none", "9 3", "3.5 2", "11 2.5 2.5 2.5"]  # the same, in px of the legend


@dataclasses.dataclass(frozen=True)
class Curve:
    """One line: a value at several moments of training."""

    label: str
    images: Sequence[float]  # real images shown to D at each point
    values: Sequence[float]  # mean over seeds, or the value of the only seed; NaN leaves a gap
    seconds: Sequence[float] | None = None  # of training at each point; None = not on that panel
    half_widths: Sequence[float] | None = None  # half-widths of the interval over seeds; None = no band


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves of one quantity."""

    title: str
    y_label: str  # quantity and unit
    curves: tuple[Curve, ...]
    references: tuple[tuple[str, float], ...] = ()  # (label, value): horizontal lines to reach
    log_y: bool = False  # a logarithmic axis; all values must be above 0
    note: str = ""  # what to see, in a sentence

    def axes(self) -> list[Axis]:
        """The panels that this chart has data for."""
        return ["images", "seconds"] if any(curve.seconds is not None for curve in self.curves) else ["images"]


def panel_svg(chart: Chart, axis: Axis) -> str:
    """One panel as an inline `<svg>` without script, style sheet or outside reference."""
    with _style(chart, axis):
        figure = _figure(1, (4.6, 2.9))
        _draw(figure.subplots(), chart, axis, _tokens())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    label = f"{chart.title}: {chart.y_label} over {AXES[axis]}, " + "; ".join(_spoken(c) for c in chart.curves)
    return _inline(buffer.getvalue(), label)


def legend_keys(chart: Chart) -> list[tuple[str, str, str]]:
    """(label, CSS colour variable, SVG dash array) of every curve and reference: the page draws its own legend."""
    keys = [(curve.label, SERIES[_colour(i)][0], DASH_ARRAYS[_dash(i)]) for i, curve in enumerate(chart.curves)]
    return keys + [(label, INK[0], "3 2.5") for label, _ in chart.references]


def write_curves(path: str | os.PathLike[str], chart: Chart) -> Path:
    """Writes the chart with all its panels and a legend to a .svg or .png file, atomically, on white."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".svg", ".png"):
        raise ValueError(f"{path} must end in .svg or .png")
    with _style(chart, "both"):
        axes = chart.axes()
        figure = _figure(len(axes), (4.9 * len(axes), 3.4))
        colours = {"ink": INK[1], "line": LINE[1], "series": [light for _, light in SERIES]}
        panels = np.atleast_1d(figure.subplots(1, len(axes), sharey=True))
        # the panel over images, the first, holds every curve
        lines = [_draw(panel, chart, axis, colours) for panel, axis in zip(panels, axes, strict=True)][0]
        for panel in panels[1:]:
            panel.set_ylabel("")
        legend = figure.legend(handles=lines, loc="outside upper left", ncols=len(lines), frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
        buffer = io.BytesIO()
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(buffer, format=suffix[1:], dpi=150, facecolor="white", metadata=metadata)
    return write_atomically(path, buffer.getvalue())


def _style(chart: Chart, name: str) -> Any:
    # the salt makes ids inside the SVG unique to their panel on a page of many, and equal from run to run
    salt = hashlib.sha256(f"{chart}{name}".encode("utf-8", "replace")).hexdigest()
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.5,
        "text.usetex": False,
    }
    return require("matplotlib", "report").rc_context(settings)


def _figure(panels: int, size: tuple[float, float]) -> Any:
    return require("matplotlib.figure", "report").Figure(figsize=size, layout="constrained")


def _draw(panel: Any, chart: Chart, axis: Axis, colours: dict[str, Any]) -> list[Any]:
    """Draws one panel, returns its lines. No pyplot: nothing global changes."""
    ticker = require("matplotlib.ticker", "report")
    if not chart.curves:
        raise ValueError(f"chart {chart.title!r} has no curves")
    ink, lines = colours["ink"], []
    for i, curve in enumerate(chart.curves):
        xs = curve.images if axis == "images" else curve.seconds
        if xs is None:
            continue
        _check(curve, xs, axis, chart)
        xs, ys = np.asarray(xs, np.float64), np.asarray(curve.values, np.float64)
        colour, dashes = colours["series"][_colour(i)], DASHES[_dash(i)]
        marker = "o" if len(xs) <= 24 else None
        (line,) = panel.plot(xs, ys, color=colour, linewidth=1.8, linestyle=dashes, marker=marker, markersize=3.4)
        line.set_label(printable(curve.label).lstrip("_"))  # a leading _ would hide it from the legend
        lines.append(line)
        if curve.half_widths is not None:
            half = np.asarray(curve.half_widths, np.float64)
            panel.fill_between(xs, ys - half, ys + half, color=colour, alpha=0.16, linewidth=0)
    for label, value in chart.references:  # named in the legend: a label on the plot would cover a curve
        reference = panel.axhline(value, color=ink, linewidth=1, linestyle=REFERENCE_DASH)
        reference.set_label(printable(label).lstrip("_"))
        lines.append(reference)
    if chart.log_y:
        panel.set_yscale("log")
    elif _lowest(chart) >= 0:
        panel.set_ylim(bottom=0)  # a cut axis would make small differences look large
    panel.set_xlim(left=0)
    panel.set_xlabel(AXES[axis], color=ink)
    panel.set_ylabel(printable(chart.y_label), color=ink, parse_math=False)
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    panel.xaxis.set_major_locator(ticker.MaxNLocator(6))
    panel.tick_params(colors=ink, labelcolor=ink, length=0, pad=5, which="both")
    panel.grid(axis="y", color=colours["line"], linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(colours["line"])
    return lines


def _colour(i: int) -> int:
    return i % len(SERIES)


def _dash(i: int) -> int:
    return (i + i // len(SERIES)) % len(DASHES)  # when the colours come round again, the dashes differ


def _check(curve: Curve, xs: Sequence[float], axis: Axis, chart: Chart) -> None:
    n = len(curve.values)
    if n == 0 or len(xs) != n or (curve.half_widths is not None and len(curve.half_widths) != n):
        halves = "none" if curve.half_widths is None else len(curve.half_widths)
        raise ValueError(
            f"curve {curve.label!r} has {n} values, {len(xs)} {axis} and {halves} half-widths; "
            "each point needs one of each"
        )
    if chart.log_y and any(value <= 0 for value in curve.values):
        raise ValueError(f"curve {curve.label!r} has a value that is not above 0; set log_y=False")


def _lowest(chart: Chart) -> float:
    """The smallest number that the chart shows, intervals included; infinite if it shows none."""
    lows = []
    for curve in chart.curves:
        values = np.asarray(curve.values, np.float64)
        half = np.zeros_like(values) if curve.half_widths is None else np.asarray(curve.half_widths, np.float64)
        lows += [values - half, values]
    lows = np.concatenate([*lows, [value for _, value in chart.references]])
    return float(np.min(lows[np.isfinite(lows)], initial=np.inf))


def _spoken(curve: Curve) -> str:
    """The text that a screen reader reads for a curve."""
    finite = [value for value in curve.values if np.isfinite(value)]
    return f"{curve.label} from {finite[0]:.3g} to {finite[-1]:.3g}" if finite else f"{curve.label} without values"


def _tokens() -> dict[str, Any]:
    """Stand-ins that the drawing uses and `_inline` turns into CSS variables: matplotlib takes only real colours."""
    return {"ink": "#0102fe", "line": "#0102fd", "series": [f"#0103{i:02x}" for i in range(len(SERIES))]}


def _inline(svg: bytes, label: str) -> str:
    """An SVG file as an element for a page, without prolog, metadata, namespaces, fixed size and unused ids."""
    root = ElementTree.fromstring(svg)
    used = set(re.findall(rb'(?:href="#|url\(#)([^")]+)', svg))
    for element in list(root.iter()):
        element.tag = str(element.tag).rpartition("}")[2]
        for name in list(element.attrib):
            if name.rpartition("}")[2] != name:
                element.set(name.rpartition("}")[2], element.attrib.pop(name))
        if element.get("id", "").encode() not in used:
            element.attrib.pop("id", None)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):  # its style rule would cover the whole page
                parent.remove(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", printable(label))
    text = ElementTree.tostring(root, encoding="unicode")
    tokens = _tokens()
    stand_ins = [tokens["ink"], tokens["line"], *tokens["series"]]
    for token, (variable, light) in zip(stand_ins, [INK, LINE, *SERIES], strict=True):
        text = text.replace(token, f"var({variable}, {light})")
    return text
