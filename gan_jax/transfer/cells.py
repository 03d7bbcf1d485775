"""Cells of an experiment: one run of one method with one seed, whose numbers are kept beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.config import Config, ConfigError
from gan_jax.documents import field_of, read_document
from gan_jax.train.checkpoint_rows import read_rows
from gan_jax.transfer.record import EVALUATIONS, Callbacks
from gan_jax.transfer.run import run

FILE = "cell.json"


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is left of a finished run.

    Attributes:
      method: the name under which seeds are put together.
      seed: of weights, latents and the choice of images.
      train_hash: of the images that were shown, and `reference_hash` of those that were compared with.
      evaluations: rows of images, seconds, protocol and metrics, the last at the end of the run.
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


def read_cell(path: Path) -> Cell:
    """Reads a finished cell's file.

    Raises:
      ConfigError: it is damaged; removing it lets the run be evaluated again.
    """
    values, kinds = read_document(path, ConfigError), {"seed": int, "evaluations": list}
    names = [field.name for field in dataclasses.fields(Cell)]
    cell = Cell(**{name: field_of(values, name, kinds.get(name, str), str(path), ConfigError) for name in names})
    if not cell.evaluations or not all(isinstance(row, dict) for row in cell.evaluations):
        raise ConfigError(f"{path} is damaged: evaluations must be rows")
    return cell


def run_cell(
    method: str, config: Config, folder: Path, watch: Callable[[Config, Path, str], Callbacks | None]
) -> Cell | None:
    """The cell of a configuration: from its folder where it is finished, else by running it.

    Args:
      method: its name in the experiment.
      config: of the run; the seed is `config.train.seed`.
      folder: of the run.
      watch: `(config, folder, title) -> callbacks` for those who look on; None = nothing is printed.

    Returns:
      None where the run was asked to stop before its end; the same call goes on.
    """
    done = folder / FILE
    if done.exists():
        return read_cell(done)
    callbacks = watch(config, folder, folder.name)
    result = run(config, folder, callbacks, quiet=callbacks is None)
    if result.stopped:
        return None
    data, rows = result.dataset, read_rows(folder / EVALUATIONS)
    cell = Cell(method, config.train.seed, data.train_hash, data.reference_hash, rows)
    done.write_text(json.dumps(dataclasses.asdict(cell)), encoding="utf-8")
    return cell
