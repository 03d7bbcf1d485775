"""Run folders: created, claimed by a configuration, and put back as they were where a start fails."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.config import Config, ConfigError, ImageTask, from_dict, to_dict
from gan_jax.documents import read_document
from gan_jax.files import remove_parts, replace
from gan_jax.tasks.model import WEIGHTS
from gan_jax.train import processes

CONFIG, NOTES, DATA = "config.json", "notes.jsonl", "data.json"
METRICS, EVALUATIONS = "metrics.jsonl", "evaluations.jsonl"
PLAN, HISTORY, PREPARED = "plan.json", "history.json", "prepared.json"
CHECKPOINTS, SAMPLES = "checkpoints", "samples"
FILES = (
    CONFIG,
    NOTES,
    DATA,
    METRICS,
    EVALUATIONS,
    PLAN,
    HISTORY,
    PREPARED,
    processes.FILE,
)  # files that a start may write


class RunFolder:
    """The folder of a run, and a list of the files that were there before this start.

    Args:
      path: of the folder; created if absent.

    Raises:
      ConfigError: the folder cannot be created or written to; with the reason.
    """

    def __init__(self, path: Path):
        self.path = path
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]  # the innermost first
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.undo_folder()
            file = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), None)
            why = f"{file} is a file" if file is not None else f"{error.strerror}: {error.filename}"
            raise ConfigError(f"run folder {path} cannot be made ({why}); use another folder (--out)") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigError(
                f"run folder {path} cannot be written to; use another folder (--out), or its owner's rights"
            )
        self._before = {entry.name for entry in path.iterdir()}

    def undo(self) -> None:
        """Removes the files that a failed start has written; older files stay."""
        for name in FILES:
            if name not in self._before:
                (self.path / name).unlink(missing_ok=True)
        if CHECKPOINTS not in self._before:
            shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        self.undo_folder()

    def undo_folder(self) -> None:
        """Removes the folder and its parents where this start created them and they are empty."""
        for folder in self._made:
            with contextlib.suppress(OSError):  # not empty, or never created
                folder.rmdir()

    def clean(self) -> None:
        """Removes partly written files of a killed process; only for the holder of the run's lock."""
        for folder in (self.path, self.path / WEIGHTS, self.path / SAMPLES):
            remove_parts(folder)
        for folder in self.path.glob(f"{CHECKPOINTS}/*/manifest"):
            remove_parts(folder)
        (self.path / CONFIG).with_suffix(".tmp").unlink(missing_ok=True)  # of versions before this one


def read_record(folder: Path) -> dict[str, Any] | None:
    """Reads `config.json` of a run; None where there is none.

    Raises:
      ConfigError: it is damaged.
    """
    path = folder / CONFIG
    if not path.exists():
        return None
    remedy = "; put the run's own back, or use another folder"
    record = read_json(path, remedy)
    if not isinstance(record.get("config"), dict):
        raise ConfigError(f"{path} is damaged: it holds no configuration{remedy}")
    try:
        from_dict(Config, record["config"])
    except (ConfigError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be used: {error}{remedy}") from error
    if not isinstance(record.get("changed", []), list):
        raise ConfigError(f"{path} is damaged: `changed` is not a list{remedy}")
    return record


def read_json(path: Path, remedy: str, kind: type = dict) -> Any:
    """Reads a JSON file of a run.

    Args:
      path: of the file.
      remedy: the end of the message about a damaged file, with its punctuation.
      kind: type of the outermost value, dict or list.

    Raises:
      ConfigError: it is damaged.
    """
    try:
        return read_document(path, ConfigError, kind)
    except ConfigError as error:
        raise ConfigError(f"{error}{remedy}") from error


def write_json(path: Path, values: Mapping[str, Any] | list[Any]) -> None:
    """Writes a JSON file in one step."""
    replace(path, lambda part: part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8"))


def task_entry(config: Config) -> dict[str, Any]:
    """The entry of a manifest for the task of a run; empty for images from latents, which weights have always been of."""
    return {} if isinstance(config.task, ImageTask) else {"task": to_dict(config)["task"]}


def with_class_names(manifest: dict[str, Any], run: Path) -> dict[str, Any]:
    """Adds the names of the classes of the run's data to a manifest."""
    path = run / DATA
    if "class_names" in manifest or not path.is_file():
        return manifest
    try:
        names = read_document(path, ConfigError).get("class_names")
    except ConfigError:
        return manifest  # images can be drawn without names
    return manifest if names is None else manifest | {"class_names": names}
