"""Which checkpoints are kept, and the removal of others, which never look complete while they are removed."""

from __future__ import annotations

import datetime
import math
import shutil
import time
from pathlib import Path
from typing import Literal

from gan_jax.train import checkpoint_store as store
from gan_jax.train.checkpoint_format import CheckpointError


def to_keep(folder: Path, last: int, best: Literal["min", "max"] | None) -> set[int]:
    """Images of the checkpoints to keep: the newest `last`, and, with `best`, the one with the best finite metric."""
    have = store.complete(folder)
    keep = set(have[-last:])
    if best is not None:
        sign = 1 if best == "min" else -1
        scored = [(sign * metric, -step) for step in have if (metric := _metric(folder / str(step))) is not None]
        keep |= {-step for _, step in sorted(scored)[:1]}
    return keep


def remove_others(folder: Path, keep: set[int]) -> None:
    """Removes the other complete checkpoints, and the rest of an interrupted removal."""
    for step in set(store.complete(folder)) - keep:
        # Renamed first: a half-removed folder must not look like a checkpoint.
        (folder / str(step)).rename(folder / f"{step}.removed")
    for path in folder.glob("*.removed"):
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path, names: dict[str, float]) -> dict[str, float]:
    """Removes unfinished saves, `{name: Unix time, s}`, that have not been written to since their time.

    Returns:
      The others, with the time of this check.
    """
    busy = {}
    for name, since in names.items():
        path, now = folder / name, time.time()
        if not path.is_dir():
            continue
        if max(p.stat().st_mtime for p in [path, *path.rglob("*")]) < since:
            shutil.rmtree(path, ignore_errors=True)
        else:
            busy[name] = now
    return busy


def move_aside(folder: Path, steps: list[int]) -> Path:
    """Moves checkpoints into `aside-TIME/`, where they are neither read nor removed."""
    target = folder / f"aside-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    target.mkdir(exist_ok=True)
    for step in sorted(steps, reverse=True):  # newest first: if this is interrupted, the remaining ones are older
        (folder / str(step)).rename(target / str(step))
    return target


def _metric(path: Path) -> float | None:
    try:
        value = store.read_manifest(path)["metric"]
    except CheckpointError:
        return None
    return value if value is not None and math.isfinite(value) else None
