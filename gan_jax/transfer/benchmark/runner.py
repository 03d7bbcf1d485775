"""Running a benchmark: missing trials, one population after the other, measured and recorded, one line a trial."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, ConfigError, DataConfig, NetConfig
from gan_jax.data import DataError, Images, Pairs
from gan_jax.files import replace
from gan_jax.interop import WeightsError
from gan_jax.metrics import Perceptual, Protocol, evaluate_intra_cluster, extract, load_perceptual, memorisation
from gan_jax.nets import Networks
from gan_jax.surgery.provenance import versions
from gan_jax.tasks import networks_of
from gan_jax.train.compile import use_all_cores
from gan_jax.train.processes import RunLock
from gan_jax.train.rows import read_rows, to_line
from gan_jax.train.state import Variables
from gan_jax.transfer.benchmark.config import BenchmarkConfig, TrialId, config_hash, filled_in, trial_config, trials
from gan_jax.transfer.benchmark.population import STRATEGIES, Replica, Stopped, Strategy, choose_strategy, make_setup
from gan_jax.transfer.boundary import on_sigterm
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.evaluation import Measures as Evaluator
from gan_jax.transfer.evaluation import lpips_protocol
from gan_jax.transfer.measuring import make_measures, read_dataset

# ----------------------------------------------------------------------------------------------------------------------
# Lines of finished trials, one JSON object each: a benchmark resumes from them, and its tables are made from them.

TRIALS, SAMPLES = "cells.jsonl", "samples"

Row = dict[str, Any]


def append_trial(folder: Path, row: Row) -> None:
    """Appends a line atomically: a kill in the middle leaves the file as it was."""
    path = folder / TRIALS
    before = [to_line(old) for old in read_rows(path, numbers=())]  # a torn line of another program is left out
    text = "\n".join([*before, to_line(row)]) + "\n"
    replace(path, lambda part: part.write_text(text, encoding="utf-8"))


def identity(row: Row) -> TrialId:
    """The trial of a line."""
    return TrialId(**{field.name: row[field.name] for field in dataclasses.fields(TrialId)})


def identify(config: BenchmarkConfig, trial: TrialId) -> Row:
    """The first fields of a line: the trial, and the hash of its configuration."""
    relation = config.targets[trial.target].relation
    return {**dataclasses.asdict(trial), "relation": relation, "config": config_hash(config, trial)}


def current(folder: Path, config: BenchmarkConfig) -> dict[TrialId, Row]:
    """The lines of this configuration's trials, in its order; lines of other configurations are left out.

    If a trial has several lines, the last one counts.
    """
    rows = {(identity(row), row["config"]): row for row in read_rows(folder / TRIALS, numbers=())}
    keys = [(trial, config_hash(config, trial)) for trial in trials(config)]
    return {key[0]: rows[key] for key in keys if key in rows}


def finished(rows: Iterable[Row]) -> list[Row]:
    """The lines of trials that did not fail."""
    return [row for row in rows if "failed" not in row]


def missing(config: BenchmarkConfig, rows: dict[TrialId, Row], *, again: bool = False) -> list[list[TrialId]]:
    """Trials without a line, grouped into populations; with `again` also trials that failed."""
    groups: dict[Any, list[TrialId]] = {}
    for trial in trials(config):
        if trial not in rows or (again and "failed" in rows[trial]):
            groups.setdefault(trial.group, []).append(trial)
    return list(groups.values())


def restrict(config: BenchmarkConfig, **axes: Sequence[Any] | None) -> BenchmarkConfig:
    """The benchmark with fewer values on some axes; None leaves an axis as it is.

    Raises:
      ConfigError: a value that the benchmark does not have.
    """
    from gan_jax.config import ConfigError
    from gan_jax.trees import did_you_mean

    changes: dict[str, Any] = {}
    for axis, values in axes.items():
        if values is None:
            continue
        present = getattr(config, axis) if axis != "lrs" else config.rates
        for value in values:
            if value not in present:
                names = [str(name) for name in present]
                raise ConfigError(
                    f"this benchmark has no {value!r} among its {axis}{did_you_mean(str(value), names)}; "
                    f"there are {', '.join(names)}"
                )
        changes[axis] = {v: present[v] for v in present if v in values} if isinstance(present, dict) else tuple(values)
    if "methods" in changes and config.baseline not in changes["methods"]:
        changes["baseline"] = None
    return dataclasses.replace(config, **changes)


# ----------------------------------------------------------------------------------------------------------------------
# The metrics of a benchmark, with one evaluator for all trials of a target: reference features are computed once.

GRID_SAMPLES = 64  # samples of a trial that are kept for its grid
Averages = Mapping[str, Variables]  # by generator


@dataclasses.dataclass
class Measures:
    """Data sets and evaluators of a benchmark, each made at its first use."""

    lpips: str | None
    datasets: dict[tuple[DataConfig, NetConfig], Dataset] = dataclasses.field(default_factory=dict)
    evaluators: dict[Any, Evaluator] = dataclasses.field(default_factory=dict)
    perceptual: Perceptual | None = None

    def __post_init__(self) -> None:
        """Loads LPIPS before hours of training, and raises MetricError where its weights are missing."""
        self.perceptual = load_perceptual(self.lpips) if self.lpips else None

    def dataset(self, config: Config) -> Dataset:
        """Images of a trial."""
        key = config.data, config.net
        if key not in self.datasets:
            self.datasets[key] = read_dataset(config)
            if not isinstance(self.datasets[key].train, (Images, Pairs)):
                raise ConfigError("a benchmark needs few shots in memory; use data.pipeline device")
        return self.datasets[key]

    def evaluator(self, config: Config, networks: Networks | None = None) -> Evaluator:
        """The evaluator with a trial's reference, for the plain networks or for others of the same configuration."""
        dataset = self.dataset(config)
        key = config.evaluate, dataset.reference_hash
        if key not in self.evaluators:
            evaluator = make_measures(config, networks_of(config), dataset)
            assert evaluator is not None  # BenchmarkConfig.validate requires a feature network
            self.evaluators[key] = evaluator
        evaluator = self.evaluators[key]
        return evaluator if networks is None else evaluator.with_networks(networks)

    def end(self, evaluator: Evaluator, ema: Averages, config: Config) -> tuple[dict[str, Any], np.ndarray]:
        """All final metrics of a finished trial, with the ids of their protocols, and samples `[64, H, W, C]`."""
        dataset, measurement = self.dataset(config), evaluator.measure_averages(ema)
        train, images, fake = dataset.train, measurement.samples, measurement.features
        assert isinstance(train, (Images, Pairs))
        numbers: dict[str, Any] = dict(measurement.numbers)
        if protocols := {name: protocol.id for name, protocol in measurement.protocols.items() if name in numbers}:
            numbers["protocols"] = protocols
        held_out = evaluator.reference.values if dataset.held_out else None
        memory = memorisation(fake.values, extract(evaluator.net, train.images).values, held_out)
        numbers |= {"memorisation": memory.ratio, "closer": memory.closer}
        if self.perceptual is not None:
            protocol = lpips_protocol(evaluator.protocol, self.perceptual, train.images, dataset.train_hash)
            numbers |= evaluate_intra_cluster(self.perceptual, images, train.images, protocol)
            numbers["lpips_protocol"] = protocol.id
        return numbers, images[:GRID_SAMPLES]


