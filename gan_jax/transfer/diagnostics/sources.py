"""Ranking of sources before anything is trained, and the pretrained pairs on this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_jax.config import ConfigError, DataConfig
from gan_jax.data import DataError, few_shot, is_pair_spec, load
from gan_jax.files import typed
from gan_jax.interop.weights import EMBEDDED, MANIFEST, PAIRS, WeightsError, embedded_names, is_pair_there
from gan_jax.metrics import MetricError, extract, frechet_distance, kid, load_features, summarise
from gan_jax.metrics.neighbours import empty_balls, prdc_and_empty
from gan_jax.seeds import root_key
from gan_jax.tasks.model import WEIGHTS, Model
from gan_jax.transfer.choices import Pretrained
from gan_jax.transfer.dataset import reading
from gan_jax.transfer.models import load as load_model
from gan_jax.transfer.source import FeatureSource, open_source

# ----------------------------------------------------------------------------------------------------------------------
# Ranking of sources: the choice of a pretrained pair before anything is trained.
#
# Grigoryev, Voynov and Babenko (ICLR 2022) compared pairs on many targets: the best predictor of the result is the recall
# of the source's samples against the target's data, the share of target images that the source covers. Precision and the
# Frechet distance are worse predictors: they favour samples that look like the target, but the value of a pretrained G is
# its modes.

MOST_TARGETS = 5000  # target images that are used
LITTLE = 0.05  # recall below which a source's samples have almost nothing in common with the target; a rule of thumb


class SourceScore(NamedTuple):
    """The metrics of a source's samples against the target."""

    source: str
    recall: float  # sources are ranked by it
    coverage: float
    precision: float
    kid: float
    fd: float  # biased upwards for few images, equally for all sources


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Ranked sources, the best first.

    Attributes:
      scores: by falling recall, sources of equal recall by rising KID.
      features: name of the feature network.
      n_target, n_source: numbers of images of the target and of each source.
      k: number of neighbours.
      notes: reasons why a score is not reliable, with the name of its source.
    """

    scores: tuple[SourceScore, ...]
    features: str
    n_target: int
    n_source: int
    k: int
    notes: tuple[str, ...] = ()


def score(name: str, target: np.ndarray, samples: np.ndarray, k: int = 5, seed: int = 0) -> SourceScore:
    """A source's score from features of the target `[N, D]` and of its samples `[M, D]`."""
    return _score(name, target, samples, k, seed)[0]


def _score(name: str, target: np.ndarray, samples: np.ndarray, k: int, seed: int) -> tuple[SourceScore, list[str]]:
    """A score, and notes why it is not reliable: too many copies of an image."""
    neighbours, *empty = prdc_and_empty(target, samples, k)
    parts = zip(empty, (len(target), len(samples)), ("target", "generated"), strict=True)
    notes = [f"{name}: {empty_balls(count, n, part, k)}" for count, n, part in parts if count]
    distance = frechet_distance(summarise(target), summarise(samples), allow_singular=True)
    size = min(len(target), len(samples), 1000)
    kernel_distance = kid(target, samples, subset_size=size, seed=seed).mean
    prdc = neighbours.recall, neighbours.coverage, neighbours.precision
    return SourceScore(name, *prdc, kernel_distance, distance), notes


def rank(scores: Sequence[SourceScore]) -> tuple[SourceScore, ...]:
    """The scores by falling recall, sources of equal recall by rising KID."""
    return tuple(sorted(scores, key=lambda score: (-score.recall, score.kid)))


def advice(ranking: Ranking) -> str:
    """The recommended source as a sentence: that of the highest recall, unless no source covers the target."""
    best, *worse = ranking.scores
    if best.recall < LITTLE:
        return (
            f"none recommended: {out_of_reach(ranking)}. Look for a source of images that are more like them, or compare "
            f"training from fresh weights (--transfer.source none) with the least bad source, {best.source} (KID {best.kid:.3f})"
        )
    tied = [score.source for score in worse if score.recall == best.recall]
    by_kid = f"; {', '.join(tied)} of the same recall and a higher KID" if tied else ""
    return f"recommended: {best.source} (recall {best.recall:.3f} on {ranking.features}{by_kid})"


