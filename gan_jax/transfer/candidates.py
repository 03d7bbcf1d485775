"""Pretrained pairs that are on this machine, and which of them suits new data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from gan_jax.config import ConfigError, DataConfig
from gan_jax.data import DataError
from gan_jax.interop.pairs import PAIRS, is_pair_there
from gan_jax.interop.weights import EMBEDDED, MANIFEST, WeightsError, embedded_names
from gan_jax.metrics import MetricError
from gan_jax.tasks.model import WEIGHTS
from gan_jax.transfer.choices import Pretrained
from gan_jax.transfer.diagnostics.sources import LITTLE, out_of_reach, rank_sources
from gan_jax.transfer.source import open_source

MOST_RUNS = 6  # finished runs that are looked at, the newest
IMAGES = 256  # of the data and of each source, for a quick look


def candidates(runs: Path = Path("runs"), leave_out: Path | None = None) -> list[str]:
    """What can be named as a source: pairs inside the package, in the cache, and of finished runs below a folder.

    Args:
      runs: the folder of runs.
      leave_out: a run that is to be made.
    """
    finished = [path.parent.parent for path in runs.glob(f"*/{WEIGHTS}/{MANIFEST}")]
    finished = [run for run in finished if leave_out is None or run.resolve() != leave_out.resolve()]
    newest = sorted(finished, key=lambda run: (run / WEIGHTS / MANIFEST).stat().st_mtime, reverse=True)[:MOST_RUNS]
    packaged = [EMBEDDED + name for name in embedded_names()]
    return [*packaged, *(name for name in PAIRS if is_pair_there(name)), *(str(run) for run in newest if _whole(run))]


def look_at(name: str) -> Pretrained:
    """A source as far as its manifest tells; no leaf is read.

    Raises:
      WeightsError, CheckpointError, ConfigError: as `open_source`.
    """
    source = open_source(name)
    roots = {path.partition("/")[0] for path in source.manifest["leaves"]}
    return Pretrained(name, source.net, frozenset(roots & {"g_ema", "d"}))


def pick(
    names: Sequence[str], data: DataConfig, features: str = "fashion-v1", seed: int = 0, wanted: str = ""
) -> Pretrained:
    """The source of the highest recall, by a quick look at all, and in its `why` what was seen.

    Args:
      names: of the sources.
      data: that they are to suit.
      features: of which network.
      seed: of what they are sampled with.
      wanted: what others on this machine were left out for not having, for the `why`.

    Raises:
      ConfigError: there is no source.
    """
    if not names:
        raise ConfigError(
            "there is no pretrained pair on this machine; gan-jax weights get digiface64, or train from fresh weights with "
            "--transfer.source none"
        )
    if len(names) == 1:
        more = "" if is_pair_there(PAIRS[0]) else f"; a pair of 64 px in colour: gan-jax weights get {PAIRS[0]}"
        only = f"the only pair on this machine{f' that has {wanted}' if wanted else ''}"
        return dataclasses.replace(look_at(names[0]), why=only + more)
    few = dataclasses.replace(data, shots=None)
    try:
        found = rank_sources(names, few, features=features, n=IMAGES, most=IMAGES, seed=seed)
    except (ConfigError, MetricError) as error:  # a handful of images has no neighbours
        widest = max((look_at(name) for name in names), key=lambda one: (one.net.channels, one.net.resolution))
        return dataclasses.replace(widest, why=f"the largest one in colour; they were not compared, for {error}")
    best, *others = found.scores
    rest = ", ".join(f"{one.recall:.2f} of {one.source}" for one in others)
    if best.recall < LITTLE:
        why = (
            f"{out_of_reach(found)}, and of those it is the least bad; --transfer.source none begins from fresh weights"
        )
        return dataclasses.replace(look_at(best.source), why=why)
    why = f"it reaches the most of {found.n_target} images (recall {best.recall:.2f}, against {rest}; {found.features})"
    return dataclasses.replace(look_at(best.source), why=why)


def _whole(run: Path) -> bool:
    """Whether a run's weights can be sampled as images."""
    try:
        one = look_at(str(run / WEIGHTS))
    except (WeightsError, ConfigError, DataError, KeyError, json.JSONDecodeError, OSError):
        return False
    return "g_ema" in one.has and one.net.resolution >= 8 and one.net.channels in (1, 3, 4)