def protocol_facts(protocol: Protocol) -> dict[str, Any]:
    """The fields of a line that name the protocol of its numbers."""
    return {"protocol": protocol.id, "measured": protocol.label, "relative_only": protocol.relative_only}


# ----------------------------------------------------------------------------------------------------------------------
# The benchmark.

Note = Callable[[str], None]
COMPILED = ".compiled"


def run_benchmark(
    config: BenchmarkConfig,
    out: str | Path,
    *,
    way: Strategy | None = None,
    again: bool = False,
    note: Note = lambda text: None,
) -> bool:
    """Runs the trials that have no line yet.

    A trial whose method refuses the networks or fails later has a line with the error; the others go on.

    Args:
      config: of the benchmark.
      out: folder of `cells.jsonl` and of samples; made if absent. One process at a time.
      way: how the replicas of a population train; None = the fastest on this platform.
      again: whether failed trials are run again.
      note: called with a log message for every population.

    Returns:
      Whether it was stopped by SIGTERM before its end; the same call goes on.

    Raises:
      ConfigError, DataError, WeightsError, MetricError: an error with which no trial can run.
    """
    config, out = config.validate(), Path(out)
    use_all_cores()
    with RunLock(out), on_sigterm() as sigterm, compiled_once(out / COMPILED):
        (out / SAMPLES).mkdir(exist_ok=True)
        todo = missing(config, current(out, config), again=again)
        measures = Measures(config.lpips)
        for number, group in enumerate(todo, 1):
            if sigterm.is_set():
                return True
            trial = group[0]
            note(f"[{number}/{len(todo)}] {trial.target}, {trial.method}, {trial.shots} shots: {len(group)} runs")
            began = time.monotonic()
            try:
                rows = run_group(config, group, measures, out, way or choose_strategy(), sigterm.is_set)
            except Stopped:
                return True
            for row in rows:
                append_trial(out, row)
            note(f"  {summary(rows)}; {time.monotonic() - began:.0f} s")
    return False


