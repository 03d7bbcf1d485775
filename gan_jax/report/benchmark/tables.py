"""The tables of a benchmark: quality, an overview over targets, the way to scratch's quality, and what a step costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gan_jax.report.benchmark.blocks import Block, baseline
from gan_jax.report.seeds import reached
from gan_jax.report.table import Column, Table
from gan_jax.transfer.benchmark import BenchmarkConfig

MEASURES: dict[str, Any] = {  # key of a line's `end`: what it is called, which way is better, decimals
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
    """One row for each method: everything that was measured at the end, over seeds."""
    there = [key for key in MEASURES if any(block.ends(method, key) for method in block.rows)]
    if block.first["relative_only"] and "class_kl" in there:
        there.remove("class_kl")  # the classes are not the target's
    columns = [Column("method"), *(Column(key, *_named(block, key)) for key in there)]
    rows = [{"method": name, **{key: block.ends(name, key) or None for key in there}} for name in block.rows]
    first = block.first
    caption = (
        f"{block.target} ({block.relation}) from {block.source}: {block.shots} images to train on, "
        f"{first['images']:,} images shown to D; the last state of each run. Protocol {first['protocol']}."
    )
    if first["relative_only"]:
        caption += " Far from what the feature network knows: these numbers rank methods on this target, no more."
    if "memorisation" in there:
        caption += (
            " Distance to training images: of generated over that of held-out images (median), near 0 is copied; "
            "closer: how often a generated image is nearer than a held-out one, 0.5 is new."
        )
    return Table(tuple(columns), rows, caption)


def overview(found: Sequence[Block], key: str = "kid") -> Table:
    """One measure, method x target."""
    columns = [Column("method")]
    for i, block in enumerate(found):
        title, unit, better, decimals = _named(block, key)
        columns.append(Column(str(i), f"{block.title} ({block.relation}): {title}", unit, better, decimals))
    methods = list(dict.fromkeys(name for block in found for name in block.rows))
    rows = [
        {"method": name} | {str(i): block.ends(name, key) for i, block in enumerate(found) if name in block.rows}
        for name in methods
    ]
    protocols = "; ".join(f"{block.title}: {block.first['protocol']}" for block in found)
    return Table(tuple(columns), rows, f"Protocols: {protocols}.")


def reach(config: BenchmarkConfig, block: Block, key: str = "kid") -> Table | None:
    """When each method is first as good as the baseline of the same seed at its end; None without a baseline."""
    rows = []
    for method in block.rows:
        against = baseline(config, block, method)
        if against is None or method == against:
            continue
        cells = block.cells(method, against)
        if not cells:
            continue
        found = reached(cells, method, against, key)
        there = [row for row in found if row is not None]
        whole = len(there) == len(found)
        rows.append({
            "method": method,
            "seeds": f"{len(there)} of {len(found)}" if there else "not reached",
            # a mean over the seeds that made it would flatter those that seldom do
            "images": [row["images"] for row in there] if whole else None,
            "seconds": [row["seconds"] for row in there] if whole else None,
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


def cost(found: Sequence[Block], against: str = "finetune") -> Table:
    """What trains, and what a step costs, beside full fine-tuning."""
    lines = {name: rows for block in reversed(found) for name, rows in block.rows.items()}
    order = list(dict.fromkeys(name for block in found for name in block.rows))
    share = lambda value, whole: None if not whole else value / whole
    # members of a population share their seconds: there is nothing to take an interval over
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


def failures(found: Sequence[Block]) -> Table | None:
    """What did not run, and why."""
    rows = [
        {"target": block.title, "method": name, "runs": count, "why": text}
        for block in found for name, told in block.failures.items() for text, count in told.items()
    ]  # fmt: skip
    columns = (Column("target"), Column("method"), Column("runs"), Column("why"))
    return Table(columns, rows, "Cells that failed.") if rows else None


def _named(block: Block, key: str) -> tuple[str, str, Any, int]:
    """Title, unit, better and decimals of a measure; distances are named after their network."""
    title, better, decimals = MEASURES[key]
    return (f"{title} ({block.first['measured']})" if key in ("kid", "fd") else title), "", better, decimals
