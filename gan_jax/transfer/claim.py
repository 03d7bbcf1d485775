"""The claim of a run on its folder: its configuration, which changes are allowed, and paths that follow a move.

The configuration is kept in `config.json`:

    {"config", "method", "versions", "device": {"kind", "platform", "count", "used"},
     "paths": {absolute path: the same seen from the folder}, "against": path,
     "changed": [{"date", "images", "changes": ["train.kimg: 100.0 -> 200.0"]}],
     "forked_from": {"folder", "images", "digest", "method", "date", "forked_from"}}

Fields without a value are left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from gan_jax.config import ChainConfig, Config, ConfigError, differences, from_dict, to_dict
from gan_jax.data.decode import EXTENSIONS
from gan_jax.data.images import DataError
from gan_jax.data.pair_specs import DIRECTIONS, PairSpec, split_pair_spec
from gan_jax.data.sources import ONLY_PAIRS
from gan_jax.files import printable
from gan_jax.surgery.provenance import versions
from gan_jax.train.processes import RunLock, gather, is_first
from gan_jax.transfer.folder import CONFIG, DATA, RunFolder, read_record, write_json
from gan_jax.transfer.resume import Origin, changes, check_changes, open_origin, origin_of

# ----------------------------------------------------------------------------------------------------------------------
# Paths in a configuration: absolute in a run, and followed where the run and its data were moved together.

KINDS = ("folder", "zip", "npz", "idx", "tfds")  # data sources that name a path; the last two may have a split
SPLIT = ("idx", "tfds")
NAMES = ("source", "donors", "base", "clip")  # fields of a transfer method that name weights


def absolute(config: Config) -> Config:
    """Makes the paths of a configuration absolute where the files or folders exist."""
    return mapped(config, lambda path: os.path.abspath(os.path.expanduser(path)) if _exists(path) else path)


def relative_to(config: Config, folder: Path) -> dict[str, str]:
    """Maps each existing path of a configuration to the same path relative to a folder."""
    relative: dict[str, str] = {}

    def note(path: str) -> str:
        if _exists(path):
            relative[path] = os.path.relpath(path, folder)
        return path

    mapped(config, note)
    return relative


def followed(config: Config, relative: Mapping[str, str], folder: Path) -> tuple[Config, list[str]]:
    """Replaces missing paths by the files at the same place relative to the run's folder.

    Args:
      config: with absolute paths.
      relative: result of `relative_to` at the start of the run.
      folder: of the run now.

    Returns:
      the configuration, and a log message for each path that was replaced.
    """
    notes: list[str] = []

    def find(path: str) -> str:
        there = follow(path, relative, folder)
        if there != path and (note := f"{path} has moved with the run: {there}") not in notes:
            notes.append(note)
        return there

    return mapped(config, find), notes


def follow(path: str, relative: Mapping[str, str], folder: Path) -> str:
    """Replaces a missing path by the file at the same place relative to a folder, if there is one."""
    if _exists(path) or not isinstance(relative.get(path), str):
        return path
    there = os.path.normpath(os.path.join(os.path.abspath(folder), relative[path]))
    return there if _exists(there) else path


def mapped(config: Config, change: Callable[[str], str]) -> Config:
    """Changes every path in a configuration; names (`embedded:..`, those of TFDS sets) stay."""
    data = config.data
    source = _mapped_spec(data.source, change)
    if source != data.source:
        data = dataclasses.replace(data, source=source)
    return dataclasses.replace(config, data=data, transfer=_mapped_method(config.transfer, change))


def _mapped_method(transfer: Any, change: Callable[[str], str]) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(transfer, ChainConfig):
        changes["methods"] = tuple(_mapped_method(method, change) for method in transfer.methods)
    for field in NAMES:
        value: Any = getattr(transfer, field, None)
        if isinstance(value, str) and value and not value.startswith("embedded:"):
            changes[field] = change(value)
        elif isinstance(value, tuple):
            changes[field] = tuple(name if name.startswith("embedded:") else change(name) for name in value)
    changes = {name: value for name, value in changes.items() if value != getattr(transfer, name)}
    return dataclasses.replace(transfer, **changes) if changes else transfer


def _mapped_spec(spec: str, change: Callable[[str], str]) -> str:
    kind, colon, path = spec.partition(":")
    if kind in ONLY_PAIRS and colon:
        return _mapped_pairs(spec, change)
    if kind not in KINDS or not colon or not path:
        return spec
    split = ""
    if kind == "tfds" and "@" in path and not _exists(path):
        path, _, features = path.rpartition("@")
        split = f"@{features}"
    if kind in SPLIT and not _exists(path):
        head, colon, tail = path.rpartition(":")
        if colon:
            path, split = head, f":{tail}{split}"
    if kind == "tfds" and not (path.startswith((".", "~")) or os.path.isabs(path)):
        return spec  # the name of a set; a folder in the current one is written ./NAME
    return f"{kind}:{change(path)}{split}"


def _mapped_pairs(spec: str, change: Callable[[str], str]) -> str:
    """The same for the paths of pairs; where they are absent, every comma parts two."""
    try:
        parts = split_pair_spec(spec)
    except DataError:
        kind, _, rest = spec.partition(":")
        rest, option = next(((rest[: -len(end)], end[1:]) for end in _ENDS if rest.endswith(end)), (rest, ""))
        parts = PairSpec(kind, tuple(rest.split(",")), option)
    return parts._replace(paths=tuple(map(change, parts.paths))).text()


_ENDS = tuple(f":{direction}" for direction in DIRECTIONS)


def _exists(path: str) -> bool:
    return bool(path) and os.path.exists(os.path.expanduser(path))


# ----------------------------------------------------------------------------------------------------------------------
# The claim: `config.json`, and which changes of it are allowed.


@dataclasses.dataclass(frozen=True)
class Claim:
    """A configuration with the right to a folder.

    Attributes:
      config: of the run, with absolute paths, which exist where the files do.
      method: where its method comes from: `table`, or a function's name.
      against: folder of the run that evaluations are compared with.
      record: the contents of `config.json`; None = the folder is free.
      changed: `field: old -> new` for each value that changes when the run goes on.
      origin: of a fork.
      notes: log messages.
    """

    config: Config
    method: str = "table"
    against: str | None = None
    record: dict[str, Any] | None = None
    changed: tuple[str, ...] = ()
    origin: Origin | None = None
    notes: tuple[str, ...] = ()

    def write(self, folder: Path, images: int, used: int) -> None:
        """Claims the folder, or records the changes in it.

        Args:
          folder: of the run.
          images: images shown so far.
          used: devices that the run trains on.
        """
        if self.record is not None and not self.changed:
            return
        body: dict[str, Any] = {"config": to_dict(self.config), "method": self.method}
        paths = relative_to(self.config, folder) | ({} if self.against is None else _seen_from(self.against, folder))
        more = {"paths": paths, "against": self.against}
        if self.record is None:
            devices = jax.devices()
            first = {
                "kind": devices[0].device_kind,
                "platform": devices[0].platform,
                "count": len(devices),
                "used": used,
            }
            body |= {"versions": versions(), "device": first}
            more["forked_from"] = None if self.origin is None else self.origin.to_record()
        else:
            change = {"date": _now(), "images": images, "changes": list(self.changed)}
            body = self.record | body | {"changed": [*self.record.get("changed", []), change]}
        write_json(folder / CONFIG, body | {name: value for name, value in more.items() if value})


def make_claim(
    config: Config,
    folder: Path,
    method: str = "table",
    against: str | Path | None = None,
    fork: Path | None = None,
    at: int | None = None,
) -> Claim:
    """Makes the claim of a configuration on a folder after checks; nothing is written.

    Args:
      config: of the run.
      folder: of the run.
      method: where its method comes from.
      against: folder of a run to compare evaluations with; None = as before.
      fork: folder of the run to start from; None = as recorded.
      at: images of the checkpoint of that run; None = the newest.

    Raises:
      ConfigError: the folder holds a run of another configuration, or one that its `config.json` does not describe; the
        difference is printed.
    """
    config = absolute(config)
    chosen = None if against is None else os.path.abspath(against)
    record = read_record(folder)
    if record is None:
        check_place(folder)
        origin = None if fork is None else open_origin(fork, at)
        return Claim(config, method, chosen, origin=origin)
    origin = origin_of(record, folder)
    if fork is not None and (origin is None or origin.folder != Path(os.path.abspath(fork))):
        raise ConfigError(f"{folder} holds a run already, and not a fork of {fork}; name another folder: --fork NEW")
    written = absolute(from_dict(Config, record["config"]))
    relative: dict[str, str] = paths if isinstance(paths := record.get("paths"), dict) else {}
    new = followed(config, relative, folder)[0]
    now, notes = followed(written, relative, folder)
    fields = changes(now, new, (folder / DATA).exists())
    check_changes(folder, fields, (record.get("method", "table"), method))
    lines = [change.line for change in fields] + differences(written, now)
    before = record.get("against")
    if isinstance(before, str):
        before = follow(before, relative, folder)
    if chosen is not None and chosen != before:
        lines.append(f"against: {before} -> {chosen}")
    if lines:
        notes.append("changed since the run was started: " + "; ".join(lines))
    return Claim(new, method, chosen or before, record, tuple(lines), origin, tuple(notes))


def check_place(folder: Path) -> None:
    """Checks that a folder holds no images: the samples of a run would look like more of them.

    Raises:
      ConfigError: it holds images.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if images := [name for name in names if not name.startswith(".") and name.lower().endswith(tuple(EXTENSIONS))]:
        some = printable(images[0], keep="") + (", .." if len(images) > 1 else "")
        raise ConfigError(f"{folder} holds images ({some}), among which a run would write its own; name a new folder")


