"""All that a run looks out for: numbers at each evaluation, and what they come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import Config, ConfigError, DiagnoseConfig
from gan_jax.data import Images
from gan_jax.data.fit import Shape
from gan_jax.metrics import Features, extract
from gan_jax.train.state import Variables
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.diagnostics import collapse, discriminator, memory, negative
from gan_jax.transfer.diagnostics.check import Check, Row
from gan_jax.transfer.evaluation import Evaluator


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Of one run; its numbers cost a few percent of what the evaluation does.

    Attributes:
      config: of the run.
      dataset: its images.
      evaluator: whose reference and features are used.
      against: evaluations of another run, usually one from scratch.
    """

    config: Config
    dataset: Dataset
    evaluator: Evaluator
    against: Sequence[Row] = ()

    def measure(self, images: int, d: Variables, samples: np.ndarray, fake: Features, numbers: Row) -> dict[str, float]:
        """The numbers of an evaluation.

        Args:
          images: real images shown so far.
          d: variables of D.
          samples: generated images, uint8 `[N, H, W, C]`.
          fake: their features.
          numbers: the metrics.
        """
        if not self.config.diagnose.images:
            return {}
        reference = self.evaluator.reference.values
        out = collapse.measure(fake.values, reference) if len(reference) > 1 else {}  # one image has no spread
        if self._train_features is not None:
            held_out = self.evaluator.reference.values if self._held_out is not None else None
            out |= memory.measure(fake.values, self._train_features, held_out)
        out |= negative.measure(images, numbers, self.against)
        return out | self._judged(d, samples)

    def _judged(self, d: Variables, samples: np.ndarray) -> dict[str, float]:
        n, classes = self.config.diagnose.images, self.config.net.num_classes
        labels = lambda images: images.labels if classes else None
        held_out = self._held_out
        sets = [self._train.images[:n], samples[:n], *([] if held_out is None else [held_out.images[:n]])]
        group = min(self.evaluator.pair.d_group, *map(len, sets))  # fewer of one set: D compares as few of the others
        if group == 1 < self.evaluator.pair.d_group:
            return {}  # it compares images, and one has none beside it
        train = self._judge(d, sets[0], labels(self._train), group)
        made = self._judge(d, sets[1], np.arange(n) % classes if classes else None, group)
        rest = None if held_out is None else self._judge(d, sets[2], labels(held_out), group)
        return discriminator.measure(self.config.loss.name, train, rest, made)

    @cached_property
    def _judge(self) -> discriminator.Judge:
        return discriminator.make_judge(self.evaluator.pair)

    @cached_property
    def _held_out(self) -> Images | None:
        """Real images outside the training set."""
        if not self.dataset.held_out:
            return None  # the reference is of the training images
        return _some(self.dataset.reference, self.config.diagnose.images)

    @cached_property
    def _train(self) -> Images:
        """Training images that D is asked about."""
        train, n = self.dataset.train, self.config.diagnose.images
        if isinstance(train, Images):
            return _some(train, n)
        chosen = np.linspace(0, len(train) - 1, min(n, len(train))).round().astype(int)
        return train.take(chosen).load(Shape(self.config.net.resolution, self.config.net.channels))

    @cached_property
    def _train_features(self) -> np.ndarray | None:
        """Of all training images, where these are few enough to be copied."""
        train = self.dataset.train
        if not isinstance(train, Images) or len(train) > memory.MOST:
            return None
        return extract(self.evaluator.net, train.images).values


def make_diagnosis(
    config: Config, dataset: Dataset, evaluator: Evaluator | None, against: str | Path | None
) -> Diagnosis | None:
    """What a run looks out for; None where it evaluates nothing.

    Raises:
      ConfigError: a run to compare with, but nothing to compare, or nothing comparable.
    """
    if evaluator is None:
        if against is not None:
            raise ConfigError(
                f"--against {against} compares evaluations, but evaluate.features is None; name a network"
            )
        return None
    rows = () if against is None else negative.read_against(against, evaluator.protocol.id)
    return Diagnosis(config, dataset, evaluator, rows)


def _some(images: Images, n: int) -> Images:
    """Evenly spread over the set: neighbours in a data set are often alike."""
    return images.take(np.linspace(0, len(images) - 1, min(n, len(images))).round().astype(int))


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """Everything that the last row of a run's evaluations was looked at for, beside rows of the same protocol."""
    rows = [row for row in rows if row.get("protocol") == rows[-1].get("protocol")]
    for room in (discriminator, collapse, memory, negative):
        yield from room.checks(rows, limits)


def new_warnings(rows: Sequence[Row], limits: DiagnoseConfig) -> list[Check]:
    """What the last row warns of and the one before did not: each is said once, also by a run that was resumed."""
    of: Any = lambda rows: [check for check in checks(rows, limits) if check.warns] if rows else []
    before = {check.name for check in of(rows[:-1])}
    return [check for check in of(rows) if check.name not in before]
