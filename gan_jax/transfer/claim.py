"""Whose a run folder is: the configuration in its `config.json`, what may be changed of it, and how that is kept.

    {"config", "method", "versions", "device": {"kind", "platform", "count", "used"},
     "paths": {absolute path: the same seen from the folder}, "against": path,
     "changed": [{"date", "images", "changes": ["train.kimg: 100.0 -> 200.0"]}],
     "forked_from": {"folder", "images", "digest", "method", "date", "forked_from"}}

What is not said of a run is left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from gan_jax.config import Config, ConfigError, differences, from_dict, to_dict
from gan_jax.data.formats import EXTENSIONS
from gan_jax.files import printable
from gan_jax.surgery.provenance import versions
from gan_jax.train.lock import RunLock
from gan_jax.train.processes import gather, is_first
from gan_jax.transfer.folder import CONFIG, DATA, RunFolder, read_record, write_json
from gan_jax.transfer.fork import Origin, open_origin, origin_of
from gan_jax.transfer.paths import absolute, follow, followed, relative_to
from gan_jax.transfer.resume import changes, check_changes


@dataclasses.dataclass(frozen=True)
class Claim:
    """A configuration that may have a folder.

    Attributes:
      config: of the run, with absolute paths that lead somewhere if any does.
      method: whose method, `table` or a function's name.
      against: folder of the run that evaluations are compared with.
      record: what `config.json` says already; None = the folder is free.
      changed: `field: old -> new` of what the run goes on with otherwise.
      origin: of a fork.
      notes: what to tell whoever watches.
    """

    config: Config
    method: str = "table"
    against: str | None = None
    record: dict[str, Any] | None = None
    changed: tuple[str, ...] = ()
    origin: Origin | None = None
    notes: tuple[str, ...] = ()

    def write(self, folder: Path, images: int, used: int) -> None:
        """Claims the folder, or keeps in it what is changed.

        Args:
          folder: of the run.
          images: that were shown so far.
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
            more["forked_from"] = None if self.origin is None else self.origin.said()
        else:
            change = {"date": _now(), "images": images, "changes": list(self.changed)}
            body = self.record | body | {"changed": [*self.record.get("changed", []), change]}
        write_json(folder / CONFIG, body | {name: value for name, value in more.items() if value})


def look(
    config: Config,
    folder: Path,
    method: str = "table",
    against: str | Path | None = None,
    fork: Path | None = None,
    at: int | None = None,
) -> Claim:
    """Whether a configuration may have a folder; nothing is written.

    Args:
      config: of the run.
      folder: of the run.
      method: whose method it has.
      against: folder of a run to compare evaluations with; None = as the run had it.
      fork: folder of the run to start from; None = as this run says.
      at: of that run the checkpoint of so many images; None = the newest.

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
    known: dict[str, str] = paths if isinstance(paths := record.get("paths"), dict) else {}
    given = followed(config, known, folder)[0]
    now, notes = followed(written, known, folder)
    found = changes(now, given, (folder / DATA).exists())
    check_changes(folder, found, (record.get("method", "table"), method))
    lines = [one.line for one in found] + differences(written, now)
    before = record.get("against")
    if isinstance(before, str):
        before = follow(before, known, folder)
    if chosen is not None and chosen != before:
        lines.append(f"against: {before} -> {chosen}")
    if lines:
        notes.append("changed since the run was started: " + "; ".join(lines))
    return Claim(given, method, chosen or before, record, tuple(lines), origin, tuple(notes))


def check_place(folder: Path) -> None:
    """Whether a folder may become a run's: among images its samples would be taken for more of them.

    Raises:
      ConfigError: it holds images.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if images := [name for name in names if not name.startswith(".") and name.lower().endswith(tuple(EXTENSIONS))]:
        some = printable(images[0], keep="") + (", .." if len(images) > 1 else "")
        raise ConfigError(f"{folder} holds images ({some}), among which a run would write its own; name a new folder")


INTERRUPTS = (KeyboardInterrupt, SystemExit)  # what Ctrl-C and SIGTERM raise
Stage = Callable[[str, int, int, dict[str, Any]], None]  # (name, images, total, metrics)


class Entry:
    """A run's way into its folder: the lock, the claim, and the way back where the start fails.

    Attributes:
      claim: what the folder is claimed by, the same in every process.
      begun: whether the run trains: from then on nothing is taken back.
      stage: the name of the stage before the run proper that was trained last, its images so far and in all.
      kept: images of the checkpoint that holds what stages made; None = there is none.
    """

    def __init__(self, claim: Claim, folder: RunFolder | None):
        self.claim, self._folder = claim, folder
        self.begun = False
        self.stage: tuple[str, int, int] | None = None
        self.kept: int | None = None

    def undo(self, interrupted: bool = False) -> None:
        """Leaves the folder as it was before this start, until the run trains.

        Args:
          interrupted: by a signal and no error, so that the same command will go on: what stages made stays.
        """
        if self._folder is not None and not self.begun and not (interrupted and self.kept is not None):
            self._folder.undo()

    def watching(self, stage: Stage) -> Stage:
        """A callback for stages that notes how far they are and hands it on."""

        def watch(name: str, images: int, total: int, metrics: dict[str, Any]) -> None:
            self.stage = name, images, total
            stage(name, images, total, metrics)

        return watch


def enter(stack: contextlib.ExitStack, folder: Path, given: Config, ask: Callable[[], Claim]) -> Entry:
    """Takes the folder's lock and looks whether it may be had, in the first process; what that raises ends all others.

    Args:
      stack: holds the lock, and undoes what was begun where an exception leaves it.
      folder: of the run; made if absent.
      given: what this process was started with.
      ask: gives the claim.

    Raises:
      ConfigError, LockError: as `look` and `RunFolder`; ConfigError also where processes were started differently.
    """
    error: Exception | None = None
    claim, home = Claim(given), None
    if is_first():
        try:
            home = RunFolder(folder)
            try:
                stack.enter_context(RunLock(folder))
            except BaseException:
                home.undo_folder()  # whatever else is there belongs to who holds the lock
                raise
            entry = Entry(claim, home)
            stack.push(lambda kind, *_: entry.undo(kind in INTERRUPTS) if kind is not None else None)
            home.clean()
            claim = entry.claim = ask()
        except Exception as caught:  # noqa: BLE001  raised below, when the others know
            error = caught
    told = gather(
        {"error": None if error is None else str(error), "given": to_dict(given), "config": to_dict(claim.config)}
    )
    if error is not None:
        raise error
    if told[0]["error"] is not None:
        raise ConfigError(told[0]["error"])
    for index, one in enumerate(told):
        if changed := differences(from_dict(Config, told[0]["given"]), from_dict(Config, one["given"])):
            raise ConfigError(
                f"processes 0 and {index} were started differently:\n" + "\n".join(f"  {x}" for x in changed)
            )
    if not is_first():
        entry = Entry(dataclasses.replace(ask(), config=from_dict(Config, told[0]["config"])), None)
    return entry


def _seen_from(path: str, folder: Path) -> dict[str, str]:
    return {path: os.path.relpath(path, folder)}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
