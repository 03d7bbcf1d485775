"""Running a benchmark: what is missing, population by population, one line for each cell."""

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
from gan_jax.transfer.benchmark.config import BenchmarkConfig, CellId, cell_config, filled_in
from gan_jax.transfer.benchmark.game import Member, make_game
from gan_jax.transfer.benchmark.measure import SHOWN, Measures, protocol_facts
from gan_jax.transfer.benchmark.records import SAMPLES, Row, append_cell, current, identify, missing
from gan_jax.transfer.benchmark.ways import WAYS, Stopped, WayName, choose_way
from gan_jax.transfer.signals import on_sigterm

Note = Callable[[str], None]
COMPILED = ".compiled"


def run_benchmark(
    config: BenchmarkConfig,
    out: str | Path,
    *,
    way: WayName | None = None,
    again: bool = False,
    note: Note = lambda text: None,
) -> bool:
    """Runs the cells that have no line yet.

    A method that refuses the networks or breaks on its way is a line too, with its sentence; the others go on.

    Args:
      config: of the benchmark.
      out: folder of `cells.jsonl` and of samples; made if absent. One process at a time.
      way: how members of a population train; None = the fastest of this platform.
      again: whether cells that failed are tried again.
      note: told a sentence for every population.

    Returns:
      Whether it was stopped by SIGTERM before its end; the same call goes on.

    Raises:
      ConfigError, DataError, WeightsError, MetricError: what no cell could run with.
    """
    config, out = config.validate(), Path(out)
    use_all_cores()
    with RunLock(out), on_sigterm() as asked, compiled_once(out / COMPILED):
        (out / SAMPLES).mkdir(exist_ok=True)
        todo = missing(config, current(out, config), again=again)
        measures = Measures(config.lpips)
        for number, group in enumerate(todo, 1):
            if asked.is_set():
                return True
            cell = group[0]
            note(f"[{number}/{len(todo)}] {cell.target}, {cell.method}, {cell.shots} shots: {len(group)} runs")
            began = time.monotonic()
            try:
                rows = run_group(config, group, measures, out, way or choose_way(), asked.is_set)
            except Stopped:
                return True
            for row in rows:
                append_cell(out, row)
            note(f"  {summary(rows)}; {time.monotonic() - began:.0f} s")
    return False


@contextlib.contextmanager
def compiled_once(folder: Path) -> Iterator[None]:
    """Programs that are equal are compiled once, also those that a preparation makes anew for every member.

    They are kept in a folder; one that the user set for JAX stands.
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
    group: Sequence[CellId],
    measures: Measures,
    out: Path,
    way: WayName,
    stop: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Trains cells that differ in seed and learning rate only, and returns their lines."""
    configs = [filled_in(cell_config(config, cell)) for cell in group]
    plain = measures.evaluator(configs[0])  # outside of what a method may fail at
    datasets = [measures.dataset(one) for one in configs]
    _save_samples(out / SAMPLES / f"real-{group[0].target}.npy", datasets[0].reference.images[:SHOWN])
    try:
        game = make_game(configs[0], group[0].shots, scaled=len(config.rates) > 1)
        members = [_attempt(game.member, one, data) for one, data in zip(configs, datasets, strict=True)]
    except Exception as error:  # noqa: BLE001  whatever a method cannot do is that method's line
        members, game = [_failure(error) for _ in group], None
    rows = [identify(config, cell) | {"failed": str(member)} for cell, member in zip(group, members, strict=True)]
    ready = [i for i, member in enumerate(members) if isinstance(member, Member)]
    if game is None or not ready:
        return rows
    pair = game.pair if "g" in game.method.grafts else None
    evaluator = measures.evaluator(configs[0], pair) if pair else plain
    evaluations: list[list[Row]] = [[] for _ in ready]
    spent = [0.0] * len(ready)

    def evaluate(i: int, images: int, seconds: float, g_ema: Any, losses: dict[str, float]) -> None:
        began = time.monotonic()
        numbers = evaluator.measure(g_ema)
        losses = {name: value for name, value in losses.items() if name != "images_per_s"}
        evaluations[i].append({"images": images, "seconds": round(seconds, 3), **numbers, "losses": losses})
        spent[i] += time.monotonic() - began

    try:
        started: Any = [members[i] for i in ready]
        trained = WAYS[way](game, started, evaluate, stop)
        cost = game.cost()
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  as above
        return [row | {"failed": _failure(error)} if i in ready else row for i, row in enumerate(rows)]
    for k, i in enumerate(ready):
        state, member = trained.states[k], started[k]
        if state is None:
            rows[i] |= {"failed": trained.failures[k]}
            continue
        end, samples = measures.end(evaluator, state.ema["g"], member.config)
        _save_samples(out / SAMPLES / f"{group[i].name}.npy", samples)
        seconds = {"prepare": member.prepare_s, "train": trained.train_s[k], "evaluate": spent[k],
                   "compile": trained.compile_s / len(ready)}  # fmt: skip
        rows[i] = identify(config, group[i]) | {
            **protocol_facts(evaluator.protocol),
            "train_hash": member.dataset.train_hash,
            "reference_hash": member.dataset.reference_hash,
            "images": int(state.images),
            "steps": int(state.step),
            "evaluations": evaluations[k],
            "end": end,
            **cost,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "way": {"name": way, "members": len(ready), "devices": trained.devices},
            "versions": versions(),
            "device": _device(),
        }
    return rows


def summary(rows: Sequence[Row]) -> str:
    """What became of a population, in a line."""
    done = [row for row in rows if "failed" not in row]
    kids = ", ".join(f"{row['end']['kid']:.3f}" for row in done)
    failures = sorted({row["failed"] for row in rows if row not in done})
    return "; ".join([*([f"KID {kids}"] if done else []), *(f"failed: {text}" for text in failures)])


def _attempt(make: Callable[..., Member], *args: Any) -> Member | str:
    try:
        return make(*args)
    except Exception as error:  # noqa: BLE001  as above
        return _failure(error)


def _failure(error: Exception) -> str:
    """An error as a sentence; what is wrong with the experiment and not with a method is raised again."""
    if isinstance(error, (DataError, WeightsError)):
        raise error
    ours = type(error).__module__.startswith("gan_jax")
    if not ours:
        traceback.print_exception(error)  # a bug, which a line alone would hide
    return str(error) if ours else f"{type(error).__name__}: {error}"


def _save_samples(path: Path, samples: np.ndarray) -> None:
    def save(part: Path) -> None:
        with part.open("wb") as file:  # numpy would add .npy to a name
            np.save(file, samples, allow_pickle=False)

    replace(path, save)


def _device() -> Row:
    devices = jax.devices()
    return {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}
