"""The table and the figure of the experiment."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.report.curves import DASHES, INK, LINE, SERIES

METRICS = {
    "fd": "FD (fashion-v1) of G",
    "kid": "KID (fashion-v1) of G",
    "hinge": "hinge loss of D",
    "accuracy": "accuracy of D",
}
SHOWN = ("fd", "hinge")
TITLES = {"independent": "independent nets", "shared": "one origin, one net disguised"}


def make_table(summary: dict[str, Any]) -> str:
    """Markdown: barriers, mean ± standard deviation over pairs."""
    rows = list(dict.fromkeys(tuple(key.split(" / ")[:2]) for key in summary))
    lines = [
        "| nets | alignment | " + " | ".join(f"barrier: {name}" for name in METRICS.values()) + " |",
        "| --- | --- |" + " ---: |" * len(METRICS),
    ]
    for origin, method in rows:
        cells = [summary[f"{origin} / {method} / {key}"] for key in METRICS]
        values = " | ".join(f"{cell['barrier']:.3f} ± {cell['sd']:.3f}" for cell in cells)
        lines.append(f"| {origin} | {method} | {values} |")
    return "\n".join(lines) + "\n"


def write_figure(path: Path, cells: list[dict[str, Any]]) -> None:
    """Draws curves from one network to the other: a column for each origin, a row for G and one for D."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9.5, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}):
        figure = Figure(figsize=(9.4, 6.4), layout="constrained")
        panels = figure.subplots(len(SHOWN), len(TITLES), sharex=True)
        lines: dict[str, Any] = {}
        for column, (origin, title) in enumerate(TITLES.items()):
            mine = [cell for cell in cells if cell["origin"] == origin]
            for row, key in enumerate(SHOWN):
                panel = panels[row, column]
                for i, method in enumerate(mine[0]["curves"]):
                    values = np.array([cell["curves"][method][key] for cell in mine])
                    is_origin = i == len(SERIES)  # lies under the others, which should meet it
                    colour = INK[1] if is_origin else SERIES[i][1]
                    style = (
                        {"linewidth": 6, "alpha": 0.3, "zorder": 1} if is_origin else {"linewidth": 1.8, "zorder": 2}
                    )
                    style |= {} if is_origin else {"marker": "o", "markersize": 3.4, "linestyle": DASHES[i]}
                    (line,) = panel.plot(mine[0]["t"], values.mean(0), color=colour, label=method, **style)
                    panel.fill_between(
                        mine[0]["t"], values.min(0), values.max(0), color=colour, alpha=0.13, linewidth=0
                    )
                    lines.setdefault(method, line)
                panel.set_ylim(bottom=0)
                panel.set_ylabel(METRICS[key], color=INK[1])
                panel.grid(axis="y", color=LINE[1], linewidth=0.8)
                panel.tick_params(colors=INK[1], labelcolor=INK[1], length=0)
                for side in ("top", "right", "left"):
                    panel.spines[side].set_visible(False)
                panel.spines["bottom"].set_color(LINE[1])
            panels[0, column].set_title(title, color=INK[1], fontsize=10.5)
            panels[-1, column].set_xlabel("t, from the first net (0) to the second (1)", color=INK[1])
        figure.legend(handles=list(lines.values()), loc="outside upper left", ncols=len(lines), frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    path.write_bytes(buffer.getvalue())
