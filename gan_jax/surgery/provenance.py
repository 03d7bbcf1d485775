"""Where every leaf of a weights file or a checkpoint comes from: a history of steps, and the chain of one leaf.

A manifest's `history` is a list of steps, oldest first, plain JSON values. A source's history comes along whole, so
that A -> B -> C is in the manifest of C alone:

    {"kind": "transplant", "date", "versions", "source": {"name", "digest"}, "seed",
     "leaves": {target: {"op", "args", "sources": {path: digest}, "digest"}}, "dropped", "policies", "measured"}
    {"kind": "fuse", "date", "versions", "donors": [{"name", "history"}], "shares": {network: {group: [..]}}, "words"}
    {"kind": "import", "date", "versions", "source": {"name", "digest", "layout"}, "leaves": {as above}}
      (of two files: "source": {"files": {"g.": {"name", "digest"}, "d.": ..}, "layout"})
    {"kind": "train", "date", "versions", "images", "config", "frozen", "averages": {"g_ema": "g"}, "measured_anew"}

A source's `digest` is that of its manifest, which has one of every leaf; of a foreign file, that of the file. What is
empty is left out, as is a leaf's `digest` where it is a copy of its source. A leaf with an `of` comes from another
source, of that name; `chosen` says how one of several was chosen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from gan_jax.config import kind_in
from gan_jax.documents import VERSION, shown
from gan_jax.roots import average_of, is_network, network_of
from gan_jax.surgery.measure import Difference
from gan_jax.surgery.ops import OPS
from gan_jax.surgery.plan import Plan
from gan_jax.surgery.transplant import Report
from gan_jax.trees import TreeError, did_you_mean, match
from gan_jax.trees import digest as array_digest

Step = dict[str, Any]  # one step of a history, JSON values
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "safetensors")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What one step did to one leaf, and the origins of its sources.

    Attributes:
      path: the leaf's path after the step.
      step: number of the step in the history, from 1; 0 = before the history begins.
      words: what was done, for the eye.
      sources: one for each leaf that it was computed from; none where its values are fresh.
    """

    path: str
    step: int
    words: str
    sources: tuple[Origin, ...] = ()


def versions(packages: Sequence[str] = PACKAGES, *, python: bool = True) -> dict[str, str]:
    """Versions of this library, of the installed packages that numbers depend on, and of Python."""
    installed = ({"python": platform.python_version()} if python else {}) | {"gan_jax": VERSION}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) of a manifest's values: it names a source by all that is said of it, every leaf's digest included."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def transplant_step(
    plan: Plan,
    report: Report,
    source: Mapping[str, str | None],
    *,
    seed: int | None = None,
    measured: Mapping[str, Difference] | str | None = None,
) -> Step:
    """The record of a transplant.

    Args:
      plan: that was carried out.
      report: of `transplant`.
      source: `{"name", "digest"}` of the source: as it was asked for, and of its manifest (of the file where it is
        foreign).
      seed: of fresh values.
      measured: of the function on probes; text = why it was not measured.
    """
    leaves = {}
    for row in report.rows:
        copied = row.op == "copy" and row.digest in row.sources.values()
        record = {"op": row.op, "args": row.args, "sources": row.sources, "digest": None if copied else row.digest}
        leaves[row.target] = {key: value for key, value in record.items() if value}
    words = measured if isinstance(measured, str) else {k: v.to_dict() for k, v in (measured or {}).items()}
    body = {
        "source": dict(source), "seed": seed, "measured": words or None, "policies": dict(plan.policies),
        "dropped": list(plan.unused), "notes": list(plan.notes), "leaves": leaves,
    }  # fmt: skip
    return _stamp("transplant") | {key: value for key, value in body.items() if value not in (None, [], {})}


def import_step(
    files: Mapping[str, tuple[str, str]],
    layout: str,
    sources: Mapping[str, tuple[str, str]],
    leaves: Mapping[str, Any],
    computed: Mapping[str, str] | None = None,
) -> Step:
    """The record of an import.

    Args:
      files: what the names of its tensors begin with -> (the file's name, sha256 of the whole of it); "" where there
        is one file.
      layout: in which its tensors were found.
      sources: leaf -> (the tensor's name in the file, how its axes were turned).
      leaves: the values that were written.
      computed: leaf that the files lack -> what it was computed from.
    """
    records = {
        path: {"op": kind, "sources": {tensor: None}, "digest": array_digest(leaves[path])}
        for path, (tensor, kind) in sources.items()
    } | {path: {"op": words, "digest": array_digest(leaves[path])} for path, words in (computed or {}).items()}
    named = {start: {"name": name, "digest": digest} for start, (name, digest) in files.items()}
    source = named[""] if "" in named else {"files": named}
    return _stamp("import") | {"source": source | {"layout": layout}, "leaves": records}


