"""What a fusion learned, drawn: shares as a heat map (group of leaves x donor) and over the stage, and maps of attention."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.extras import require
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.files import write_atomically
from gan_jax.report.table import Column, Table

NUMBERED = 400  # fields of a heat map that are given as numbers too


def source_names(found: Mapping[str, Any]) -> list[str]:
    """The target and the donors, by the last names of their paths if these differ, else by their paths; copies are numbered."""
    names = [found["target"], *(one["donor"] for one in found["donors"])]
    tails = [name.rstrip("/").rpartition("/")[2] for name in names]
    names = tails if len(set(tails)) == len(tails) else names
    return [f"{name} ({i})" if (i := names[: at + 1].count(name)) > 1 else name for at, name in enumerate(names)]


def shares_table(found: Mapping[str, Any], network: str = "g") -> Table:
    """One row for each group of leaves: the shares of the source and of every donor."""
    names = source_names(found)
    columns = (Column("group", code=True), *(Column(name, decimals=3) for name in names))
    rows = [
        {"group": group, names[0]: 1 - sum(w)} | dict(zip(names[1:], w, strict=True))
        for group, w in found["shares"][network].items()
    ]
    return Table(columns, rows, f"Shares in the fused {network.upper()}; of channels their mean.")


def shares_chart(found: Mapping[str, Any]) -> Chart:
    """The donors' shares over the stage, each the mean of all groups; the rest is the source's."""
    rows, names = found["learned"], source_names(found)
    images = [row["images"] for row in rows]
    curves = [Curve(name, images, [row[f"share{i}"] for row in rows]) for i, name in enumerate(names[1:], 1)]
    rest = [1 - sum(row[f"share{i}"] for i in range(1, len(names))) for row in rows]
    return Chart("Shares while they are learned", "mean share", (Curve(names[0], images, rest), *curves))


def write_heat_map(path: str | Path, found: Mapping[str, Any], network: str = "g") -> Path:
    """A PNG: groups of leaves from the latents on downwards, the source and the donors side by side."""
    require("matplotlib", extra="report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, shares = source_names(found), found["shares"][network]
    values = np.array([[1 - sum(w), *w] for w in shares.values()])
    figure = Figure(figsize=(1.6 + 1.1 * len(names), 1.2 + 0.28 * len(values)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    low, high = min(0.0, values.min()), max(1.0, values.max())
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=low, vmax=high)
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(values)), list(shares), family="monospace", fontsize=8)
    if values.size <= NUMBERED:
        for (row, column), value in np.ndenumerate(values):
            ink = "black" if (value - low) / (high - low) > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
    figure.colorbar(image, ax=axes, label="share")
    axes.set_title(f"What of {network.upper()} comes from where", fontsize=10)
    return _write(path, figure)


def write_attention_maps(path: str | Path, found: Mapping[str, Any]) -> Path:
    """A PNG: where in the image which source is attended to, one row for each point, the network's own share first.

    Args:
      path: of the file.
      found: its `maps` are `{point: [H, W, K + 1]}` lists of shares, drawn on one scale from 0 to 1.
    """
    require("matplotlib", extra="report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, maps, gates = source_names(found), found["maps"], found.get("gates", {})
    figure = Figure(figsize=(2.4 + 1.5 * len(names), 0.7 + 1.6 * len(maps)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(len(maps), len(names), squeeze=False)
    for row, (point, values) in zip(axes, maps.items(), strict=True):
        values = np.asarray(values)
        height, width, _ = values.shape
        gate = f", gate {gates[point]:.3f}" if point in gates else ""
        row[0].set_ylabel(f"{point}\n{height} x {width}{gate}", fontsize=8)
        for i, one in enumerate(row):
            image = one.imshow(values[..., i], cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            one.set_xticks([])
            one.set_yticks([])
            one.set_xlabel(f"mean {values[..., i].mean():.2f}", fontsize=8)
    for one, name in zip(axes[0], names, strict=True):
        one.set_title(textwrap.fill(name, 22), fontsize=9)
    figure.colorbar(image, ax=axes, label="share of attention")
    return _write(path, figure)


def _write(path: str | Path, figure: Any) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return write_atomically(path, buffer.getvalue())


def alignment_lines(found: Mapping[str, Any]) -> Sequence[str]:
    """`G of B: cosine of weights 0.12 -> 0.31 when its channels were put in order`, a line for each."""
    if found["by"] == "none":
        return ["donors were taken in the order of their own channels"]
    what = "cosine of weights" if found["by"] == "weights" else "correlation of channels"
    return [
        f"{network.upper()} of {row['donor']}: {what} {row[network][0]:.3f} -> {row[network][1]:.3f} when put in order"
        for row in found["donors"] for network in ("g", "d") if network in row
    ]  # fmt: skip
