"""What a run folder holds. Damaged files do not stop the reading: they are left out, with a sentence about each."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gan_jax.config import Config, ConfigError, from_dict, kind_in
from gan_jax.interop.weights import load_manifest
from gan_jax.surgery import Plan
from gan_jax.tasks.model import WEIGHTS
from gan_jax.train.checkpoint import storage
from gan_jax.train.fit import dispatch_images
from gan_jax.train.rows import is_number, parse_lines

# ----------------------------------------------------------------------------------------------------------------------
# Reading of single files that does not fail.

T = TypeVar("T")
Row = dict[str, Any]


def attempt(make: Callable[[], T], what: str, lost: list[str]) -> T | None:
    """The result of a function; where it fails None, and a sentence in `lost`: one part must not cost the page."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  whatever damage leads to
        lost.append(f"{what[:1].upper()}{what[1:]} could not be read: {one_line(error)}.")
        return None


def one_line(error: BaseException) -> str:
    """An error's words on one line, without a full stop at the end."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = f"{type(error).__name__} {text}" if isinstance(error, (KeyError, IndexError)) else text
    return (text if len(text) <= 300 else f"{text[:297]}...").rstrip(".")


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    size = 0
    for file in path.rglob("*") if path.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # a run that goes on writes and removes files
            size += file.stat().st_size if file.is_file() else 0
    return size


def bytes_text(count: float) -> str:
    """`3.4 MB`."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count:.0f} bytes"


def _json(path: Path, lost: list[str], kind: type[T]) -> T | None:
    if not path.is_file():
        return None

    def read() -> T:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, kind):
            raise ValueError(f"it holds a {type(value).__name__}")
        return value

    return attempt(read, path.name, lost)


def read_object(path: Path, lost: list[str]) -> dict[str, Any]:
    """A JSON file's object; empty where it is absent or damaged."""
    return _json(path, lost, dict) or {}


def read_list(path: Path, lost: list[str]) -> list[Row]:
    """A JSON file's list of objects; empty where it is absent or damaged."""
    return [step for step in _json(path, lost, list) or [] if isinstance(step, dict)]


def read_rows(path: Path, lost: list[str], text_keys: tuple[str, ...] = (), counted: bool = True) -> list[Row]:
    """The complete rows of a JSONL file, in their order; damaged ones are left out.

    Args:
      path: of the file.
      lost: gets a sentence about what was left out.
      text_keys: keys that must hold text.
      counted: whether a row must have its number of images.
    """
    if not path.is_file():
        return []
    lines = [line for line in parse_lines(attempt(path.read_bytes, path.name, lost) or b"") if line.data.strip()]
    out = [line.row for line in lines if line.row is not None and _whole(line.row, text_keys, counted)]
    damaged = [line.number for line in lines if line.row is None or not _whole(line.row, text_keys, counted)]
    if lines and lines[-1].torn and damaged[-1:] == [lines[-1].number]:
        damaged.pop()
        lost.append(f"The last row of {path.name} was cut off while it was written, and is left out.")
    if damaged:
        which = ", ".join(map(str, damaged[:5])) + (f" and {len(damaged) - 5} more" if len(damaged) > 5 else "")
        lost.append(
            f"{len(damaged)} of {len(out) + len(damaged)} rows of {path.name} {'are' if len(damaged) > 1 else 'is'} damaged "
            f"and left out (line{'s' * (len(damaged) > 1)} {which})."
        )
    return out


def _whole(row: Row, text_keys: tuple[str, ...], counted: bool) -> bool:
    return (not counted or is_number(row.get("images"))) and all(isinstance(row.get(key), str) for key in text_keys)


# ----------------------------------------------------------------------------------------------------------------------
# The content of a run folder.