def imported_files(step: Step) -> dict[str, Any]:
    """The files of an import: what the names of its tensors begin with -> `{"name", "digest"}`."""
    files = step["source"].get("files")
    return files if isinstance(files, dict) and files else {"": step["source"]}


def chosen_history(history: Sequence[Step], donor: Sequence[Step] | None, words: str) -> tuple[Step, ...]:
    """The history of a pair whose G was chosen among those of several sources, each transplanted alike.

    Args:
      history: of the source of D, and of G where `donor` is None; its last step is the transplant.
      donor: the same of the source that G is taken from.
      words: how it was chosen.
    """
    *before, last = history if donor is None else donor
    if donor is not None:
        other = history[-1]
        of_d = {path: leaf for path, leaf in other["leaves"].items() if path.startswith("d/")}
        named = {path: {**leaf, "of": other["source"]["name"]} for path, leaf in of_d.items()}
        last = {**last, "leaves": {**last["leaves"], **named}}
    return *before, {**last, "chosen": words}


def fused_history(
    history: Sequence[Step],
    names: Sequence[str],
    donors: Sequence[Sequence[Step]],
    shares: Mapping[str, Mapping[str, Sequence[float]]],
    words: str,
) -> tuple[Step, ...]:
    """The history of a pair that donors were mixed into, each transplanted into the same shape first.

    Args:
      history: of the pair that they were mixed into.
      names: of the donors.
      donors: their histories, which are kept whole.
      shares: network -> group of leaves -> the donors' shares.
      words: the same for the eye.
    """
    records = [{"name": name, "history": list(steps)} for name, steps in zip(names, donors, strict=True)]
    body = {"donors": records, "shares": {network: dict(of) for network, of in shares.items()}, "words": words}
    return *history, _stamp("fuse") | body


def train_step(
    images: int,
    config: Mapping[str, Any],
    *,
    frozen: Sequence[str] = (),
    measured_anew: Sequence[str] = (),
    averages: Sequence[str] = ("g",),
) -> Step:
    """The record of a training.

    Args:
      images: real images shown.
      config: of the run, JSON values.
      frozen: patterns over the leaves of the networks that were not trained.
      measured_anew: patterns over leaves that were measured on the trained weights, such as batch statistics.
      averages: networks with a moving average.
    """
    body = {"images": images, "config": dict(config), "averages": {average_of(name): name for name in averages}}
    more = {"frozen": list(frozen), "measured_anew": list(measured_anew)}
    return _stamp("train") | body | {key: value for key, value in more.items() if value}


def history_of(manifest: Mapping[str, Any]) -> list[Step]:
    """A manifest's history; of weights from before there was one, their training where it began from fresh values."""
    if "history" in manifest:
        return check_history(manifest["history"], "the manifest's history")
    config, images = manifest.get("config"), manifest.get("images")
    if not isinstance(config, dict) or images is None or kind_in(config.get("transfer")) != "scratch":
        return []
    stamp = {"kind": "train", "date": manifest.get("created", "unknown"), "versions": manifest.get("versions", {})}
    return [stamp | {"images": images, "config": config, "averages": {"g_ema": "g"}}]


class HistoryError(ValueError):
    """A history that is not as it was written; the message says which step and what is wrong."""


def check_history(steps: Any, where: str) -> list[Step]:
    """The steps of a history out of a file, once their form is known to be that of this module.

    Raises:
      HistoryError: it is not; `where` begins the message.
    """
    if not isinstance(steps, list):
        raise HistoryError(f"{where} is damaged: it must be a list of steps, not {shown(steps)}")
    for i, step in enumerate(steps, 1):
        if not isinstance(step, dict) or not isinstance(step.get("kind"), str):
            raise HistoryError(f"{where} is damaged: step {i} has no kind")
        needed = FORMS.get(step["kind"], {})
        for name, kind in {**OPTIONAL, **needed}.items():
            if not isinstance(step.get(name), kind) and (name in needed or name in step):
                raise HistoryError(f"{where} is damaged: {name} of step {i} is {shown(step.get(name))}")
        for name in ("frozen", "measured_anew"):
            if not all(isinstance(pattern, str) for pattern in step.get(name, ())):
                raise HistoryError(f"{where} is damaged: {name} of step {i} is {shown(step[name])}")
        if not isinstance(step.get("config", {}).get("transfer", {}), dict):
            raise HistoryError(
                f"{where} is damaged: config.transfer of step {i} is {shown(step['config']['transfer'])}"
            )
        if not all(isinstance(root, str) for root in step.get("averages", {}).values()):
            raise HistoryError(f"{where} is damaged: averages of step {i} is {shown(step['averages'])}")
        if step["kind"] == "import" and not all(_is_file(file) for file in imported_files(step).values()):
            raise HistoryError(f"{where} is damaged: source of step {i} is {shown(step['source'])}")
        for leaf, entry in step.get("leaves", {}).items():
            if not _is_leaf(entry):
                raise HistoryError(f"{where} is damaged: leaf {shown(leaf)} of step {i} is {shown(entry)}")
        for donor in step.get("donors", ()):
            if not isinstance(donor, dict) or not isinstance(donor.get("name"), str):
                raise HistoryError(f"{where} is damaged: a donor of step {i} has no name")
            check_history(donor.get("history"), f"{where}: that of donor {shown(donor['name'])}")
    return list(steps)


