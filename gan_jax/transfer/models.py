"""Models read from weights, an embedded pair, a run, or a checkpoint of an unfinished run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax

from gan_jax.config import Config, ConfigError, net_from_dict, net_to_dict
from gan_jax.documents import read_document
from gan_jax.files import typed
from gan_jax.interop.fitting import check_finite
from gan_jax.interop.source import Source
from gan_jax.interop.weights import WeightsError
from gan_jax.nets import build
from gan_jax.nets.fronts import with_front
from gan_jax.random_streams import STATS_KEY
from gan_jax.roots import average_of, network_of
from gan_jax.seeds import root_key
from gan_jax.tasks import networks_of
from gan_jax.tasks.model import WEIGHTS, Model, run_config
from gan_jax.tasks.model import load as load_written
from gan_jax.tasks.sample import STATS_BATCH, make_restatistics
from gan_jax.train.checkpoint import storage
from gan_jax.transfer.dataset import counted
from gan_jax.transfer.folder import CONFIG, task_entry, with_class_names
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.source import open_source


def load(path: str | Path, checkpoint: int | None = None) -> Model:
    """Reads a model from a weights folder, a run folder, a checkpoint's folder or `embedded:NAME`.

    Of a run, its weights are read; where it has none yet, its newest checkpoint, with the networks as the run would write
    them: adapters folded in, batch statistics recalibrated where the run does so.

    Args:
      path: of the model.
      checkpoint: images of a run's checkpoint; None = as above.

    Raises:
      WeightsError, CheckpointError, ConfigError: something is missing, damaged or foreign.
    """
    name, folder = str(path), Path(path)
    run = None if name.startswith("embedded:") else _run_of(folder)
    if run is None and checkpoint is None:
        return load_written(path)
    if run == folder and checkpoint is None and (folder / WEIGHTS).is_dir():
        model = load_written(folder / WEIGHTS)
        return dataclasses.replace(model, manifest=with_class_names(model.manifest, folder), name=name)
    return _of_checkpoint(open_source(path, checkpoint), run or folder)


def unfinished(path: str | Path, checkpoint: int | None = None) -> str | None:
    """The message where `load` reads a checkpoint because the run has not written weights yet; None elsewhere."""
    folder = Path(path)
    if str(path).startswith("embedded:") or checkpoint is not None or _run_of(folder) != folder:
        return None
    if (folder / WEIGHTS).is_dir() or not (have := storage.complete(folder / "checkpoints")):
        return None
    return f"{path} has not finished: this is its newest checkpoint, of {have[-1]} images (gan-jax train {typed(path)} goes on)"


def class_names(model: Model) -> tuple[str, ...] | None:
    """Names of the classes by label; None where the model has no classes or its manifest no names."""
    names = model.manifest.get("class_names")
    count = model.config.num_classes
    if not count or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple([*names, *map(str, range(len(names), count))][:count])


def _run_of(folder: Path) -> Path | None:
    """The folder of the run, for a run folder or for one of its checkpoints; None for any other folder."""
    if (folder / CONFIG).is_file():
        return folder
    above = folder.resolve().parent.parent
    return folder.parent.parent if folder.name.isdecimal() and (above / CONFIG).is_file() else None


def _of_checkpoint(source: Source, run: Path) -> Model:
    config = run_config(run)
    networks = networks_of(config)
    roots = [average_of(name) if name in networks.generators else name for name in networks.nets]
    variables = source.load([leaf for leaf in source.manifest["leaves"] if leaf.split("/")[0] in roots])
    check_finite(variables, source.name, WeightsError)
    method = _method(config, run)
    variables = {root: method.shared(network_of(root), variables[root]) for root in roots}
    manifest = {key: value for key, value in source.manifest.items() if key not in ("leaves", "cursors")}
    manifest |= {"net": net_to_dict(config.net)} | task_entry(config) | method.front
    model = Model(
        net_from_dict(manifest["net"], f"{run}: net"), variables, with_class_names(manifest, run), source.name
    )
    if config.net.translates:
        return model
    return dataclasses.replace(model, variables={**variables, "g_ema": _recalibrated(config, model)})


def _method(config: Config, run: Path) -> Method:
    """The run's method, which knows the auxiliary parameters in its state."""
    origin = read_document(run / CONFIG, ConfigError).get("method", "table")
    if origin != "table":
        raise ConfigError(
            f"run {run} was started with a method of its own ({origin}); its weights can be read when it has finished"
        )
    transfer: Any = config.transfer
    # No leaf of G or D depends on the number of training images.
    return make_method(counted(transfer, 1), networks_of(config))


def _recalibrated(config: Config, model: Model) -> dict[str, Any]:
    """G's moving average with recalibrated batch statistics, as in the run's evaluations and weights."""
    g_ema = model.variables["g_ema"]
    if config.evaluate.features is None or config.evaluate.stats_batches == 0 or "batch_stats" not in g_ema:
        return g_ema
    pair = with_front(build(config.net), model.manifest.get("front"))
    key = jax.random.fold_in(root_key(config.evaluate.seed), STATS_KEY)
    return make_restatistics(pair, STATS_BATCH)(g_ema, key, config.evaluate.stats_batches)