# names that a run gives its files
CONFIG, NOTES, DATA = "config.json", "notes.jsonl", "data.json"
METRICS, EVALUATIONS = "metrics.jsonl", "evaluations.jsonl"
PLAN, HISTORY, PREPARED = "plan.json", "history.json", "prepared.json"
SAMPLES, CHECKPOINTS = "samples", "checkpoints"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The contents of a run folder.

    Attributes:
      path: of the folder.
      record: of config.json: configuration, versions, device.
      config: None where this version cannot read it.
      metrics, evaluations, notes: complete rows.
      plan: of the transplant; None where nothing was transplanted.
      history: steps before this run's training.
      prepared: what the method found in its preparation.
      data: data.json: name, count and fingerprints of its images.
      manifest: of the weights, else of the newest readable checkpoint; empty where there is neither.
      grids: files of sample grids by images shown.
      checkpoints: images shown at each complete checkpoint.
      unfinished: names of saves that were not finished.
      weights: whether there are any.
      lost: a sentence for each file that could not be read.
    """

    path: Path
    record: Mapping[str, Any]
    config: Config | None
    metrics: list[Row]
    evaluations: list[Row]
    notes: list[Row]
    plan: Plan | None
    history: list[Row]
    prepared: Mapping[str, Any]
    data: Mapping[str, Any]
    manifest: Mapping[str, Any]
    grids: dict[int, Path]
    checkpoints: list[int]
    unfinished: list[str]
    weights: bool
    lost: list[str]

    def option(self, name: str, default: Any = None) -> Any:
        """A field of the configuration as it was written, `data.shots`."""
        value: Any = self.record.get("config")
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return default if value is None else value

    @property
    def method(self) -> str:
        """`freeze_d`, also where this version does not know it."""
        return kind_in(self.option("transfer")) or "scratch"

    @property
    def sources(self) -> list[str]:
        """What the run started from: a source, or all pairs of a fusion; none from scratch."""
        donors = self.option("transfer.donors", [])
        source = self.option("transfer.source")
        return [] if source is None else [str(source), *map(str, donors if isinstance(donors, list) else [])]

    @property
    def total(self) -> int | None:
        """Images of the full run, rounded up to whole dispatches."""
        if self.config is None:
            kimg = self.option("train.kimg")
            return round(kimg * 1000) if isinstance(kimg, (int, float)) else None
        span = dispatch_images(self.config)
        return -(-int(round(self.config.train.kimg * 1000)) // span) * span

    @property
    def images(self) -> int:
        """Real images shown so far: the largest number in metrics, evaluations, checkpoints and weights."""
        last = [rows[-1]["images"] for rows in (self.metrics, self.evaluations) if rows]
        return int(max([0, *last, *self.checkpoints[-1:], self.weights_images or 0]))

    @property
    def weights_images(self) -> int | None:
        """Images that the weights have seen; None without weights."""
        images = self.manifest.get("images") if self.weights else None
        return images if isinstance(images, int) else None

    @property
    def seconds(self) -> float | None:
        """Seconds of training, over all its processes; None where no row has them."""
        rows = [row["seconds"] for row in self.metrics if is_number(row.get("seconds"))]
        return rows[-1] if rows else None

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end and its weights are written."""
        return self.weights and self.total is not None and (self.weights_images or 0) >= self.total


def read_run(folder: str | Path) -> RunFolder:
    """Reads a run folder.

    Raises:
      ConfigError: there is no such folder, or it has no config.json.
    """
    path, lost = Path(folder), list[str]()
    if not (path / CONFIG).is_file():
        what = "does not exist" if not path.exists() else f"is no run: it holds no {CONFIG}"
        raise ConfigError(f"{path} {what}; name the folder that gan-jax train, transfer or fuse wrote (its --out)")
    record = read_object(path / CONFIG, lost)
    values = record.get("config", record)
    config = attempt(lambda: from_dict(Config, values), f"the configuration in {CONFIG}", lost) if record else None
    if record and "config" not in record:
        record = {"config": record}
    checkpoints, unfinished = _checkpoints(path / CHECKPOINTS, lost)
    weights, manifest = _manifest(path, checkpoints, lost)
    return RunFolder(
        path=path,
        record=record,
        config=config,
        metrics=read_rows(path / METRICS, lost),
        evaluations=read_rows(path / EVALUATIONS, lost, ("protocol",)),
        notes=read_rows(path / NOTES, lost, ("text",), counted=False),
        plan=_plan(path / PLAN, lost),
        history=read_list(path / HISTORY, lost),
        prepared=read_object(path / PREPARED, lost),
        data=read_object(path / DATA, lost),
        manifest=manifest,
        grids=_grids(path / SAMPLES),
        checkpoints=checkpoints,
        unfinished=unfinished,
        weights=weights,
        lost=lost,
    )


def _plan(path: Path, lost: list[str]) -> Plan | None:
    return (
        attempt(lambda: Plan.from_json(path.read_text(encoding="utf-8")), path.name, lost) if path.is_file() else None
    )


def _grids(folder: Path) -> dict[int, Path]:
    files = folder.glob("*.png") if folder.is_dir() else ()
    return {int(file.stem): file for file in sorted(files) if file.stem.isdecimal()}


def _checkpoints(folder: Path, lost: list[str]) -> tuple[list[int], list[str]]:
    scan = lambda: (storage.complete(folder), storage.unfinished(folder))
    complete, unfinished = attempt(scan, CHECKPOINTS, lost) or ([], [])
    if unfinished:
        lost.append(f"Saves that were not finished lie in {CHECKPOINTS} and are never read: {', '.join(unfinished)}.")
    return complete, unfinished


def _manifest(path: Path, checkpoints: list[int], lost: list[str]) -> tuple[bool, dict[str, Any]]:
    """Whether there are weights whose manifest can be read, and their manifest or that of the newest checkpoint."""
    if (path / WEIGHTS).is_dir():
        if manifest := attempt(lambda: load_manifest(path / WEIGHTS), f"the manifest of {WEIGHTS}", lost):
            return True, manifest
    for images in reversed(checkpoints):
        read = lambda images=images: storage.read_manifest(path / CHECKPOINTS / str(images))
        if manifest := attempt(read, f"the manifest of checkpoint {images}", lost):
            return False, manifest
    return False, {}