INTERRUPTS = (KeyboardInterrupt, SystemExit)  # raised by Ctrl-C and SIGTERM
Stage = Callable[[str, int, int, dict[str, Any]], None]  # (name, images, total, metrics)


class Entry:
    """The entry of a run into its folder: the lock, the claim, and undoing both where the start fails.

    Attributes:
      claim: the claim, the same in every process.
      begun: whether the run trains: from then on nothing is undone.
      stage: the newest stage before the main training: its name, its images so far and in all.
      checkpoint: images of the checkpoint with the result of the stages; None = there is none.
    """

    def __init__(self, claim: Claim, folder: RunFolder | None):
        self.claim, self._folder = claim, folder
        self.begun = False
        self.stage: tuple[str, int, int] | None = None
        self.checkpoint: int | None = None

    def undo(self, interrupted: bool = False) -> None:
        """Puts the folder back as it was before this start, unless the run trains.

        Args:
          interrupted: by a signal, not an error, so that the same command goes on: the result of the stages stays.
        """
        if self._folder is not None and not self.begun and not (interrupted and self.checkpoint is not None):
            self._folder.undo()

    def watching(self, stage: Stage) -> Stage:
        """Wraps a callback of stages, and keeps their progress."""

        def watch(name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
            self.stage = name, images, total
            stage(name, images, total, metrics)

        return watch


def enter(stack: contextlib.ExitStack, folder: Path, config: Config, ask: Callable[[], Claim]) -> Entry:
    """Takes the folder's lock and checks the claim in the first process; an exception there ends all processes.

    Args:
      stack: holds the lock, and undoes the start where an exception leaves it.
      folder: of the run; made if absent.
      config: this process was started with.
      ask: makes the claim.

    Raises:
      ConfigError, LockError: as `make_claim` and `RunFolder`; ConfigError also where processes were started differently.
    """
    error: Exception | None = None
    claim, home = Claim(config), None
    if is_first():
        try:
            home = RunFolder(folder)
            try:
                stack.enter_context(RunLock(folder))
            except BaseException:
                home.undo_folder()  # the other files belong to the holder of the lock
                raise
            entry = Entry(claim, home)
            stack.push(lambda kind, *_: entry.undo(kind in INTERRUPTS) if kind is not None else None)
            home.clean()
            claim = entry.claim = ask()
        except Exception as caught:  # noqa: BLE001  raised below, when the other processes have it
            error = caught
    starts = gather(
        {"error": None if error is None else str(error), "given": to_dict(config), "config": to_dict(claim.config)}
    )
    if error is not None:
        raise error
    if starts[0]["error"] is not None:
        raise ConfigError(starts[0]["error"])
    for index, start in enumerate(starts):
        if changed := differences(from_dict(Config, starts[0]["given"]), from_dict(Config, start["given"])):
            raise ConfigError(
                f"processes 0 and {index} were started differently:\n" + "\n".join(f"  {x}" for x in changed)
            )
    if not is_first():
        entry = Entry(dataclasses.replace(ask(), config=from_dict(Config, starts[0]["config"])), None)
    return entry


def _seen_from(path: str, folder: Path) -> dict[str, str]:
    return {path: os.path.relpath(path, folder)}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
