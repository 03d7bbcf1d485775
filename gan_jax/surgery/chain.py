"""A history, and the chains of leaves in it, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gan_jax.config import kind_in
from gan_jax.surgery.provenance import Origin, Step, history_of, imported_files, origin_of
from gan_jax.trees import TreeError, did_you_mean, match


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
    lines = _trained(step, number) if step["kind"] == "train" else SENTENCES[step["kind"]](step)
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


def _transplanted(step: Step) -> Iterator[str]:
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


def _imported(step: Step) -> Iterator[str]:
    files = " and ".join(f"{file['name']} (sha256 {file['digest'][:12]})" for file in imported_files(step).values())
    yield f"imported from {files}, layout {step['source']['layout']}"


def _trained(step: Step, number: int) -> Iterator[str]:
    config = step.get("config", {})
    fresh = " from fresh values" if number == 1 and kind_in(config.get("transfer")) == "scratch" else ""
    data = config.get("data", {})
    which = [f"{key} {data[key]}" for key in ("classes", "shots") if data.get(key)]
    yield f"trained{fresh}: {step['images']:,} images of {', '.join([str(data.get('source', 'unknown data')), *which])}"
    if step.get("frozen"):
        yield f"frozen: {', '.join(step['frozen'])}"


def _fused(step: Step) -> Iterator[str]:
    yield f"fused with {', '.join(donor['name'] for donor in step['donors'])}"
    yield step["words"]


SENTENCES = {"transplant": _transplanted, "import": _imported, "fuse": _fused}
