"""Which checkpoints stay, and how others leave without ever looking like a checkpoint."""

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
    """Images of the checkpoints that stay: the newest `last`, and the one with the best finite metric if asked."""
    have = store.complete(folder)
    keep = set(have[-last:])
    if best is not None:
        sign = 1 if best == "min" else -1
        scored = [(sign * metric, -step) for step in have if (metric := _metric(folder / str(step))) is not None]
        keep |= {-step for _, step in sorted(scored)[:1]}
    return keep


def remove_others(folder: Path, keep: set[int]) -> None:
    """Removes the other complete checkpoints, and what an earlier removal left when it was killed."""
    for step in set(store.complete(folder)) - keep:
        # Renamed first: a half-removed folder must not pass for a checkpoint.
        (folder / str(step)).rename(folder / f"{step}.removed")
    for path in folder.glob("*.removed"):
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path, names: dict[str, float]) -> dict[str, float]:
    """Removes unfinished saves, `{name: Unix time, s}`, that nobody has written to since their time.

    Returns:
      The others, to be looked at again: with the time of the look.
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
    """Moves checkpoints into `aside-TIME/`; nothing is lost, and nothing there is read or removed by us."""
    target = folder / f"aside-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    target.mkdir(exist_ok=True)
    for step in sorted(steps, reverse=True):  # newest first: wherever this stops, what is left is older
        (folder / str(step)).rename(target / str(step))
    return target


def _metric(path: Path) -> float | None:
    try:
        value = store.read_manifest(path)["metric"]
    except CheckpointError:
        return None
    return value if value is not None and math.isfinite(value) else None
