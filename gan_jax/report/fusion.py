"""Pictures of a fusion: mixing weights as a heat map (group of leaves x donor) and over the stage, attention maps."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.extras import require
from gan_jax.files import write_atomically
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.table import Column, Table
from gan_jax.roots import pair_part

NUMBERED = 400  # cells of the largest heat map whose cells also show their numbers


def source_names(fusion: Mapping[str, Any]) -> list[str]:
    """The names of the target and the donors: the last parts of their paths if these differ, else their paths.

    Equal names are numbered.
    """
    names = [fusion["target"], *(donor["donor"] for donor in fusion["donors"])]
    tails = [name.rstrip("/").rpartition("/")[2] for name in names]
    names = tails if len(set(tails)) == len(tails) else names
    return [
        f"{name} ({copies})" if (copies := names[: i + 1].count(name)) > 1 else name for i, name in enumerate(names)
    ]


def mixing_table(fusion: Mapping[str, Any], network: str = "g") -> Table:
    """One row for each group of leaves: the mixing weights of the source and of every donor."""
    names = source_names(fusion)
    columns = (Column("group", code=True), *(Column(name, decimals=3) for name in names))
    rows = [
        {"group": group, names[0]: 1 - sum(weights)} | dict(zip(names[1:], weights, strict=True))
        for group, weights in fusion["shares"][network].items()
    ]
    return Table(
        columns, rows, f"Mixing weights of the fused {network.upper()}; where they differ by channel, their mean."
    )


def mixing_chart(fusion: Mapping[str, Any], network: str = "g") -> Chart:
    """The mixing weight of each donor over the stage, as the mean of all groups; the rest is the source's.

    Args:
      fusion: its record.
      network: the generator, where there are several.
    """
    rows, names = fusion["learned"], source_names(fusion)
    images, title = [row["images"] for row in rows], "Mixing weights while they are learned"
    several = rows and "share1" not in rows[0]
    key = lambda i: f"share{i}_{network}" if several else f"share{i}"
    curves = [Curve(name, images, [row[key(i)] for row in rows]) for i, name in enumerate(names[1:], 1)]
    rest = [1 - sum(row[key(i)] for i in range(1, len(names))) for row in rows]
    of = f" of {network.upper()}" if several else ""
    return Chart(title + of, "mean mixing weight", (Curve(names[0], images, rest), *curves))


def fused_generators(fusion: Mapping[str, Any]) -> list[str]:
    """The generators that have mixing weights or were merged: `g`, or `g_ab` and `g_ba`."""
    return [name for name in fusion.get("shares") or {} if pair_part(name) == "g"]


def write_heat_map(path: str | Path, fusion: Mapping[str, Any], network: str = "g") -> Path:
    """Writes mixing weights as a PNG: groups of leaves from the latents downwards, source and donors side by side."""
    require("matplotlib", extra="report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, shares = source_names(fusion), fusion["shares"][network]
    values = np.array([[1 - sum(weights), *weights] for weights in shares.values()])
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
    figure.colorbar(image, ax=axes, label="mixing weight")
    axes.set_title(f"What of {network.upper()} comes from where", fontsize=10)
    return _write(path, figure)


def write_attention_maps(path: str | Path, fusion: Mapping[str, Any]) -> Path:
    """Writes a PNG: where in the image each source is attended to, one row for each layer, the target's own weight first.

    Args:
      path: of the file.
      fusion: its `maps` are `{layer: [H, W, K + 1]}` lists of attention weights, drawn on one scale from 0 to 1.
    """
    require("matplotlib", extra="report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, maps, gates = source_names(fusion), fusion["maps"], fusion.get("gates", {})
    figure = Figure(figsize=(2.4 + 1.5 * len(names), 0.7 + 1.6 * len(maps)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(len(maps), len(names), squeeze=False)
    for row, (point, values) in zip(axes, maps.items(), strict=True):
        values = np.asarray(values)
        height, width, _ = values.shape
        gate = f", gate {gates[point]:.3f}" if point in gates else ""
        row[0].set_ylabel(f"{point}\n{height} x {width}{gate}", fontsize=8)
        for i, panel in enumerate(row):
            image = panel.imshow(values[..., i], cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_xlabel(f"mean {values[..., i].mean():.2f}", fontsize=8)
    for panel, name in zip(axes[0], names, strict=True):
        panel.set_title(textwrap.fill(name, 22), fontsize=9)
    figure.colorbar(image, ax=axes, label="attention weight")
    return _write(path, figure)


def _write(path: str | Path, figure: Any) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return write_atomically(path, buffer.getvalue())


def alignment_lines(fusion: Mapping[str, Any]) -> Sequence[str]:
    """A line for each donor's network: `G of B: cosine of weights 0.12 -> 0.31 when put in order`."""
    if fusion["by"] == "none":
        return ["donors were taken in the order of their own channels"]
    what = "cosine of weights" if fusion["by"] == "weights" else "correlation of channels"
    return [
        f"{network.upper()} of {row['donor']}: {what} {row[network][0]:.3f} -> {row[network][1]:.3f} when put in order"
        for row in fusion["donors"] for network in row if pair_part(network)
    ]  # fmt: skip
