"""Resuming a run: which changes of its configuration are allowed, and how its schedules go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from gan_jax.config import Config, ConfigError, differences
from gan_jax.files import typed
from gan_jax.train.optim import learning_rate

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
