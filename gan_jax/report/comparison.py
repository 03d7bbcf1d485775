"""The report that compares an adapted run with one from scratch: its numbers and its page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gan_jax.config import DiagnoseConfig, FreezeDConfig, to_dict
from gan_jax.data import Images
from gan_jax.metrics import Memorisation, Protocol, extract, memorisation
from gan_jax.nets import build
from gan_jax.report.curves import Chart, Curve
from gan_jax.report.grids import labelled_grid, make_gallery
from gan_jax.report.html import Cost, Fact, Highlight, PictureRow, Report
from gan_jax.report.table import Column, Table
from gan_jax.surgery import Difference, Plan
from gan_jax.tasks.model import load as load_model
from gan_jax.tasks.model import run_config
from gan_jax.train.rows import read_rows
from gan_jax.transfer.diagnostics import checks
from gan_jax.transfer.evaluation import Evaluator
from gan_jax.transfer.method import step_flops
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.run import EVALUATIONS, RunResult, versions
from gan_jax.transfer.start import make_start

if TYPE_CHECKING:
    from gan_jax.surgery.plan import PlanEntry


# ----------------------------------------------------------------------------------------------------------------------
# A transplant's plan as a table for the page: the source of every leaf of the target.

PLAN_COLUMNS = (
    Column("target", "target leaf", code=True),
    Column("op", "operation"),
    Column("sources", "source leaf", code=True),
    Column("was", "source shape", code=True),
    Column("shape", "target shape", code=True),
    Column("values"),
    Column("frozen"),
)


def plan_to_table(plan: Plan) -> Table:
    """One row for each leaf of the target, in the order of the plan; empty columns are left out."""
    rows = [_row(entry) for entry in plan.entries]
    used = tuple(column for column in PLAN_COLUMNS if any(row[column.key] not in ("", None) for row in rows))
    caption = " ".join(plan.notes)
    if plan.unused:
        caption = f"{caption} Not used of the source: {', '.join(plan.unused)}.".strip()
    return Table(used, rows, caption)


def _row(entry: PlanEntry) -> dict[str, object]:
    same = entry.sources == (entry.target,)
    return {
        "target": entry.target,
        "op": entry.op.replace("+", ", then "),
        "sources": "same path" if same else " + ".join(entry.sources) or None,
        "was": " + ".join(map(_shape, entry.source_shapes)) or None,
        "shape": _shape(entry.target_shape),
        "values": entry.size,
        "frozen": "frozen" if entry.frozen else "",
    }


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


# ----------------------------------------------------------------------------------------------------------------------
# The checks of a run's last evaluation, as sentences and a table for the page.

CHECK_COLUMNS = (
    Column("run"),
    Column("name", "failure"),
    Column("what", "number"),
    Column("value", "value"),
    Column("limit", "warns"),
    Column("result"),
)


def diagnoses(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], limits: DiagnoseConfig
) -> tuple[Table, tuple[str, ...]]:
    """The table of all checks of each run's last evaluation, and a sentence for each check that warns.

    Args:
      curves: evaluations by run name.
      limits: beyond which a check warns.
    """
    outcomes = [(run, check) for run, rows in curves.items() if rows for check in checks(rows, limits)]
    table = Table(
        CHECK_COLUMNS,
        [
            {
                "run": run,
                "name": check.name,
                "what": check.what,
                "value": check.value,
                "limit": f"{'below' if check.below else 'above'} {check.limit:g}",
                "result": "warns" if check.warns else "passes",
            }
            for run, check in outcomes
        ],
        "Of the last evaluation of each run.",
    )
    return table, tuple(f"{run}: {check.note}" for run, check in outcomes if check.warns)


# ----------------------------------------------------------------------------------------------------------------------
# The comparison: its numbers and its page.

SHOWN = 10  # images in a row of the picture
MEASURES = ("fd", "kid", "precision", "recall", "density", "coverage")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs on one target, with their start and their measurements."""

    target: str
    adapted: RunResult
    scratch: RunResult
    before: dict[str, float]  # metrics of the transplanted pair before training
    plan: Plan
    differences: dict[str, Difference]  # between the transplanted networks' outputs and the source's, by network
    curves: dict[str, list[dict[str, Any]]]  # evaluations by run
    memory: Memorisation  # of the adapted run
    pictures: tuple[PictureRow, ...]
    generated: np.ndarray  # [N, H, W, C] uint8 of the adapted run, the images of `memory`

    @property
    def protocol(self) -> Protocol:
        """The protocol of every number here."""
        assert self.adapted.protocol is not None
        return self.adapted.protocol

    def reached(self) -> dict[str, Any] | None:
        """The adapted run's first evaluation that is at least as good as scratch's last KID; None = not reached."""
        final = self.curves["scratch"][-1]["kid"]
        return next((row for row in self.curves["adapted"] if row["kid"] <= final), None)


