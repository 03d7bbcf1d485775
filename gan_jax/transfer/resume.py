"""Resuming a run and forking from its checkpoint: which options may change, and how schedules go on."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import Config, ConfigError, differences, from_dict
from gan_jax.data import DataError
from gan_jax.files import typed
from gan_jax.roots import is_network, network_of
from gan_jax.surgery.provenance import Step, manifest_digest
from gan_jax.train.checkpoint import storage
from gan_jax.train.checkpoint.manager import cut_rows
from gan_jax.train.checkpoint.manifest import describe, place, spell
from gan_jax.train.feed import Feed
from gan_jax.train.optim import learning_rate
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.folder import CHECKPOINTS, EVALUATIONS, HISTORY, METRICS, NOTES, PLAN, PREPARED, read_record
from gan_jax.trees import flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Resuming a run: which changes of its configuration are allowed, and how its schedules go on.

FREE = ("log.", "checkpoint.", "evaluate.", "diagnose.")  # parts of a configuration without influence on training
DEVICES, LENGTH, SOURCE = "train.devices", "train.kimg", "data.source"


@dataclasses.dataclass(frozen=True)
class Change:
    """A changed field of a run that goes on.

    Attributes:
      field: dotted name.
      line: `field: old -> new`.
      refused: reason why it cannot change; None = it may.
    """

    field: str
    line: str
    refused: str | None = None


def changes(written: Config, new: Config, data_known: bool = False) -> list[Change]:
    """Lists the fields in which two configurations of a run differ, and whether each may change.

    Logging, checkpoints, evaluations, diagnoses and the number of devices may change, since no weight depends on them. A
    run whose step sizes do not depend on its length may become longer. Data may move.

    Args:
      written: configuration of the run.
      new: configuration that it is to go on with.
      data_known: whether the run recorded its images, so that they are compared.
    """
    return list(_changes(written, new, data_known))


def _changes(written: Config, new: Config, data_known: bool) -> Iterator[Change]:
    for line in differences(written, new):
        field = line.partition(":")[0]
        if field.startswith(FREE) or field == DEVICES or (field == SOURCE and data_known):
            yield Change(field, line)
        elif field == LENGTH:
            yield Change(field, line, _length(written, new))
        else:
            yield Change(field, line, "")


def _length(written: Config, new: Config) -> str | None:
    if new.train.kimg < written.train.kimg:
        return "a run can be made longer, not shorter; Ctrl-C ends it earlier, with its weights"
    if written.optim.schedule != "constant":
        return (
            f"optim.schedule {written.optim.schedule} falls to 0 over train.kimg, so that a longer run is another one from "
            "its first step"
        )
    return None


def check_changes(folder: Path, fields: list[Change], method: tuple[str, str]) -> None:
    """Checks that a run can go on with these changes.

    Args:
      folder: of the run.
      fields: result of `changes`.
      method: where the method comes from, of the run and of the call.

    Raises:
      ConfigError: it cannot; lists every difference, and says how to start a new run from its newest checkpoint.
    """
    refused = [change for change in fields if change.refused is not None]
    lines = [change.line + (f" ({change.refused})" if change.refused else "") for change in refused]
    if method[0] != method[1]:
        lines.append(f"method: {method[0]} -> {method[1]}")
    if not lines:
        return
    if any(change.field.startswith("net.") for change in refused):
        way = f"start a run of other networks from its weights: gan-jax transfer --transfer.source {typed(folder)}"
    else:
        options = [option_of(change) for change in refused]
        words = " ".join(option for option in options if option)
        others = "" if all(options) and method[0] == method[1] else " and the other options"
        way = (
            "start a new run from its newest checkpoint: "
            + f"gan-jax train {typed(folder)} --fork NEW {words}".rstrip()
            + others
        )
    raise ConfigError(
        f"{folder} holds a run of another configuration:\n"
        + "\n".join(f"  {line}" for line in lines)
        + f"\nUse the same values, another folder (--out), or {way}"
    )


def option_of(change: Change) -> str | None:
    """The command line option of a change, `--optim.lr 0.001`; None where the value takes more than one word."""
    new: Any = change.line.rpartition(" -> ")[2]
    new = new.strip("'")
    if change.field.endswith(".kind") or not new or new == "absent" or any(c in new for c in "[]() "):
        return None
    name = change.field.replace("_", "-")
    if new in ("True", "False"):
        prefix, _, last = name.rpartition(".")
        return f"--{name}" if new == "True" else f"--{prefix}.no-{last}"
    return f"--{name} {new}"


def schedule_notes(config: Config, images: int, before: Config | None = None) -> list[str]:
    """Log messages about the schedules of a run that goes on with other values, one for each schedule.

    Args:
      config: of the run from now on.
      images: images shown so far.
      before: configuration until now; None = the same apart from the length, on which no schedule depends.
    """
    notes = []
    if config.optim.schedule != "constant":

        def factor(config: Config) -> float:
            """The step size now, as a multiple of `optim.lr`."""
            return float(learning_rate(config.optim, 1.0, config.train.kimg * 1000, jnp.asarray(images)))

        was = (
            ""
            if before is None or factor(before) == factor(config)
            else f" (it was {factor(before):.0%} of its optim.lr before)"
        )
        notes.append(
            f"step sizes go on at {factor(config):.0%} of optim.lr{was}: optim.schedule {config.optim.schedule} falls over "
            f"train.kimg {config.train.kimg:g}"
        )
    anneal = config.anneal
    ends = [f"{name} {value:g}" for name, value in vars(anneal).items() if name != "kimg" and value is not None]
    if anneal.kimg > 0 and ends:
        where = f"are at their ends since {anneal.kimg:g} kimg and stay there"
        if images < anneal.kimg * 1000:
            where = f"move on to their ends, which they reach at {anneal.kimg:g} kimg, whatever train.kimg is"
        notes.append(f"annealed values {where}: {', '.join(ends)}")
    if config.augment.ada is not None and config.augment.ada_target is not None:
        notes.append("augment.ada: p goes on from where it stood, at the pace of augment.ada_kimg")
    return notes


def length_command(folder: Path, config: Config) -> str:
    """The command that trains a finished run for twice its length."""
    fork = "" if config.optim.schedule == "constant" else " --fork NEW"
    return f"gan-jax train {typed(folder)} --train.kimg {2 * config.train.kimg:g}{fork}"


# ----------------------------------------------------------------------------------------------------------------------
# Forks: new runs that start from another run's checkpoint, with its state as far as it fits, its metrics and its history.

FRESH = ("key",)  # parts that the new run makes itself


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint that a run was forked from.

    Attributes:
      folder: of the other run.
      images: of the checkpoint, which are its name.
      method: where the other run's method comes from.
      before: the origin of the other run, as `to_record` gives it; None = it was no fork.
    """

    folder: Path
    images: int
    method: str = "table"
    before: Mapping[str, Any] | None = None

    @property
    def path(self) -> Path:
        """Folder of the checkpoint."""
        return self.folder / CHECKPOINTS / str(self.images)

    @property
    def config(self) -> Config:
        """Configuration of the other run."""
        record = read_record(self.folder)
        assert record is not None
        return from_dict(Config, record["config"])

    def keeps(self, config: Config, method: str) -> bool:
        """Whether both runs have the same transfer method, so that its constants are taken over."""
        return method == self.method and type(self.config.transfer) is type(config.transfer)

    def to_record(self) -> dict[str, Any]:
        """The origin as JSON values for the new run's `config.json`."""
        digest = manifest_digest(storage.read_manifest(self.path))
        out = {"folder": os.path.abspath(self.folder), "images": self.images, "digest": digest, "method": self.method}
        out["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return out if self.before is None else out | {"forked_from": dict(self.before)}


def open_origin(folder: Path, at: int | None = None) -> Origin:
    """Finds the checkpoint of a run to fork from: the newest, or the one of `at` images.

    Raises:
      ConfigError: it is no run, or has no such checkpoint.
    """
    record = read_record(folder)
    if record is None:
        raise ConfigError(f"--fork starts from a run, and {folder} holds none (no config.json)")
    have = storage.complete(folder / CHECKPOINTS)
    if not have:
        raise ConfigError(f"run {folder} has no checkpoint to fork from; train it first: gan-jax train {typed(folder)}")
    if at is not None and at not in have:
        raise ConfigError(f"run {folder} has no checkpoint of {at} images; there are {', '.join(map(str, have))}")
    return Origin(folder, have[-1] if at is None else at, record.get("method", "table"), record.get("forked_from"))


def origin_of(record: Mapping[str, Any], folder: Path) -> Origin | None:
    """Reads the origin of a fork from its `config.json`; None = the run is no fork.

    Raises:
      ConfigError: the entry is damaged.
    """
    entry = record.get("forked_from")
    if entry is None:
        return None
    if not (isinstance(entry, dict) and isinstance(entry.get("folder"), str) and isinstance(entry.get("images"), int)):
        raise ConfigError(f"{folder / 'config.json'} is damaged: `forked_from` names no folder and images")
    return Origin(Path(entry["folder"]), entry["images"], entry.get("method", "table"), entry.get("forked_from"))


def forked_state(
    origin: Origin,
    begin: Callable[[Networks], GanState],
    specs: Networks,
    feed: Feed,
    same_method: bool,
) -> tuple[GanState, list[Step], list[str]]:
    """Builds the state that a forked run starts from.

    Args:
      origin: the checkpoint.
      begin: `variables by network -> a fresh state` of the new run.
      specs: shapes of these variables.
      feed: source of batches; it goes on at the other run's position where it reads the same data in the same order.
      same_method: whether the constants of the transfer method are taken over.

    Returns:
      the state, the history of its leaves, and log messages.

    Raises:
      ConfigError: the networks differ.
    """
    manifest = storage.read_manifest(origin.path)
    entries = manifest["leaves"]
    template = flatten(jax.eval_shape(begin, specs))
    fits = {p for p, spec in template.items() if p in entries and spell(entries[p]) == spell(describe(spec))}
    part = lambda path: path.partition("/")[0]
    misfits = sorted(
        p for p in template.keys() ^ entries.keys() | template.keys() - fits if is_network(network_of(part(p)))
    )
    if misfits:
        theirs = spell(entries[misfits[0]]) if misfits[0] in entries else "absent"
        ours = spell(describe(template[misfits[0]])) if misfits[0] in template else "absent"
        raise ConfigError(
            f"run {origin.folder} has other networks than this configuration ({misfits[0]}: {theirs} -> {ours}, and "
            f"{len(misfits) - 1} more leaves); a fork keeps the networks. Others start from its weights: gan-jax transfer "
            f"--transfer.source {typed(origin.folder)}"
        )
    restored = sorted(p for p in fits if part(p) not in FRESH and (same_method or part(p) != "kept"))
    arrays = storage.read_leaves(origin.path, manifest, restored)
    placed = {p: place(arrays[p], entries[p], template[p]) for p in restored}

    def variables_of(network: str) -> Variables:
        """The restored variables of a network."""
        return unflatten({p.partition("/")[2]: value for p, value in placed.items() if part(p) == network})

    fresh = jax.jit(begin)({name: variables_of(name) for name in specs})
    state = unflatten(flatten(fresh) | placed, like=fresh)
    notes = [f"forked from {origin.folder} at {origin.images} images"]
    if fresh_paths := sorted(p for p in template if p not in placed and part(p) not in FRESH):
        notes.append(f"fresh, since the run it was forked from has no such leaves: {_listed(fresh_paths)}")
    if feed.restore is not None and len(manifest["cursors"]) == jax.process_count():
        try:
            feed.restore(manifest["cursors"][jax.process_index()])
        except DataError as error:
            notes.append(f"the order of the data starts again: {error}")
    return state, list(manifest.get("history") or []), notes


def copy_records(origin: Origin, folder: Path) -> None:
    """Copies the other run's metrics rows up to the checkpoint, and the records of its start, into a new run's folder."""
    for name in (METRICS, EVALUATIONS, NOTES, PLAN, PREPARED, HISTORY):
        if (origin.folder / name).exists() and not (folder / name).exists():
            shutil.copyfile(origin.folder / name, folder / name)
    for name in (METRICS, EVALUATIONS, NOTES):
        cut_rows(folder / name, origin.images)


def check_fork(origin: Origin, config: Config, total: int) -> None:
    """Checks that a fork has something left to train.

    Raises:
      ConfigError: it has nothing left.
    """
    if origin.images >= total:
        raise ConfigError(
            f"a fork of run {origin.folder} would have nothing to train: it starts at {origin.images} images, and train.kimg "
            f"is {config.train.kimg:g}; add --train.kimg {2 * origin.images / 1000:g}, or --at an earlier checkpoint"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
