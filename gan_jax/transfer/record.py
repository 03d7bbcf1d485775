"""What a run writes beside its checkpoints: rows of metrics, evaluations, samples, and weights to share."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, to_dict
from gan_jax.metrics import extract
from gan_jax.nets import Pair
from gan_jax.surgery import Plan
from gan_jax.surgery.provenance import Step, train_step
from gan_jax.tasks.model import WEIGHTS, save
from gan_jax.tasks.sample import make_restatistics, make_sampler
from gan_jax.train.checkpoint_rows import append_row, read_rows
from gan_jax.train.processes import is_first
from gan_jax.train.state import GanState
from gan_jax.transfer.diagnostics import Diagnosis, new_warnings
from gan_jax.transfer.evaluation import STATS_BATCH, Evaluator
from gan_jax.transfer.method import Method

METRICS, EVALUATIONS = "metrics.jsonl", "evaluations.jsonl"
PLAN, HISTORY, PREPARED = "plan.json", "history.json", "prepared.json"
GRID_IMAGES = 64  # in a sample grid


class Callbacks:
    """What a run tells whoever watches; every method may be overridden, none must be."""

    def begin(self, config: Config, images: int) -> None:
        """Training starts, after so many images."""

    def note(self, text: str) -> None:
        """A sentence worth reading: a resumed checkpoint, a leftover, a plan, what a diagnosis warns of."""

    def row(self, row: dict[str, Any]) -> None:
        """Metrics of a dispatch: images, seconds, images_per_s, losses."""

    def evaluation(self, row: dict[str, Any]) -> None:
        """An evaluation: images, seconds, protocol and its metrics."""

    def grid(self, images: int, samples: np.ndarray) -> None:
        """Samples of fixed latents: uint8 `[n, H, W, C]`."""

    def end(self) -> None:
        """Training is over, however it ended."""


class Recorder:
    """Writes rows and evaluations of a run, and hands them on."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        callbacks: Callbacks,
        evaluator: Evaluator | None,
        pair: Pair,
        diagnosis: Diagnosis | None = None,
    ):
        self.folder, self.callbacks, self.evaluator = folder, callbacks, evaluator
        self.diagnosis, self.limits = diagnosis, config.diagnose
        self.fixed = jax.random.key(config.train.seed)
        self.sampler, self.restate = make_sampler(pair), make_restatistics(pair, STATS_BATCH)
        self.stats_batches = config.evaluate.stats_batches
        rows = read_rows(folder / METRICS)
        self.before_s = rows[-1]["seconds"] if rows else 0.0
        self.evaluations: list[dict[str, Any]] = list(read_rows(folder / EVALUATIONS))
        self.began = time.monotonic()

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest evaluation."""
        return self.evaluations[-1] if self.evaluations else None

    def seconds(self) -> float:
        """Of this run, over all its processes."""
        return round(self.before_s + time.monotonic() - self.began, 3)

    def row(self, images: int, metrics: dict[str, float]) -> None:
        row = {"images": images, "seconds": self.seconds(), **metrics}
        if is_first():
            append_row(self.folder / METRICS, row)
        self.callbacks.row(row)

    def evaluate(self, images: int, state: GanState) -> float | None:
        if self.evaluator is None:
            return None
        seconds = self.seconds()
        samples = self.evaluator.sample(state.g_ema)
        fake = extract(self.evaluator.net, samples)
        numbers = self.evaluator.numbers(fake)
        if self.diagnosis is not None:
            numbers |= self.diagnosis.measure(images, state.d, samples, fake, numbers)
        row = {"images": images, "seconds": seconds, "protocol": self.evaluator.protocol.id, **numbers}
        self.evaluations.append(row)
        if is_first():
            append_row(self.folder / EVALUATIONS, row)
        self.callbacks.evaluation(row)
        for warning in new_warnings(self.evaluations, self.limits):
            self.callbacks.note(warning.note)
        return numbers.get("fd", numbers.get("kid"))  # what is left out is left out in all evaluations of a run

    def grid(self, images: int, state: GanState) -> None:
        if not is_first():
            return
        standing = self.restate(state.g_ema, jax.random.fold_in(self.fixed, 1), self.stats_batches)
        self.callbacks.grid(images, self.sampler(standing, self.fixed, GRID_IMAGES))


def write_start(folder: Path, plan: Plan, history: Sequence[Step], found: dict[str, Any]) -> None:
    """`plan.json`, and `history.json`: what was done to every leaf before this run trained it.

    What the method found out in its preparation goes to `prepared.json`.
    """
    if found:
        (folder / PREPARED).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
    (folder / HISTORY).write_text(json.dumps(list(history), indent=1) + "\n", encoding="utf-8")


def history_at(
    folder: Path, config: Config, images: int, frozen: Sequence[str], measured_anew: Sequence[str] = ()
) -> list[Step]:
    """The history of a run's state after so many images: what came before it, and its training."""
    path = folder / HISTORY
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [*before, train_step(images, to_dict(config), frozen=frozen, measured_anew=measured_anew)]


def write_weights(
    folder: Path, config: Config, state: GanState, evaluator: Evaluator | None, last: Any, method: Method
) -> None:
    """`weights/`: the plain networks, G's moving average with standing batch statistics; with numbers and history.

    A front of G that is kept goes along.
    """
    g_ema = state.g_ema if evaluator is None else evaluator.standing(state.g_ema)
    anew = ["g_ema/batch_stats/**"] if evaluator is not None and "batch_stats" in g_ema else []
    images = int(state.images)
    about = {"evaluation": last, "images": images, "history": history_at(folder, config, images, method.frozen, anew)}
    about |= method.front
    variables = {"g_ema": method.shared("g", g_ema), "d": method.shared("d", state.d)}
    save(folder / WEIGHTS, config.net, variables, about)