def _is_file(file: Any) -> bool:
    return isinstance(file, dict) and isinstance(file.get("name"), str)


def _is_leaf(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("op"), str):
        return False
    sources, args = entry.get("sources", {}), entry.get("args", {})
    whole = isinstance(sources, dict) and all(digest is None or isinstance(digest, str) for digest in sources.values())
    return whole and isinstance(args, dict)


OPTIONAL = {"leaves": dict, "donors": list, "config": dict, "averages": dict, "frozen": list, "measured_anew": list}
FORMS = {  # what is read of a step of each kind, beside the kind
    "transplant": {"leaves": dict, "source": dict},
    "import": {"leaves": dict, "source": dict},
    "fuse": {"donors": list, "shares": dict, "words": str},
    "train": {"config": dict, "images": int},
}


def origin_of(history: Sequence[Step], path: str) -> Origin:
    """The chain of one leaf, newest step first."""
    if not history:
        return Origin(path, 0, "not recorded before this")
    number, step, before = len(history), history[-1], history[:-1]
    if step["kind"] == "train":
        return _trained(step, before, path)
    if step["kind"] == "fuse":
        return _fused(step, before, path)
    if "leaves" not in step:
        return Origin(path, number, f"a step of the kind {shown(step['kind'])}, which this version does not know")
    leaf = step["leaves"].get(path)
    fresh = f"fresh values (seed {step['seed']})" if "seed" in step else "fresh values"
    if leaf is None:
        return Origin(path, number, f"{fresh}: not of the source")
    sources = leaf.get("sources", {})
    if not sources and step["kind"] == "import":
        return Origin(path, number, f"made, for the files lack it: {leaf['op']}")
    if not sources:
        op = OPS.get(leaf["op"])
        return Origin(path, number, f"{leaf['op']}: {fresh if op and op.fresh and not op.constant else 'no source'}")
    args = ", ".join(f"{key}={json.dumps(value)}" for key, value in leaf.get("args", {}).items())
    named = [f"{name} @{digest[:12] if digest else '-'}" for name, digest in sources.items()]
    words = f"{leaf['op']}{f'({args})' if args else ''} <- {' + '.join(named)}"
    if "of" in leaf:  # another source than the step's, whose history is its own
        return Origin(path, number, f"{words} of {leaf['of']}")
    if step["kind"] == "import":
        start, file = next(
            ((start, f) for start, f in imported_files(step).items() if next(iter(sources)).startswith(start)),
            ("", {"name": "a file that is not named"}),
        )
        tensors = ", ".join(name.removeprefix(start) for name in sources)
        older = tuple(origin_of(before, name) for name in sources) if before else ()  # the file came with a history
        return Origin(path, number, f"{leaf['op']} <- {tensors} of {file['name']}", older)
    return Origin(path, number, words, tuple(origin_of(before, name) for name in sources))


def _trained(step: Step, before: Sequence[Step], path: str) -> Origin:
    number = len(before) + 1
    root, _, tail = path.partition("/")
    averaged = step.get("averages", {}).get(root)
    trained = f"{averaged}/{tail}" if averaged else path
    if not is_network(trained.split("/")[0]):
        return Origin(path, number, "made by this training")
    if any(match(pattern, trained) for pattern in step.get("frozen", ())):
        return Origin(path, number, "frozen: as it was before this training", (origin_of(before, trained),))
    if any(match(pattern, path) for pattern in step.get("measured_anew", ())):
        return Origin(path, number, "recomputed on the trained weights")
    average = f" as {trained}, of which this is the moving average" if averaged else ""
    if not before and kind_in(step["config"].get("transfer")) == "scratch":
        return Origin(path, number, f"trained from fresh values{average}")
    return Origin(path, number, f"trained{average}", (origin_of(before, trained),))


