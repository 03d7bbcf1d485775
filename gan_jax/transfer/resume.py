"""Going on with a run: what may be changed of its configuration, and what it goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from gan_jax.config import Config, ConfigError, differences
from gan_jax.files import typed
from gan_jax.train.optim import learning_rate

FREE = ("log.", "checkpoint.", "evaluate.", "diagnose.")  # parts of a configuration that training does not depend on
DEVICES, LENGTH, SOURCE = "train.devices", "train.kimg", "data.source"


@dataclasses.dataclass(frozen=True)
class Change:
    """One field in which a run is to go on otherwise than it began.

    Attributes:
      field: dotted.
      line: `field: old -> new`.
      refused: why it cannot be changed; None = it may be.
    """

    field: str
    line: str
    refused: str | None = None


def changes(written: Config, given: Config, data_known: bool = False) -> list[Change]:
    """Every field in which two configurations of one run differ, and whether it may.

    Free are logging, checkpoints, evaluations, diagnoses and the number of devices, none of which moves a weight; a run
    whose step sizes do not depend on its length may be made longer; data may lie elsewhere.

    Args:
      written: of the run.
      given: what it is to go on with.
      data_known: whether the run says which images it was started on, so that these are compared.
    """
    return list(_changes(written, given, data_known))


def _changes(written: Config, given: Config, data_known: bool) -> Iterator[Change]:
    for line in differences(written, given):
        field = line.partition(":")[0]
        if field.startswith(FREE) or field == DEVICES or (field == SOURCE and data_known):
            yield Change(field, line)
        elif field == LENGTH:
            yield Change(field, line, _length(written, given))
        else:
            yield Change(field, line, "")


def _length(written: Config, given: Config) -> str | None:
    if given.train.kimg < written.train.kimg:
        return "a run can be made longer, not shorter; Ctrl-C ends it earlier, with its weights"
    if written.optim.schedule != "constant":
        return (
            f"optim.schedule {written.optim.schedule} falls to 0 over train.kimg, so that a longer run is another one from "
            "its first step"
        )
    return None


def check_changes(folder: Path, found: list[Change], method: tuple[str, str]) -> None:
    """Whether a run can go on with these changes.

    Args:
      folder: of the run.
      found: as `changes` gave it.
      method: whose method the run has, and is to have.

    Raises:
      ConfigError: it cannot; with every difference, and how to begin a new run from its newest checkpoint.
    """
    refused = [one for one in found if one.refused is not None]
    lines = [one.line + (f" ({one.refused})" if one.refused else "") for one in refused]
    if method[0] != method[1]:
        lines.append(f"method: {method[0]} -> {method[1]}")
    if not lines:
        return
    if any(one.field.startswith("net.") for one in refused):
        way = f"start a run of other networks from its weights: gan-jax transfer --transfer.source {typed(folder)}"
    else:
        options = [option_of(one) for one in refused]
        told = " ".join(one for one in options if one)
        others = "" if all(options) and method[0] == method[1] else " and the other options"
        way = (
            "start a new run from its newest checkpoint: "
            + f"gan-jax train {typed(folder)} --fork NEW {told}".rstrip()
            + others
        )
    raise ConfigError(
        f"{folder} holds a run of another configuration:\n"
        + "\n".join(f"  {line}" for line in lines)
        + f"\nUse the same values, another folder (--out), or {way}"
    )


def option_of(change: Change) -> str | None:
    """The command line's option for a change, `--optim.lr 0.001`; None where it takes more than one word."""
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
    """Where the schedules of a run stand that goes on otherwise than it began: a sentence for each.

    Args:
      config: what it goes on with.
      images: that it was shown so far.
      before: what it was shown them with; None = the same but for the length, which no schedule depends on.
    """
    notes = []
    if config.optim.schedule != "constant":
        share = lambda config: float(learning_rate(config.optim, 1.0, config.train.kimg * 1000, jnp.asarray(images)))
        was = (
            ""
            if before is None or share(before) == share(config)
            else f" (it was {share(before):.0%} of its optim.lr before)"
        )
        notes.append(
            f"step sizes go on at {share(config):.0%} of optim.lr{was}: optim.schedule {config.optim.schedule} falls over "
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
    """How a finished run is made longer, to twice its length."""
    fork = "" if config.optim.schedule == "constant" else " --fork NEW"
    return f"gan-jax train {typed(folder)} --train.kimg {2 * config.train.kimg:g}{fork}"
