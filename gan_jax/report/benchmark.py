"""The tables, curves, grids and page of a benchmark's finished trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.files import write_atomically
from gan_jax.report.curves import Chart, write_curves
from gan_jax.report.grids import labelled_grid, make_grid, readable_scale, write_png
from gan_jax.report.html import Cost, Fact, PictureRow, Report, write_report
from gan_jax.report.seeds import make_chart, reached
from gan_jax.report.table import Column, Table, csv_table, latex_table, markdown_table
from gan_jax.roots import pair_part
from gan_jax.transfer.benchmark import BenchmarkConfig, TrialId, current
from gan_jax.transfer.benchmark.runner import SAMPLES, identity
from gan_jax.transfer.cells import Trial

# ----------------------------------------------------------------------------------------------------------------------
# Blocks of finished trials: those of one source, target and number of shots, which may be compared.

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Block:
    """Trials under one protocol.

    Attributes:
      source, target, shots: what the trials have in common; trials from scratch stand in the blocks of all sources.
      relation: of the target to the sources: near or far.
      rows: rows of the finished trials by method, with the learning rate in its name where there are several.
      failures: by method, the reason of each failure and how many trials failed by it.
      title: for headings and file names.
    """

    source: str
    target: str
    shots: int
    relation: str
    rows: dict[str, list[Row]]
    failures: dict[str, dict[str, int]]
    title: str

    @property
    def first(self) -> Row:
        """Any row, for what all rows have in common."""
        return next(iter(self.rows.values()))[0]

    def ends(self, method: str, key: str) -> list[float]:
        """The final value of every seed; empty where it was not measured."""
        return [row["end"][key] for row in self.rows[method] if row["end"].get(key) is not None]

    def trials(self, *methods: str) -> list[Trial]:
        """The trials as `Trial`; with several methods, only the seeds that all of them finished."""
        common = set.intersection(*({row["seed"] for row in self.rows[method]} for method in methods))
        return [
            Trial(
                method, row["seed"], row["train_hash"], row["reference_hash"],
                [{**evaluation, "protocol": row["protocol"]} for evaluation in row["evaluations"]],
            )
            for method in methods for row in self.rows[method] if row["seed"] in common
        ]  # fmt: skip


def blocks(config: BenchmarkConfig, lines: dict[TrialId, Row]) -> list[Block]:
    """All blocks with a finished or failed trial, in the order of the configuration."""
    out = []
    for source in config.sources:
        for target in config.targets:
            for shots in config.shots:
                rows: dict[str, list[Row]] = {}
                failures: dict[str, dict[str, int]] = {}
                for trial, row in lines.items():
                    if (trial.target, trial.shots) != (target, shots) or trial.source not in (None, source):
                        continue
                    name = trial.method + (f", lr {trial.lr:g}" if len(config.rates) > 1 else "")
                    if "failed" in row:
                        reasons = failures.setdefault(name, {})
                        reasons[row["failed"]] = reasons.get(row["failed"], 0) + 1
                    else:
                        rows.setdefault(name, []).append(row)
                if rows or failures:
                    names = [source] * (len(config.sources) > 1) + [target]
                    title = ", ".join([*names, *([f"{shots} shots"] if len(config.shots) > 1 else [])])
                    relation = config.targets[target].relation
                    out.append(Block(source, target, shots, relation, rows, failures, title))
    return out


def baseline(config: BenchmarkConfig, block: Block, method: str) -> str | None:
    """The baseline of a method's learning rate; None where it has not finished."""
    if config.baseline is None:
        return None
    _, comma, rate = method.partition(", ")
    name = config.baseline + comma + rate
    return name if name in block.rows else None


# ----------------------------------------------------------------------------------------------------------------------
# The tables of a benchmark: quality, overview over targets, time to the baseline's quality, cost of a step.

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
    "l1": ("L1", "lower", 4),
    "psnr": ("PSNR", "higher", 2),
    "ssim": ("SSIM", "higher", 3),
    "ms_ssim": ("MS-SSIM", "higher", 3),
    "lpips": ("LPIPS", "lower", 3),
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
        trials = block.trials(method, against)
        if not trials:
            continue
        seeds = reached(trials, method, against, key)
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
            **{part: sum(n for name, n in row["trained"].items() if pair_part(name) == part) for part in ("g", "d")},
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
    return Table(columns, rows, "Trials that failed.") if rows else None


def _named(block: Block, key: str) -> tuple[str, str, Any, int]:
    """(title, unit, better, decimals) of a measurement; distances are named after their feature network."""
    title, better, decimals = MEASURES[key]
    return (f"{title} ({block.first['measured']})" if key in ("kid", "fd") else title), "", better, decimals


# ----------------------------------------------------------------------------------------------------------------------
# The page of a benchmark: overview, pictures of one seed, curves, all tables, costs.

SHOWN = 10  # images in a row of the page
CURVES = 4  # methods in a chart, without those that stand in every one
ALWAYS = ("scratch", "finetune")


def charts(config: BenchmarkConfig, block: Block, key: str = "kid") -> list[Chart]:
    """Means with intervals over images and seconds; few methods in each chart, with `ALWAYS` in all of them."""
    steady = [name for name in block.rows if name.partition(",")[0] in ALWAYS]
    remaining = [name for name in block.rows if name not in steady]
    groups = [remaining[i : i + CURVES] for i in range(0, len(remaining), CURVES)] or [[]]
    out = []
    for group in groups:
        names = {name: name for name in [*steady, *group]}
        trials = [trial for name in names for trial in block.trials(name)]
        chart = make_chart(trials, names, key)
        out.append(_titled(chart, f"{block.title} ({block.relation}): {chart.title}"))
    return out