def _fused(step: Step, before: Sequence[Step], path: str) -> Origin:
    root = path.partition("/")[0]
    network = network_of(root)
    if network not in step["shares"]:
        return Origin(path, len(before) + 1, "not fused", (origin_of(before, path),))
    donors = step["donors"]
    listed = ", ".join(donor["name"] for donor in donors)
    origins = (origin_of(before, path), *(origin_of(donor["history"], path) for donor in donors))
    return Origin(path, len(before) + 1, f"fused with {listed}: {step['words']}", origins)


def _stamp(kind: str) -> Step:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"kind": kind, "date": now, "versions": versions()}


# ----------------------------------------------------------------------------------------------------------------------
# A history, and the chains of leaves in it, as text.


def provenance_lines(manifest: Mapping[str, Any], pattern: str = "**") -> list[str]:
    """The steps of a manifest's history, then for every leaf that a pattern covers what each step did to it.

    Raises:
      TreeError: no leaf is covered by the pattern.
    """
    leaves = manifest["leaves"]
    shown = [path for path in leaves if match(pattern, path)]
    if not shown:
        raise TreeError(f"no leaf is covered by {pattern!r}{did_you_mean(pattern, leaves)}")
    history = history_of(manifest)
    lines = ["history, oldest first:", *(line for i, step in enumerate(history, 1) for line in step_lines(i, step))]
    if not history:
        lines = ["no history: these weights were made without a record of it"]
    for path in shown:
        lines += ["", path, *origin_lines(origin_of(history, path))]
    return lines


def step_lines(number: int, step: Step) -> list[str]:
    """A step in a sentence, with what is particular about it below."""
    lines = _trained_text(step, number) if step["kind"] == "train" else SENTENCES[step["kind"]](step)
    first = f"  {number}  {step['date'][:10]}  {next(lines)}"
    versions = step.get("versions", {})
    by = ", ".join(f"{name} {versions[name]}" for name in ("gan_jax", "jax", "flax") if name in versions)
    return [first, *(f"       {line}" for line in lines), *([f"       by {by}"] if by else [])]


def origin_lines(origin: Origin, indent: str = "  ") -> list[str]:
    """What each step did to one leaf, newest first; its sources are named where their paths differ."""
    lines = [f"{indent}{origin.step or '-'}  {origin.words}"]
    if len(origin.sources) == 1:
        return lines + origin_lines(origin.sources[0], indent)
    for source in origin.sources:
        lines += [f"{indent}   {source.path}", *origin_lines(source, indent + "     ")]
    return lines


def _transplanted_text(step: Step) -> Iterator[str]:
    source = step["source"]
    yield f"transplanted from {source.get('name')} (manifest {(source.get('digest') or '-')[:12]})"
    if "chosen" in step:
        yield step["chosen"]
    measured = step.get("measured")
    if isinstance(measured, str):
        yield f"function {measured}"
    for name, difference in measured.items() if isinstance(measured, dict) else ():
        kept = "preserved" if difference["preserved"] else "not preserved"
        numbers = [
            f"{difference[key]:.1e}" if difference[key] is not None else "not finite" for key in ("largest", "scale")
        ]
        probes = f"on {difference['probes']} probes"
        yield f"{name.upper()}: function {kept}: largest difference {numbers[0]} of {numbers[1]} {probes}"
    if dropped := step.get("dropped"):
        more = f" and {len(dropped) - 6} more" if len(dropped) > 6 else ""
        yield f"not taken of the source: {', '.join(dropped[:6])}{more}"


def _imported_text(step: Step) -> Iterator[str]:
    files = " and ".join(f"{file['name']} (sha256 {file['digest'][:12]})" for file in imported_files(step).values())
    yield f"imported from {files}, layout {step['source']['layout']}"


def _trained_text(step: Step, number: int) -> Iterator[str]:
    config = step.get("config", {})
    fresh = " from fresh values" if number == 1 and kind_in(config.get("transfer")) == "scratch" else ""
    data = config.get("data", {})
    which = [f"{key} {data[key]}" for key in ("classes", "shots") if data.get(key)]
    yield f"trained{fresh}: {step['images']:,} images of {', '.join([str(data.get('source', 'unknown data')), *which])}"
    if step.get("frozen"):
        yield f"frozen: {', '.join(step['frozen'])}"


def _fused_text(step: Step) -> Iterator[str]:
    yield f"fused with {', '.join(donor['name'] for donor in step['donors'])}"
    yield step["words"]


SENTENCES = {"transplant": _transplanted_text, "import": _imported_text, "fuse": _fused_text}
