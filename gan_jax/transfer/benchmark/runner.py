"""Running a benchmark: its missing trials, one population after the other, one line for each trial."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.data import DataError
from gan_jax.files import replace
from gan_jax.interop import WeightsError
from gan_jax.surgery.provenance import versions
from gan_jax.train.compile import use_all_cores
from gan_jax.train.lock import RunLock
from gan_jax.transfer.benchmark.config import BenchmarkConfig, TrialId, filled_in, trial_config
from gan_jax.transfer.benchmark.game import Replica, make_setup
from gan_jax.transfer.benchmark.measure import GRID_SAMPLES, Measures, protocol_facts
from gan_jax.transfer.benchmark.records import SAMPLES, Row, append_trial, current, finished, identify, missing
from gan_jax.transfer.benchmark.ways import STRATEGIES, Stopped, Strategy, choose_strategy
from gan_jax.transfer.signals import on_sigterm

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
    pair = setup.pair if "g" in setup.method.grafts else None
    evaluator = measures.evaluator(configs[0], pair) if pair else evaluator
    evaluations: list[list[Row]] = [[] for _ in ready]
    spent = [0.0] * len(ready)

    def evaluate(i: int, images: int, seconds: float, g_ema: Any, losses: dict[str, float]) -> None:
        began = time.monotonic()
        numbers = evaluator.measure(g_ema)
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
        end, samples = measures.end(evaluator, state.ema["g"], replica.config)
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
