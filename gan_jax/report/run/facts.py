"""Facts of a run in words: its title and progress, its cost, data, options and commands."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from gan_jax.config import Config, family_title, kind_in, to_dict
from gan_jax.report.html import Fact, Highlight, bullets, escape, fact_list, folded, paragraphs
from gan_jax.report.run.folder import CHECKPOINTS, Row, RunFolder, bytes_text, folder_bytes, one_line
from gan_jax.report.table import Column, Table, html_table
from gan_jax.report.watch import clock_text
from gan_jax.tasks.model import WEIGHTS
from gan_jax.train.rows import is_number

# ----------------------------------------------------------------------------------------------------------------------
# Small pieces of a run's page.


def note(*sentences: str) -> str:
    """Sentences as one small paragraph; "" without any."""
    text = " ".join(filter(None, sentences))
    return f'<p class="note">{escape(text)}</p>' if text else ""


def guarded(make: Callable[[], str], what: str) -> str:
    """A section as HTML; where it fails, a sentence that says so."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  one part must not cost the page
        return paragraphs(f"{what} could not be shown: {one_line(error)}.")


def at(row: Mapping[str, Any]) -> str:
    """`After 2,048 images`."""
    return f"After {row['images']:,.0f} images"


# ----------------------------------------------------------------------------------------------------------------------
# A run in words: its title, its status, its highlights, and the commands that go on from it.

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


# ----------------------------------------------------------------------------------------------------------------------
# Facts, each a name and a value: what was run, its cost, its data, its options.


