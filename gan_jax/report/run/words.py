"""A run in words: its title, its status, its highlights, and the commands that go on from it."""

from __future__ import annotations

import shlex

from gan_jax.config import family_title, kind_in
from gan_jax.report.content import Highlight
from gan_jax.report.progress import clock_text
from gan_jax.report.run.facts import images_per_s
from gan_jax.report.run.folder import RunFolder
from gan_jax.report.run.reading import is_number

COLOURS = {1: "grey", 3: "colour", 4: "colour with alpha"}


def short(spec: str) -> str:
    """The last name of a spec or a path: `emoji` of `embedded:emoji`, `photos` of `folder:/data/photos/`."""
    return spec.rstrip("/").rpartition("/")[2].rpartition(":")[2] or spec


def data_name(run: RunFolder) -> str:
    """The short name of the images."""
    return short(str(run.option("data.source", "unknown data")))


def title(run: RunFolder) -> str:
    """`emoji, adapted from fashion16 with freeze_d`."""
    sources = [short(source) for source in run.sources]
    if run.method == "scratch" or not sources:
        return f"{data_name(run)}, trained from scratch"
    if len(sources) > 1:
        return f"{data_name(run)}, fused from {', '.join(sources[:-1])} and {sources[-1]} with {run.method}"
    return f"{data_name(run)}, adapted from {sources[0]} with {run.method}"


def status(run: RunFolder) -> str:
    """How far the run got, in a sentence."""
    total = run.total
    of = "" if total is None else f" of {total:,}"
    progress = f"{run.images:,}{of} images"
    if run.finished:
        return f"Finished: {progress} were shown to D."
    if run.weights and run.weights_images is not None:
        more = "" if run.images == run.weights_images else f"; its weights are of {run.weights_images:,}"
        return f"Not finished: it was stopped, or made longer, after {progress}{more}."
    if not run.images:
        return "It has not trained yet: no row of metrics, no checkpoint and no weights are there."
    saved = f"its newest checkpoint is of {run.checkpoints[-1]:,} images" if run.checkpoints else "it has no checkpoint"
    return f"Not finished: {progress} so far, and no weights yet. It is still training, or was ended in the middle; {saved}."


def lead(run: RunFolder) -> str:
    """Two or three sentences below the title."""
    shots, count = run.option("data.shots"), run.data.get("count")
    many = (
        f"{shots:,} images of " if isinstance(shots, int) else f"{count:,} images of " if isinstance(count, int) else ""
    )
    side, channels = run.option("net.resolution"), run.option("net.channels")
    shape = "" if side is None else f", {side} x {side} px, {COLOURS.get(channels, f'{channels} channels')}"
    net = family_title(kind_in(run.option("net")))
    began = f"from {' and '.join(run.sources)}" if run.sources else "from fresh weights"
    what = f"{net} pair" if net else "Pair"
    return f"{what} trained {began} on {many}{run.option('data.source', 'unknown data')}{shape}.\n\n{status(run)}"


def highlights(run: RunFolder) -> list[Highlight]:
    """The numbers at the top."""
    of = "" if run.total is None else f"of {run.total:,}"
    took = "" if run.seconds is None else f"in {clock_text(run.seconds)}"
    rate = images_per_s(run.metrics)
    out = [Highlight(f"{run.images:,}", "images shown", ", ".join(filter(None, (of, took))))]
    last = run.evaluations[-1] if run.evaluations else {}
    for key, name in (("fd", "Frechet distance"), ("kid", "KID")):
        if is_number(last.get(key)):
            out.append(Highlight(_number(last[key]), name, "lower is better"))
    if is_number(last.get("precision")) and is_number(last.get("recall")):
        out.append(Highlight(f"{last['precision']:.2f} / {last['recall']:.2f}", "precision / recall", "1 is best"))
    if len(out) == 1 and rate is not None:
        out.append(Highlight(f"{rate:,.0f}", "images a second", "without evaluations"))
    return out


def commands(run: RunFolder) -> list[tuple[str, str]]:
    """(what, command) to go on with."""
    folder, out = shlex.quote(str(run.path)), []
    if run.finished:
        kimg = run.option("train.kimg", 1.0)
        out.append(("train it for twice as long", f"gan-jax train {folder} --train.kimg {2 * kimg:g}"))
    else:
        out.append(("go on with the run", f"gan-jax train {folder}"))
    if run.weights:
        out += [
            ("draw images", f"gan-jax sample {folder} --n 64 --out grid.png"),
            ("measure it", f"gan-jax evaluate {folder}{measured_by(run)}"),
            ("start another run from it", f"gan-jax transfer --transfer.source {folder} --data.source folder:PHOTOS"),
            ("where each leaf comes from", f"gan-jax inspect {folder} --provenance"),
        ]
    return [*out, ("make this page again", f"gan-jax report {folder}")]


def measured_by(run: RunFolder) -> str:
    """The option that `gan-jax evaluate` needs for a run that was not evaluated; "" for others."""
    none = run.config is not None and run.config.evaluate.features is None
    return " --evaluate.features fashion-v1" if none else ""


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
