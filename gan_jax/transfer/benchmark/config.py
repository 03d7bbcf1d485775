"""Configuration of a benchmark: sources x targets x methods x shots x learning rates x seeds, and what trials share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from gan_jax.config import CheckpointConfig, Config, ConfigError, DataConfig, MethodConfig, to_dict
from gan_jax.config.serial import former_spelling


@dataclasses.dataclass(frozen=True)
class Target:
    """Images to adapt to; shots and their seed are the trial's."""

    data: DataConfig  # environment variables in `source` are expanded when the images are read
    relation: Literal["near", "far"]  # to the sources, in the judgement of the experiment's author


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The configuration of a benchmark.

    Attributes:
      title: of the page.
      base: what every trial shares: networks, loss, optimiser, budget (`train.kimg`), evaluation. Its method, seed,
        number of shots and checkpoints are not used.
      sources: name -> weights, as `transfer.source` takes them.
      targets: name -> images.
      methods: name -> configuration; the source is filled in. A method may have several names.
      shots: numbers of training images.
      seeds: of weights, latents, and the choice of training images.
      lrs: learning rates of G; D's follows in proportion. Empty = that of `base` alone.
      lpips: network of intra-cluster LPIPS at the end of a trial, "vgg16" or "alexnet"; None = not measured.
      baseline: the method whose final quality is the goal of the others; None = there is none.
    """

    title: str
    base: Config
    sources: Mapping[str, str]
    targets: Mapping[str, Target]
    methods: Mapping[str, MethodConfig]
    shots: tuple[int, ...] = (100,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    lrs: tuple[float, ...] = ()
    lpips: Literal["vgg16", "alexnet"] | None = None
    baseline: str | None = "scratch"

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of G."""
        return self.lrs or (self.base.optim.lr,)

    def validate(self) -> BenchmarkConfig:
        """Returns self, or raises ConfigError with all errors of the configuration."""
        errors = [text for name in AXES if (text := _axis_error(name, getattr(self, name)))]
        if self.baseline is not None and self.baseline not in self.methods:
            errors.append(f"baseline is {self.baseline!r}, which is none of the methods; name one of them, or None")
        if self.base.evaluate.features is None:
            errors.append("base.evaluate.features is None, so that nothing would be measured; use fashion-v1")
        if self.lpips is not None and self.base.net.translates:
            errors.append(
                f"lpips is {self.lpips}, which is of samples around training images, and these networks translate; use None"
            )
        if min(self.rates) <= 0:
            errors.append("lrs must be positive")
        if len(self.rates) > 1 and self.base.anneal.lr is not None:
            errors.append(
                "base.anneal.lr ends all learning rates at one value, so lrs must be a single one, or it None"
            )
        if errors:
            raise ConfigError("this benchmark cannot run:\n" + "\n".join(f"  - {text}" for text in errors))
        return self


AXES = ("sources", "targets", "methods", "shots", "seeds", "lrs")


def _axis_error(name: str, values: Any) -> str | None:
    if not values and name != "lrs":
        return f"{name} is empty; name at least one"
    if isinstance(values, Mapping):
        wrong = [key for key in values if not re.fullmatch(r"[\w.+-]+", key)]
        return f"{name} has {wrong[0]!r}, which is no file name; use letters, digits and _ . + -" if wrong else None
    return f"{name} names {values} twice or more" if len(set(values)) < len(values) else None


@dataclasses.dataclass(frozen=True)
class TrialId:
    """The identity of a trial; `source` is None where the method uses no source."""

    source: str | None
    target: str
    method: str
    shots: int
    lr: float
    seed: int

    @property
    def group(self) -> tuple[str | None, str, str, int]:
        """What the trials of one population share: they differ in learning rate and seed only."""
        return self.source, self.target, self.method, self.shots

    @property
    def name(self) -> str:
        """The name for files, such as `fashion16-boot-cdc-100-lr0.0005-s0`."""
        return f"{self.source or 'none'}-{self.target}-{self.method}-{self.shots}-lr{self.lr:g}-s{self.seed}"


def trials(config: BenchmarkConfig) -> list[TrialId]:
    """All trials; a method without a source has its trials once, whatever the number of sources."""
    ids: dict[TrialId, None] = {}  # an ordered set
    for target in config.targets:
        for shots in config.shots:
            for name in config.sources:
                for method, transfer in config.methods.items():
                    source = name if hasattr(transfer, "source") else None
                    ids |= {
                        TrialId(source, target, method, shots, lr, seed): None
                        for lr in config.rates
                        for seed in config.seeds
                    }
    return list(ids)


def trial_config(config: BenchmarkConfig, trial: TrialId) -> Config:
    """The configuration of a trial's run; environment variables are not expanded, so it is the same on every machine."""
    base, transfer = config.base, config.methods[trial.method]
    if trial.source is not None:
        source: Any = {"source": config.sources[trial.source]}
        transfer = dataclasses.replace(transfer, **source)
    d_lr = base.optim.d_lr if base.optim.d_lr is None else base.optim.d_lr * trial.lr / base.optim.lr
    return dataclasses.replace(
        base,
        data=dataclasses.replace(config.targets[trial.target].data, shots=trial.shots, subset_seed=trial.seed),
        optim=dataclasses.replace(base.optim, lr=trial.lr, d_lr=d_lr),
        train=dataclasses.replace(base.train, seed=trial.seed),
        transfer=transfer,
        checkpoint=CheckpointConfig(every_kimg=None),
    )


def config_hash(config: BenchmarkConfig, trial: TrialId) -> str:
    """A hash of all parts of the configuration that a trial's numbers depend on, 16 hex digits."""
    parts = former_spelling(to_dict(trial_config(config, trial)))
    for part, fields in LATER_FIELDS.items():  # a result that was measured before they existed still counts
        parts[part] = {name: x for name, x in parts[part].items() if name not in fields or x != fields[name]}
    run = {part: values for part, values in parts.items() if part not in IRRELEVANT and values}
    document = {"run": run, "lpips": config.lpips}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


IRRELEVANT = ("checkpoint", "log", "diagnose")  # parts of a configuration that no number depends on
LATER_FIELDS: dict[str, dict[str, Any]] = {  # fields that are newer than some results, and their defaults
    "transfer": {"dtype": "cast"},
    "task": {},
    "data": {"load_size": None},
    "optim": {"decay_from": 0.5, "decay_steps": 0},
}


def filled_in(config: Config) -> Config:
    """A trial's configuration with environment variables in paths replaced by their values.

    Raises:
      ConfigError: a variable that is not set.
    """
    data = dataclasses.replace(config.data, source=_expand(config.data.source, "data.source"))
    transfer: Any = config.transfer
    if hasattr(transfer, "source"):
        transfer = dataclasses.replace(transfer, source=_expand(transfer.source, "the source"))
    return dataclasses.replace(config, data=data, transfer=transfer)


def _expand(text: str, what: str) -> str:
    path = os.path.expandvars(text)
    if variable := re.search(r"\$\{?(\w+)", path):
        raise ConfigError(f"{what} is {text}, but {variable[1]} is not set in the environment; set it to the folder")
    return path