def images_per_s(rows: list[Row]) -> float | None:
    """The median speed of logged dispatches, without the first one, which waited for compilation."""
    rates = sorted(row["images_per_s"] for row in (rows[1:] or rows) if is_number(row.get("images_per_s")))
    return rates[len(rates) // 2] if rates else None


def facts(run: RunFolder) -> list[Fact]:
    """The facts of what was run: data, sources, method, loss, device."""
    device: Any = run.record.get("device")
    where = "not recorded"
    if isinstance(device, Mapping):
        where = f"{device.get('count')} x {device.get('kind')} ({device.get('platform')})"
    classes = run.option("data.classes")
    rows = [
        ("images", run.option("data.source", "unknown"), True),
        ("classes", ", ".join(map(str, classes)) if classes else None, False),
        ("images to train on", _shots(run), False),
        ("started from", ", ".join(run.sources) or "fresh weights", bool(run.sources)),
        ("method", run.method, True),
        ("loss", run.option("loss.name"), True),
        ("augmentation", _augmentation(run), False),
        ("batch and seed", f"{run.option('train.batch', '?')}, seed {run.option('train.seed', '?')}", False),
        ("device", where, False),
        ("folder", str(run.path), True),
    ]
    method_function = run.record.get("method", "table")
    rows += [("method's function", method_function, True)] if method_function != "table" else []
    forked = run.record.get("forked_from")
    rows += [("forked from", _forked(forked), False)] if forked else []
    return [Fact(name, str(value), code) for name, value, code in rows if value is not None]


def costs(run: RunFolder, flops: float | None) -> list[Fact]:
    """The facts of what the run took, as far as they are recorded: time, speed, parameters, memory, disk."""
    out = []
    if run.seconds is not None:
        out.append(Fact("training", f"{clock_text(run.seconds)} ({run.seconds:,.0f} s), over all its processes"))
    if (rate := images_per_s(run.metrics)) is not None:
        out.append(Fact("speed", f"{rate:,.0f} images/s (median of logged dispatches, without evaluations)"))
    for network, root in (("G", "g_ema"), ("D", "d")):
        if values := _values(run.manifest, root):
            out.append(Fact(f"parameters of {network}", f"{values:,}"))
    if flops is not None:
        out.append(Fact("a step of D and G", f"{flops:,.0f} floating-point operations, as XLA counts them"))
    peaks = [value for row in run.metrics for key, value in row.items() if "peak" in key and is_number(value)]
    out.append(Fact("peak memory", bytes_text(max(peaks)) if peaks else "not recorded by this run"))
    sizes = [(at, folder_bytes(run.path / CHECKPOINTS / str(at))) for at in run.checkpoints]
    listed = ", ".join(f"{bytes_text(size)} at {at:,} images" for at, size in sizes)
    out.append(Fact("checkpoints", listed or "none"))
    weights = folder_bytes(run.path / WEIGHTS)
    out.append(Fact("weights", bytes_text(weights) if weights else "none yet"))
    return out


def data_facts(run: RunFolder) -> list[Fact]:
    """The facts in data.json, those with a known name first."""
    names = {"name": "name", "count": "images to train on", "spec": "read from", "train": "fingerprint of training images",
             "reference": "fingerprint of reference", "class_names": "classes"}  # fmt: skip
    values = {key: value for key, value in run.data.items() if value is not None and key != "digests"}
    order = [*(key for key in names if key in values), *(key for key in values if key not in names)]
    code = ("spec", "train", "reference")
    return [Fact(names.get(key, key), _plain(values[key]), key in code) for key in order]


def changed_options(run: RunFolder) -> list[tuple[str, str, str]] | None:
    """(option, value, default) of each changed option; None where the configuration cannot be read.

    Defaults are those of the run's network family and method.
    """
    if run.config is None:
        return None
    net, transfer = type(run.config.net), type(run.config.transfer)
    default = _flat(to_dict(Config(net=net(), transfer=transfer())))
    return [
        (key, value, default.get(key, "–"))
        for key, value in _flat(to_dict(run.config)).items()
        if value != default.get(key)
    ]


def configuration(run: RunFolder) -> Any:
    """The configuration as plain JSON values, with the defaults where it can be read."""
    return run.record.get("config") if run.config is None else to_dict(run.config)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return out


def _shots(run: RunFolder) -> str:
    shots, count, held_out = run.option("data.shots"), run.data.get("count"), run.option("data.reference")
    many = f"{shots:,}, chosen with seed {run.option('data.subset_seed', 0)}" if isinstance(shots, int) else "all"
    many += f" ({count:,})" if isinstance(count, int) and count != shots else ""
    return many + (f"; {held_out:,} others held out for evaluation" if isinstance(held_out, int) else "")


def _augmentation(run: RunFolder) -> str:
    policy, ada = run.option("augment.policy") or [], run.option("augment.ada")
    parts = [", ".join(map(str, policy))] if policy else []
    parts += [f"ADA {ada}"] if ada else []
    parts += ["horizontal flips of real images"] if run.option("data.mirror") else []
    return "; ".join(parts) or "none"


def _values(manifest: Mapping[str, Any], root: str) -> int:
    leaves = manifest.get("leaves")
    if not isinstance(leaves, Mapping):
        return 0
    shapes = [leaf["shape"] for path, leaf in leaves.items() if path.startswith(f"{root}/params/")]
    return sum(math.prod(shape) for shape in shapes)


def _forked(origin: Any) -> str:
    """`runs/a at 512 images, itself forked from runs/b at 256 images`."""
    if not isinstance(origin, Mapping) or "folder" not in origin:
        return _plain(origin)
    images = origin.get("images")
    first = f"{origin['folder']} at {images:,} images" if isinstance(images, int) else str(origin["folder"])
    return f"{first}, itself forked from {_forked(origin['forked_from'])}" if origin.get("forked_from") else first


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


# ----------------------------------------------------------------------------------------------------------------------
# The last sections of a run's page: notes, data, configuration, commands.


def notes_section(run: RunFolder) -> str:
    """The log messages of the run."""
    if not run.notes:
        return paragraphs("The run kept no notes.")
    lines = [
        f"{at(row)}: {row['text']}" if is_number(row.get("images")) and row["images"] else row["text"]
        for row in run.notes
    ]
    counted = {line: lines.count(line) for line in lines}
    notes = [f"{line} ({count} times)" if count > 1 else line for line, count in counted.items()]
    rest = folded(f"All {len(notes)} notes", "\n".join(notes)) if len(notes) > 40 else ""
    return bullets(notes[:20] + notes[-20:] if rest else notes) + rest


def data_section(run: RunFolder) -> str:
    """The facts in data.json."""
    data = data_facts(run)
    return fact_list(data) if data else paragraphs("The run did not record what it read (data.json).")


def configuration_section(run: RunFolder) -> str:
    """The changed options; the full configuration and package versions, folded."""
    changed = changed_options(run)
    if changed is None:
        out = paragraphs("This version cannot read the configuration; it is shown as it was written.")
    elif not changed:
        out = paragraphs("Every option has its default.")
    else:
        columns = (Column("option", code=True), Column("value", code=True), Column("default", code=True))
        rows = [{"option": option, "value": value, "default": default} for option, value, default in changed]
        caption = "Options that differ from the defaults of these networks and this method."
        out = html_table(Table(columns, rows, caption))
    out += folded("The whole configuration", json.dumps(configuration(run), indent=2, ensure_ascii=False))
    versions = run.record.get("versions")
    if isinstance(versions, Mapping):
        out += folded("Package versions", "\n".join(f"{name}=={version}" for name, version in versions.items()))
    return out


def commands_section(run: RunFolder) -> str:
    """The commands that go on from the run."""

    def as_words(command: str) -> str:  # a phone breaks the line only between words
        return " ".join(f'<span class="word">{escape(word)}</span>' for word in command.split(" "))

    lines = [f"<dt>{escape(what)}</dt><dd><code>{as_words(command)}</code></dd>" for what, command in commands(run)]
    return f'<dl class="facts">{"".join(lines)}</dl>'
