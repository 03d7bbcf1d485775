"""The diagnosis of a run: numbers at each evaluation, and the checks on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from gan_jax.config import Config, ConfigError, DiagnoseConfig
from gan_jax.data import Images
from gan_jax.data.convert import Shape
from gan_jax.data.tfds_source import TfdsSource
from gan_jax.metrics import Features, extract
from gan_jax.train.state import Variables
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.diagnostics import failures
from gan_jax.transfer.diagnostics.failures import Check, Row
from gan_jax.transfer.evaluation import Evaluator


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Measures what checks need at each evaluation of a run; it takes a few percent of the evaluation's time.

    Attributes:
      config: of the run.
      dataset: of the run.
      evaluator: of the run; its reference and features are used.
      against: evaluations of another run to compare with, usually a run from scratch.
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
        out = failures.measure_collapse(fake.values, reference) if len(reference) > 1 else {}  # one image has no spread
        if self._train_features is not None:
            held_out = self.evaluator.reference.values if self._held_out is not None else None
            out |= failures.measure_memory(fake.values, self._train_features, held_out)
        out |= failures.measure_negative(images, numbers, self.against)
        return out | self._measure_d(d, samples)

    def _measure_d(self, d: Variables, samples: np.ndarray) -> dict[str, float]:
        """The numbers of `failures.measure_discriminator`; none where D compares images and there is only one of a set."""
        n, classes = self.config.diagnose.images, self.config.net.num_classes
        labels = lambda images: images.labels if classes else None
        held_out = self._held_out
        sets = [self._train.images[:n], samples[:n], *([] if held_out is None else [held_out.images[:n]])]
        group = min(self.evaluator.pair.d_group, *map(len, sets))  # all sets are compared in groups of the same size
        if group == 1 < self.evaluator.pair.d_group:
            return {}
        train = self._logits_fn(d, sets[0], labels(self._train), group)
        fake = self._logits_fn(d, sets[1], np.arange(n) % classes if classes else None, group)
        unseen = None if held_out is None else self._logits_fn(d, sets[2], labels(held_out), group)
        return failures.measure_discriminator(self.config.loss.name, train, unseen, fake)

    @cached_property
    def _logits_fn(self) -> failures.LogitsFn:
        return failures.make_logits_fn(self.evaluator.pair)

    @cached_property
    def _held_out(self) -> Images | None:
        """Real images outside the training set; None where the reference is the training images."""
        if not self.dataset.held_out:
            return None
        assert isinstance(self.dataset.reference, Images)
        return _some(self.dataset.reference, self.config.diagnose.images)

    @cached_property
    def _train(self) -> Images:
        """Training images for which D's logits are measured."""
        train, n = self.dataset.train, self.config.diagnose.images
        if isinstance(train, Images):
            return _some(train, n)
        assert isinstance(train, TfdsSource)
        index = np.linspace(0, len(train) - 1, min(n, len(train))).round().astype(int)
        return train.take(index).load(Shape(self.config.net.resolution, self.config.net.channels))

    @cached_property
    def _train_features(self) -> np.ndarray | None:
        """Features of all training images; None where there are too many to be memorised."""
        train = self.dataset.train
        if not isinstance(train, Images) or len(train) > failures.MOST:
            return None
        return extract(self.evaluator.net, train.images).values


def make_diagnosis(
    config: Config, dataset: Dataset, evaluator: Evaluator | None, against: str | Path | None
) -> Diagnosis | None:
    """Makes the diagnosis of a run; None where the run has no evaluations.

    Raises:
      ConfigError: a run to compare with, but no evaluations of this run, or none of the other run's that are comparable.
    """
    if evaluator is None:
        if against is not None:
            raise ConfigError(
                f"--against {against} compares evaluations, but evaluate.features is None; name a network"
            )
        return None
    rows = () if against is None else failures.read_against(against, evaluator.protocol.id)
    return Diagnosis(config, dataset, evaluator, rows)


def _some(images: Images, n: int) -> Images:
    """At most `n` images, evenly spread over the set: neighbours in a data set are often similar."""
    return images.take(np.linspace(0, len(images) - 1, min(n, len(images))).round().astype(int))


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """All checks of the last row of a run's evaluations, compared with rows of the same protocol."""
    rows = [row for row in rows if row.get("protocol") == rows[-1].get("protocol")]
    for checks_of in (
        failures.discriminator_checks,
        failures.collapse_checks,
        failures.memory_checks,
        failures.negative_checks,
    ):
        yield from checks_of(rows, limits)


def new_warnings(rows: Sequence[Row], limits: DiagnoseConfig) -> list[Check]:
    """The warnings of the last row that the row before did not have: each is logged once, also in a resumed run."""

    def warnings(rows: Sequence[Row]) -> list[Check]:
        return [check for check in checks(rows, limits) if check.warns] if rows else []

    before = {check.name for check in warnings(rows[:-1])}
    return [check for check in warnings(rows) if check.name not in before]