def compare(adapted: RunResult, scratch: RunResult, target: str) -> Comparison:
    """Compares two finished runs; measures the start and the memorisation, which no run measures."""
    config: Any = run_config(adapted.folder)
    evaluator = adapted.evaluator
    assert isinstance(evaluator, Evaluator), "a comparison needs runs that evaluate"
    start = make_start(config, adapted.pair, make_method(config.transfer, adapted.pair))
    assert start.plan is not None and start.differences is not None
    images = {name: evaluator.sample(g) for name, g in (
        ("before", start.nets["g"]), ("adapted", adapted.state.ema["g"]), ("scratch", scratch.state.ema["g"]),
    )}  # fmt: skip
    shots = adapted.dataset.train
    assert isinstance(shots, Images), "few shots are in memory"
    before = extract(evaluator.net, images["before"])
    fake, train = extract(evaluator.net, images["adapted"]), extract(evaluator.net, shots.images)
    source = load_model(config.transfer.source)
    real = adapted.dataset.reference.images
    spread = np.linspace(0, len(real) - 1, SHOWN).round().astype(int)  # neighbours in a data set are often alike
    rows = (
        PictureRow("real target", real[spread], "not trained on"),
        PictureRow("source", source.sample(evaluator.sample_key, SHOWN), f"{source.config.resolution} px"),
        PictureRow("transplanted", images["before"][:SHOWN], "before training"),
        PictureRow("adapted", images["adapted"][:SHOWN], f"{int(adapted.state.images):,} images"),
        PictureRow("from scratch", images["scratch"][:SHOWN], f"{int(scratch.state.images):,} images"),
    )
    return Comparison(
        target,
        adapted,
        scratch,
        evaluator.numbers(before),
        start.plan,
        start.differences,
        {name: read_rows(result.folder / EVALUATIONS) for name, result in (("adapted", adapted), ("scratch", scratch))},
        memorisation(fake.values, train.values, evaluator.reference.values if adapted.dataset.held_out else None),
        rows,
        images["adapted"],
    )


def to_json(c: Comparison) -> dict[str, Any]:
    """The numbers as JSON values, with all that they depend on."""
    devices = jax.devices()
    return {
        "target": c.target,
        "protocol": dataclasses.asdict(c.protocol) | {"id": c.protocol.id},
        "train_hash": c.adapted.dataset.train_hash,
        "reference_hash": c.adapted.dataset.reference_hash,
        "before": c.before,
        "evaluations": c.curves,
        "reached_scratch": c.reached(),
        "memorisation": {"ratio": c.memory.ratio, "closer": c.memory.closer},
        "preserved": {name: difference.relative for name, difference in c.differences.items()},
        "device": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "versions": versions(),
    }


def picture(report: Report) -> np.ndarray:
    """The rows of a report as one picture."""
    return labelled_grid([(f"{row.label} ({row.note})", row.images) for row in report.pictures])


def results_table(c: Comparison) -> Table:
    """One row for the start, and one for the last state of each run, never its best."""
    title = c.protocol.title
    better: dict[str, Any] = {"fd": "lower", "kid": "lower"}
    columns = (
        Column("run"),
        Column("images", decimals=0),
        Column("seconds", "seconds", decimals=0),
        *(Column(key, title(key) if key in better else key, better=better.get(key, "higher")) for key in MEASURES),
    )
    last = {name: rows[-1] for name, rows in c.curves.items()}
    rows = [
        {"run": "transplanted, before training", "images": 0, "seconds": 0, **c.before},
        {"run": "adapted", **last["adapted"]},
        {"run": "from scratch", **last["scratch"]},
    ]
    caption = (
        f"Against {c.protocol.n_real} real images outside the {len(c.adapted.dataset.train)} trained on; "
        f"{c.protocol.n_fake} generated; the last state of each run, never its best; equal images for both. "
        f"Protocol {c.protocol.id}."
    )
    if c.protocol.relative_only:
        caption += " " + c.protocol.describe()[-1].capitalize() + "."
    return Table(columns, rows, caption)