def strips(block: Block, samples: Path) -> list[PictureRow]:
    """A row of real images, then a row for each method: its first seed, not picked."""
    out = []
    if (real := samples / f"real-{block.target}.npy").exists():
        out.append(PictureRow(f"{block.title}: real", np.load(real, allow_pickle=False)[:SHOWN], "not trained on"))
    for name, rows in block.rows.items():
        trial: TrialId = identity(rows[0])
        if (path := samples / f"{trial.name}.npy").exists():
            images = np.load(path, allow_pickle=False)[:SHOWN]
            out.append(PictureRow(f"{block.title}: {name}", images, f"seed {trial.seed}"))
    return out


def make_page(
    config: BenchmarkConfig, blocks: Sequence[Block], tables: Sequence[tuple[str, Table]], samples: Path, command: str
) -> Report:
    """The page of blocks with finished trials.

    Args:
      config: of the benchmark.
      blocks: with finished trials.
      tables: (title, table) of all tables, the overview first.
      samples: folder of the trials' images.
      command: that makes the page again.
    """
    lines = {name: rows[0] for block in reversed(blocks) for name, rows in block.rows.items()}
    first, runs = blocks[0].first, sum(len(rows) for block in blocks for rows in block.rows.values())
    device = first["device"]
    return Report(
        title=config.title,
        summary=(
            f"{len(lines)} methods on {', '.join(block.title for block in blocks)}: "
            f"{runs} runs of {first['images']:,} images each (batch {config.base.train.batch}), a method's preparation "
            "counted; the same recipe, networks and seeds for all. Each number is of the last state of a run, never of its best."
        ),
        results=tables[0][1],
        tables=tuple(tables[1:]),
        command=command,
        facts=(
            *(Fact(f"protocol, {block.title}", block.first["protocol"], code=True) for block in blocks),
            Fact("sources", ", ".join(config.sources.values()), code=True),
            Fact("seeds", ", ".join(map(str, config.seeds))),
            Fact("device", f"{device['count']} x {device['kind']}"),
        ),
        versions=first["versions"],
        pictures=tuple(row for block in blocks for row in strips(block, samples)),
        pictures_note="The same latents in every row of a target; the first of them, not picked.",
        charts=tuple(chart for block in blocks for chart in charts(config, block)),
        costs=tuple(Cost(name, row["flops_per_step"]) for name, row in _finetune_first(lines).items()),
        costs_note="One step of D and G, as XLA counts it. What is done in some steps only counts as if in each.",
        limits=tuple(
            f"{block.title}: the feature network does not know such images; its numbers rank methods on this target only."
            for block in blocks if block.first["relative_only"]
        ),
    )  # fmt: skip


def _finetune_first(lines: dict[str, dict]) -> dict[str, dict]:
    return {name: lines[name] for name in sorted(lines, key=lambda name: name.partition(",")[0] != "finetune")}


def _titled(chart: Chart, title: str) -> Chart:
    import dataclasses

    return dataclasses.replace(chart, title=title)


# ----------------------------------------------------------------------------------------------------------------------
# Writes a benchmark's results: tables in three formats, curves, grids of every trial, one page.

FORMATS = {"md": markdown_table, "csv": csv_table, "tex": latex_table}


def write_benchmark(config: BenchmarkConfig, out: str | Path, command: str = "") -> list[tuple[str, Table]]:
    """Writes the results of a folder's trials; returns (title, table) of all tables.

    Args:
      config: of the benchmark; rows of other configurations are left out.
      out: folder of `cells.jsonl`; it gets `tables/`, `curves/`, `grids/` and `index.html`.
      command: that makes all of it again, for the page.
    """
    out, all_blocks = Path(out), blocks(config, current(Path(out), config))
    finished = [block for block in all_blocks if block.rows]
    named = list(_tables(config, all_blocks, finished))
    for name, _, table in named:
        for ending, render in FORMATS.items():
            write_atomically(out / "tables" / f"{name}.{ending}", render(table).encode())
    for block in finished:
        name = file_name(block)
        for i, chart in enumerate(charts(config, block)):
            write_curves(out / "curves" / f"{name}-{i + 1}.png", chart)
        rows = strips(block, out / SAMPLES)
        if rows:
            write_png(out / "grids" / f"{name}.png", labelled_grid([(row.label, row.images) for row in rows]))
    for path in sorted((out / SAMPLES).glob("*.npy")):
        images = np.load(path, allow_pickle=False)
        grid = make_grid(images, scale=readable_scale(images))
        write_png(out / "grids" / f"{path.stem}.png", grid)
    titled = [(title, table) for _, title, table in named]
    if finished:
        write_report(out / "index.html", make_page(config, finished, titled, out / SAMPLES, command))
    return titled


def _tables(
    config: BenchmarkConfig, all_blocks: list[Block], finished: list[Block]
) -> Iterator[tuple[str, str, Table]]:
    """(file name, title, table) of all tables."""
    if finished:
        yield "overview", "KID, method x target", overview(finished)
    for block in finished:
        yield f"{file_name(block)}-quality", f"Quality: {block.title}", quality(block)
    for block in finished:
        table = reach(config, block)
        if table is not None:
            yield f"{file_name(block)}-reach", f"Time to {config.baseline}'s final KID: {block.title}", table
    if finished:
        yield "cost", "What a step costs", cost(finished)
    if (table := failures(all_blocks)) is not None:
        yield "failures", "Failed trials", table


def file_name(block: Block) -> str:
    """`fashion16-boot-100`."""
    return f"{block.source}-{block.target}-{block.shots}"
