"""The tables of a benchmark: quality, overview over targets, time to the baseline's quality, cost of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gan_jax.report.benchmark.blocks import Block, baseline
from gan_jax.report.seeds import reached
from gan_jax.report.table import Column, Table
from gan_jax.transfer.benchmark import BenchmarkConfig

MEASURES: dict[str, Any] = {  # key of a row's `end`: title, which way is better, decimals
    "kid": ("KID", "lower", 3),
    "fd": ("FD", "lower", 2),
    "precision": ("precision", "higher", 3),
    "recall": ("recall", "higher", 3),
    "density": ("density", "higher", 3),
    "coverage": ("coverage", "higher", 3),
    "class_kl": ("KL of classes", "lower", 3),
    "intra_lpips": ("intra-cluster LPIPS", "higher", 3),
    "clusters": ("occupied clusters", "higher", 1),
    "memorisation": ("distance to training images", None, 2),
    "closer": ("closer than held-out", None, 2),
}


def quality(block: Block) -> Table:
    """One row for each method: all final measurements, over seeds."""
    keys = [key for key in MEASURES if any(block.ends(method, key) for method in block.rows)]
    if block.first["relative_only"] and "class_kl" in keys:
        keys.remove("class_kl")  # the classes are not the target's
    columns = [Column("method"), *(Column(key, *_named(block, key)) for key in keys)]
    rows = [{"method": name, **{key: block.ends(name, key) or None for key in keys}} for name in block.rows]
    first = block.first
    caption = (
        f"{block.target} ({block.relation}) from {block.source}: {block.shots} images to train on, "
        f"{first['images']:,} images shown to D; the last state of each run. Protocol {first['protocol']}."
    )
    if first["relative_only"]:
        caption += " Far from what the feature network knows: these numbers rank methods on this target, no more."
    if "memorisation" in keys:
        caption += (
            " Distance to training images: of generated over that of held-out images (median), near 0 is copied; "
            "closer: how often a generated image is nearer than a held-out one, 0.5 is new."
        )
    return Table(tuple(columns), rows, caption)


def overview(blocks: Sequence[Block], key: str = "kid") -> Table:
    """One measurement of every method (rows) on every target (columns)."""
    columns = [Column("method")]
    for i, block in enumerate(blocks):
        title, unit, better, decimals = _named(block, key)
        columns.append(Column(str(i), f"{block.title} ({block.relation}): {title}", unit, better, decimals))
    methods = list(dict.fromkeys(name for block in blocks for name in block.rows))
    rows = [
        {"method": name} | {str(i): block.ends(name, key) for i, block in enumerate(blocks) if name in block.rows}
        for name in methods
    ]
    protocols = "; ".join(f"{block.title}: {block.first['protocol']}" for block in blocks)
    return Table(tuple(columns), rows, f"Protocols: {protocols}.")


def reach(config: BenchmarkConfig, block: Block, key: str = "kid") -> Table | None:
    """Images and seconds at which each method first equals the baseline's final value, seed by seed.

    None where there is no baseline.
    """
    rows = []
    for method in block.rows:
        against = baseline(config, block, method)
        if against is None or method == against:
            continue
        cells = block.cells(method, against)
        if not cells:
            continue
        seeds = reached(cells, method, against, key)
        hits = [row for row in seeds if row is not None]
        every = len(hits) == len(seeds)
        rows.append({
            "method": method,
            "seeds": f"{len(hits)} of {len(seeds)}" if hits else "not reached",
            # a mean over the seeds that reach it would flatter methods that seldom do
            "images": [row["images"] for row in hits] if every else None,
            "seconds": [row["seconds"] for row in hits] if every else None,
        })  # fmt: skip
    if not rows:
        return None
    columns = (
        Column("method"), Column("seeds", "seeds that reach it"), Column("images", better="lower", decimals=0),
        Column("seconds", "training", "s", "lower", 1),
    )  # fmt: skip
    return Table(
        columns, rows,
        f"{block.title}: the first evaluation at which {key.upper()} is at most that of {config.baseline} at its end, "
        f"seed by seed; no mean where a seed does not reach it. Evaluations lie apart, so this is no finer than they are.",
    )  # fmt: skip


def cost(blocks: Sequence[Block], against: str = "finetune") -> Table:
    """Trained values and the cost of a step for each method, relative to full fine-tuning."""
    lines = {name: rows for block in reversed(blocks) for name, rows in block.rows.items()}
    order = list(dict.fromkeys(name for block in blocks for name in block.rows))
    share = lambda value, total: None if not total else value / total
    # replicas of a population share their seconds: there is nothing to take an interval over
    step_ms = {
        name: 1000 * sum(row["seconds"]["train"] / row["steps"] for row in rows) / len(rows)
        for name, rows in lines.items()
    }
    full = lines.get(against, [None])[0]
    rows = []
    for name in order:
        row = lines[name][0]
        rows.append({
            "method": name,
            "g": row["trained"]["g"],
            "d": row["trained"]["d"],
            "flops": row["flops_per_step"] / 1e9,
            "relative": share(row["flops_per_step"], full and full["flops_per_step"]),
            "ms": step_ms[name],
            "prepare": row["seconds"]["prepare"],
        })  # fmt: skip
    columns = (
        Column("method"), Column("g", "trained, G"), Column("d", "trained, D"), Column("flops", "a step", "GFLOP"),
        Column("relative", f"of {against}", decimals=2), Column("ms", "training of a step", "ms", decimals=1),
        Column("prepare", "start and preparation", "s", decimals=1),
    )  # fmt: skip
    return Table(columns, rows, "Operations as XLA counts them; what is done in some steps counts as if in each. "
                 "Times are of training alone, on the machine of the run.")  # fmt: skip


def failures(blocks: Sequence[Block]) -> Table | None:
    """Failed trials by target and method, with their reasons; None where none failed."""
    rows = [
        {"target": block.title, "method": name, "runs": count, "why": text}
        for block in blocks for name, reasons in block.failures.items() for text, count in reasons.items()
    ]  # fmt: skip
    columns = (Column("target"), Column("method"), Column("runs"), Column("why"))
    return Table(columns, rows, "Cells that failed.") if rows else None


def _named(block: Block, key: str) -> tuple[str, str, Any, int]:
    """(title, unit, better, decimals) of a measurement; distances are named after their feature network."""
    title, better, decimals = MEASURES[key]
    return (f"{title} ({block.first['measured']})" if key in ("kid", "fd") else title), "", better, decimals