def make_report(c: Comparison, command: str) -> Report:
    """The page of a comparison."""
    config: Any = run_config(c.adapted.folder)
    source = load_model(config.transfer.source)
    adapted, scratch, reached = c.curves["adapted"][-1], c.curves["scratch"][-1], c.reached()
    data, shots = c.adapted.dataset, c.adapted.dataset.train
    assert isinstance(shots, Images)
    n = len(shots)
    when = reach_text(reached) + (f", {reached['seconds']:.0f} s" if reached else "")
    begin = {"images": 0, "seconds": 0.0, **c.before}
    points = {name: [begin, *rows] if name == "adapted" else rows for name, rows in c.curves.items()}
    ahead = "ahead of" if adapted["kid"] < scratch["kid"] else "behind"
    devices = jax.devices()
    totals = c.plan.totals
    values = sum(totals.values())
    origins = ", ".join(f"{100 * share / values:.0f} % {name}" for name, share in totals.items())
    diagnosed, warnings = diagnoses(c.curves, config.diagnose)
    frozen = {blocks: _frozen(config, blocks) for blocks in (1, 2)}
    return Report(
        title=f"{NOUNS[c.target].capitalize()} from {n} images, with and without a pretrained pair",
        summary=(
            f"A generator and a discriminator that learnt eight kinds of clothing at {source.config.resolution} px were "
            f"transplanted into a wider pair at {config.net.resolution} px and adapted to {n} images of "
            f"{NOUNS[c.target]}, which they never saw. The same pair was trained from fresh weights on as many images."
            f"\n\nAfter {adapted['images']:,} images the adapted pair is {ahead} the other in KID, "
            f"{adapted['kid']:.3f} to {scratch['kid']:.3f}. It reached scratch's last KID after: {when}."
        ),
        results=results_table(c),
        command=command,
        highlights=(
            Highlight(f"{adapted['kid']:.3f}", "KID, adapted", f"from scratch: {scratch['kid']:.3f}; lower is better"),
            Highlight(f"{adapted['recall']:.2f}", "recall, adapted", f"from scratch: {scratch['recall']:.2f}"),
            Highlight(reach_text(reached), "to scratch's last KID", f"scratch: {scratch['images']:,} images"),
        ),
        facts=(
            Fact("target", f"{data.train.name}: {n} images to train on, {len(data.reference)} as the reference"),
            Fact("source pair", config.transfer.source, code=True),
            Fact(
                "budget",
                f"{adapted['images']:,} images each, batch {config.train.batch}, one seed ({config.train.seed})",
            ),
            Fact("device", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"),
            *(Fact("protocol" if i == 0 else "", line) for i, line in enumerate(c.protocol.describe())),
            Fact("chosen images", data.train_hash, code=True),
            Fact("reference images", data.reference_hash, code=True),
        ),
        config=to_dict(config),
        versions=versions(),
        pictures=c.pictures,
        pictures_note="Every row but the first shows the same ten latents, not picked.",
        charts=tuple(
            Chart(
                c.protocol.title(key),
                c.protocol.title(key),
                tuple(
                    Curve(name, *(([r[k] for r in rows]) for k in ("images", key, "seconds")))
                    for name, rows in points.items()
                ),
                note=note,
            )
            for key, note in (
                ("kid", "Lower is better."),
                ("recall", "Higher is better: how much of the target is covered."),
            )
        ),  # fmt: skip
        gallery=make_gallery(
            c.generated,
            shots.images,
            c.memory.indices,
            c.memory.distances,
            reference_distances=c.memory.held_out_distances,
            closer=c.memory.closer,
            space=f"{c.protocol.extractor} features",
        ),  # fmt: skip
        warnings=warnings,
        diagnoses=diagnosed,
        plan=plan_to_table(c.plan),
        plan_summary=(
            f"{len(c.plan.entries)} leaves, {values:,} values: {origins}. Measured on probes, before training: "
            f"G {c.differences['g']}; D {c.differences['d']}."
        ),
        costs=(
            Cost("nothing frozen", _flops(config)),
            *(Cost(f"from_rgb and {b} block{'s' * (b > 1)} of D frozen", _flops(other)) for b, other in frozen.items()),
        ),
        costs_note="One step of D and G, as XLA counts it: frozen leaves have no backward pass.",
        limits=(
            "One seed: what differs by chance is in the quickstart experiment, over five.",
            "The feature network is a small classifier of clothing. Its FD and KID are no FID, and compare only with "
            "numbers of the same protocol.",
            f"{config.net.resolution} px, a network of {config.net.channel_max} channels, minutes of training.",
        ),
    )


def reach_text(row: dict[str, Any] | None) -> str:
    """`2,048 images`, or that it was not reached."""
    return f"{row['images']:,} images" if row else "not reached"


def _frozen(config: Any, blocks: int) -> Any:
    return dataclasses.replace(config, transfer=FreezeDConfig(source=config.transfer.source, blocks=blocks))


def _flops(config: Any) -> float:
    return step_flops(config, make_method(config.transfer, build(config.net)))


NOUNS = {"boot": "ankle boots", "coat": "coats", "emoji": "emoji in colour"}