@contextlib.contextmanager
def compiled_once(folder: Path) -> Iterator[None]:
    """A context in which equal programs are compiled once, also those that a preparation builds again for every replica.

    The compiled programs are in a folder; if the user has set a cache folder for JAX, it is used instead.
    """
    from jax.experimental.compilation_cache import compilation_cache

    config: Any = jax.config  # whose options type checkers do not know
    if config.jax_compilation_cache_dir is not None:
        yield
        return
    config.update("jax_compilation_cache_dir", str(folder))
    compilation_cache.reset_cache()  # it remembers that there was no folder
    try:
        yield
    finally:
        config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()


def run_group(
    config: BenchmarkConfig,
    group: Sequence[TrialId],
    measures: Measures,
    out: Path,
    strategy: Strategy,
    stop: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Trains trials that differ in seed and learning rate only, and returns their lines."""
    configs = [filled_in(trial_config(config, trial)) for trial in group]
    evaluator = measures.evaluator(configs[0])  # outside of the `try`: its errors are not a method's
    datasets = [measures.dataset(run) for run in configs]
    _save_samples(out / SAMPLES / f"real-{group[0].target}.npy", datasets[0].reference.images[:GRID_SAMPLES])
    try:
        setup = make_setup(configs[0], group[0].shots, scaled=len(config.rates) > 1)
        replicas = [_attempt(setup.replica, run, data) for run, data in zip(configs, datasets, strict=True)]
    except Exception as error:  # noqa: BLE001  any error of a method is a failed line of that method
        replicas, setup = [_failure(error) for _ in group], None
    rows = [identify(config, trial) | {"failed": str(replica)} for trial, replica in zip(group, replicas, strict=True)]
    ready = [i for i, replica in enumerate(replicas) if isinstance(replica, Replica)]
    if setup is None or not ready:
        return rows
    if not setup.method.grafts.keys().isdisjoint(setup.plain.generators):
        evaluator = measures.evaluator(configs[0], setup.networks)
    evaluations: list[list[Row]] = [[] for _ in ready]
    spent = [0.0] * len(ready)

    def evaluate(i: int, images: int, seconds: float, ema: Averages, losses: dict[str, float]) -> None:
        began = time.monotonic()
        numbers = evaluator.measure_averages(ema).numbers
        losses = {name: value for name, value in losses.items() if name != "images_per_s"}
        evaluations[i].append({"images": images, "seconds": round(seconds, 3), **numbers, "losses": losses})
        spent[i] += time.monotonic() - began

    try:
        started: Any = [replicas[i] for i in ready]
        result = STRATEGIES[strategy](setup, started, evaluate, stop)
        cost = setup.cost()
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  as above
        return [row | {"failed": _failure(error)} if i in ready else row for i, row in enumerate(rows)]
    for k, i in enumerate(ready):
        state, replica = result.states[k], started[k]
        if state is None:
            rows[i] |= {"failed": result.failures[k]}
            continue
        end, samples = measures.end(evaluator, state.ema, replica.config)
        _save_samples(out / SAMPLES / f"{group[i].name}.npy", samples)
        seconds = {
            "prepare": replica.prepare_s,
            "train": result.train_s[k],
            "evaluate": spent[k],
            "compile": result.compile_s / len(ready),
        }
        rows[i] = identify(config, group[i]) | {
            **protocol_facts(evaluator.protocol),
            "train_hash": replica.dataset.train_hash,
            "reference_hash": replica.dataset.reference_hash,
            "images": int(state.images),
            "steps": int(state.step),
            "evaluations": evaluations[k],
            "end": end,
            **cost,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "way": {"name": strategy, "members": len(ready), "devices": result.devices},
            "versions": versions(),
            "device": _device(),
        }
    return rows


def summary(rows: Sequence[Row]) -> str:
    """The results of a population in a line: KIDs and errors."""
    complete = finished(rows)
    kids = ", ".join(f"{row['end']['kid']:.3f}" for row in complete)
    failures = sorted({row["failed"] for row in rows if "failed" in row})
    return "; ".join([*([f"KID {kids}"] if complete else []), *(f"failed: {text}" for text in failures)])


def _attempt(make: Callable[..., Replica], *args: Any) -> Replica | str:
    """What `make` returns, or its error as a sentence."""
    try:
        return make(*args)
    except Exception as error:  # noqa: BLE001  as above
        return _failure(error)


def _failure(error: Exception) -> str:
    """An error as a sentence; errors of the experiment, not of a method, are raised again."""
    if isinstance(error, (DataError, WeightsError)):
        raise error
    ours = type(error).__module__.startswith("gan_jax")
    if not ours:
        traceback.print_exception(error)  # a bug, which one sentence would hide
    return str(error) if ours else f"{type(error).__name__}: {error}"


def _save_samples(path: Path, samples: np.ndarray) -> None:
    def save(part: Path) -> None:
        with part.open("wb") as file:  # numpy would add .npy to a name
            np.save(file, samples, allow_pickle=False)

    replace(path, save)


def _device() -> Row:
    devices = jax.devices()
    return {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}
