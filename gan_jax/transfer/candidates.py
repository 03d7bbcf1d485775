"""Pretrained pairs on this machine, and which of them is closest to new data."""

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

MOST_RUNS = 6  # newest finished runs that are considered
IMAGES = 256  # of the data and of each source, for a quick comparison


def candidates(runs: Path = Path("runs"), leave_out: Path | None = None) -> list[str]:
    """Lists the names of possible sources: pairs in the package, in the cache, and of finished runs below a folder.

    Args:
      runs: the folder of runs.
      leave_out: folder of the run that is about to start.
    """
    finished = [path.parent.parent for path in runs.glob(f"*/{WEIGHTS}/{MANIFEST}")]
    finished = [run for run in finished if leave_out is None or run.resolve() != leave_out.resolve()]
    newest = sorted(finished, key=lambda run: (run / WEIGHTS / MANIFEST).stat().st_mtime, reverse=True)[:MOST_RUNS]
    packaged = [EMBEDDED + name for name in embedded_names()]
    return [
        *packaged,
        *(name for name in PAIRS if is_pair_there(name)),
        *(str(run) for run in newest if _can_sample(run)),
    ]


def look_at(name: str) -> Pretrained:
    """Describes a source by its manifest; no leaf is read.

    Raises:
      WeightsError, CheckpointError, ConfigError: as `open_source`.
    """
    source = open_source(name)
    roots = {path.partition("/")[0] for path in source.manifest["leaves"]}
    return Pretrained(name, source.net, frozenset(roots & {"g_ema", "d"}))


def pick(
    names: Sequence[str], data: DataConfig, features: str = "fashion-v1", seed: int = 0, wanted: str = ""
) -> Pretrained:
    """Picks the source of the highest recall by a quick comparison of all; `why` of the result holds the reason.

    Args:
      names: of the sources.
      data: the target's images.
      features: name of the feature network.
      seed: of the samples.
      wanted: the property that excluded sources lack, for the reason.

    Raises:
      ConfigError: `names` is empty.
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
        ranking = rank_sources(names, few, features=features, n=IMAGES, most=IMAGES, seed=seed)
    except (ConfigError, MetricError) as error:  # a handful of images has no neighbours
        widest = max((look_at(name) for name in names), key=lambda pair: (pair.net.channels, pair.net.resolution))
        return dataclasses.replace(widest, why=f"the largest one in colour; they were not compared, for {error}")
    best, *others = ranking.scores
    rest = ", ".join(f"{score.recall:.2f} of {score.source}" for score in others)
    if best.recall < LITTLE:
        why = f"{out_of_reach(ranking)}, and of those it is the least bad; --transfer.source none begins from fresh weights"
        return dataclasses.replace(look_at(best.source), why=why)
    why = f"it reaches the most of {ranking.n_target} images (recall {best.recall:.2f}, against {rest}; {ranking.features})"
    return dataclasses.replace(look_at(best.source), why=why)


def _can_sample(run: Path) -> bool:
    """Whether a run's weights can be sampled as images."""
    try:
        pair = look_at(str(run / WEIGHTS))
    except (WeightsError, ConfigError, DataError, KeyError, json.JSONDecodeError, OSError):
        return False
    return "g_ema" in pair.has and pair.net.resolution >= 8 and pair.net.channels in (1, 3, 4)
