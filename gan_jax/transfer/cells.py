"""Trials of an experiment: a run of one method with one seed, whose results are kept in its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.config import Config, ConfigError
from gan_jax.documents import field_of, read_document
from gan_jax.train.rows import read_rows
from gan_jax.transfer.record import EVALUATIONS, Callbacks
from gan_jax.transfer.run import run

FILE = "cell.json"


@dataclasses.dataclass(frozen=True)
class Trial:
    """The results of a trial, a finished run.

    Attributes:
      method: name that all seeds of a method share.
      seed: of weights, latents and the choice of images.
      train_hash, reference_hash: of the training images, and of the images that samples were compared with.
      evaluations: metrics rows with images, seconds and protocol; the last is of the end of the run.
    """

    method: str
    seed: int
    train_hash: str
    reference_hash: str
    evaluations: list[dict[str, Any]]

    @property
    def end(self) -> dict[str, Any]:
        """The last evaluation."""
        return self.evaluations[-1]


def read_trial(path: Path) -> Trial:
    """Reads the file of a finished trial.

    Raises:
      ConfigError: it is damaged; removing it lets the run be evaluated again.
    """
    values, kinds = read_document(path, ConfigError), {"seed": int, "evaluations": list}
    names = [field.name for field in dataclasses.fields(Trial)]
    trial = Trial(**{name: field_of(values, name, kinds.get(name, str), str(path), ConfigError) for name in names})
    if not trial.evaluations or not all(isinstance(row, dict) for row in trial.evaluations):
        raise ConfigError(f"{path} is damaged: evaluations must be rows")
    return trial


def run_trial(
    method: str, config: Config, folder: Path, watch: Callable[[Config, Path, str], Callbacks | None]
) -> Trial | None:
    """Gets the trial of a configuration: reads it where it is finished, and runs it otherwise.

    Args:
      method: its name in the experiment.
      config: of the run; the seed is `config.train.seed`.
      folder: of the run.
      watch: `(config, folder, title) -> callbacks` of the run; None = nothing is printed.

    Returns:
      The trial; None where the run was stopped before its end, and the same call goes on.
    """
    file = folder / FILE
    if file.exists():
        return read_trial(file)
    callbacks = watch(config, folder, folder.name)
    result = run(config, folder, callbacks, quiet=callbacks is None)
    if result.stopped:
        return None
    data, rows = result.dataset, read_rows(folder / EVALUATIONS)
    trial = Trial(method, config.train.seed, data.train_hash, data.reference_hash, rows)
    file.write_text(json.dumps(dataclasses.asdict(trial)), encoding="utf-8")
    return trial