def out_of_reach(ranking: Ranking) -> str:
    """The statement that no source's samples are near the target, with the best recall."""
    best = ranking.scores[0]
    return f"no source resembles these {ranking.n_target} images (recall {best.recall:.3f} at best, {ranking.features})"


def rank_sources(
    sources: Sequence[str],
    data: DataConfig,
    *,
    features: str = "fashion-v1",
    n: int = 2000,
    k: int = 5,
    seed: int = 0,
    most: int = MOST_TARGETS,
) -> Ranking:
    """Ranks pretrained pairs for a target; nothing is trained.

    Args:
      sources: weights folders, run folders, `embedded:NAME` or pairs of the cache.
      data: the target; with `shots` only the training images of such a run are used.
      features: feature network, named in the result.
      n: samples of each source, at its own resolution and in its own colours.
      k: neighbours of recall.
      seed: of the samples.
      most: number of target images that are used at most.

    Raises:
      ConfigError: no source, a source without a generator or without weights yet, or too few target images or samples
        for `k` neighbours.
    """
    if not sources:
        raise ConfigError("name at least one source: a weights folder, a run folder, embedded:fashion16 or digiface64")
    if is_pair_spec(data.source):
        raise ConfigError(
            f"{data.source} is a set of pairs, and sources are ranked by samples without an input; of translators take the "
            f"nearest to these images: gan-jax fuse {data.source} --donors A B --method merge --transfer.merge best"
        )
    if k < 1:
        raise ConfigError(f"--k is {k}; use at least 1 neighbour (5 is usual)")
    if n <= k:
        raise ConfigError(f"{n} samples of a source (--n) are too few for {k} neighbours; use at least {k + 1}")
    models = {name: _model(name) for name in sources}
    target = _target(list(models.values()), data, most)
    if len(target) <= k:
        remedy = f"use --k {len(target) - 1}" if len(target) > 1 else "recall needs at least 2 images"
        raise ConfigError(f"the target has {len(target)} images, too few for {k} neighbours; {remedy}")
    net = load_features(features)
    real = extract(net, target).values
    key = root_key(seed)
    features_of = lambda model: extract(net, model.sample(key, n)).values
    scores, notes = zip(*(_score(name, real, features_of(model), k, seed) for name, model in models.items()))
    return Ranking(rank(scores), net.name, len(target), n, k, tuple(note for of_source in notes for note in of_source))


def _model(name: str) -> Model:
    """Loads a source, and checks that it has a generator to sample."""
    try:
        model = load_model(name)
    except FileNotFoundError as error:  # a run without weights yet
        raise ConfigError(f"{name} cannot be ranked: {error}") from error
    if model.config.translates:
        raise ConfigError(
            f"{name} cannot be ranked: sources are ranked by their samples, and it translates images; compare what it makes of "
            f"held-out pairs: gan-jax evaluate {typed(name)} --data.source pairs:A,B"
        )
    if "g_ema" not in model.variables:
        raise ConfigError(f"{name} cannot be ranked: it holds {', '.join(model.variables)}, and no generator to sample")
    return model


def _target(models: Sequence[Model], data: DataConfig, most: int = MOST_TARGETS) -> np.ndarray:
    """Images of the target, uint8 `[N, H, W, C]`, at the highest resolution and in the most channels of any source."""
    resolution = max(model.config.resolution for model in models)
    channels = max(model.config.channels for model in models)
    images = load(data.source, resolution=resolution, channels=channels, **reading(data))
    if data.shots is not None and data.shots > len(images):
        raise ConfigError(f"data.shots is {data.shots}, but {images.name} has {len(images)} images; use None for all")
    count = min(len(images), data.shots or len(images), most)
    return images.take(few_shot(len(images), count, seed=data.subset_seed).chosen).images


# ----------------------------------------------------------------------------------------------------------------------
# Pretrained pairs on this machine, and which of them is closest to new data.

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
    if isinstance(source, FeatureSource):
        raise ConfigError(
            f"{name} fills the encoder of networks from images to images, and the data are images alone; name a "
            "pretrained pair, or a task of pairs with --task"
        )
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
    return (
        "g_ema" in pair.has and not pair.net.translates and pair.net.resolution >= 8 and pair.net.channels in (1, 3, 4)
    )
