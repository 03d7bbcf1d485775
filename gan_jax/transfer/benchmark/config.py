"""What a benchmark compares: sources x targets x methods x shots x learning rates x seeds, and what all cells share."""

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
    """Images to adapt to; shots and their seed are the cell's."""

    data: DataConfig  # environment variables in `source` are filled in when the images are read
    relation: Literal["near", "far"]  # to the sources, as whoever wrote the experiment sees it


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """An experiment.

    Attributes:
      title: of the page.
      base: what every cell shares: networks, loss, optimiser, budget (`train.kimg`), evaluation. Its method, seed,
        number of shots and checkpoints do not count.
      sources: name -> weights, as `transfer.source` takes them.
      targets: name -> images.
      methods: name -> configuration; the source is filled in. One method may stand there twice.
      shots: numbers of training images.
      seeds: of weights, latents, and the choice of training images.
      lrs: step sizes of G; D's follows in proportion. Empty = that of `base` alone.
      lpips: network of intra-cluster LPIPS at the end of a cell, "vgg16" or "alexnet"; None = not measured.
      baseline: the method whose final quality the others are to reach; None = there is none.
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
        """The step sizes of G."""
        return self.lrs or (self.base.optim.lr,)

    def validate(self) -> BenchmarkConfig:
        """Returns self, or raises ConfigError with everything that cannot be run."""
        found = [text for name in AXES if (text := _axis_problem(name, getattr(self, name)))]
        if self.baseline is not None and self.baseline not in self.methods:
            found.append(f"baseline is {self.baseline!r}, which is none of the methods; name one of them, or None")
        if self.base.evaluate.features is None:
            found.append("base.evaluate.features is None, so that nothing would be measured; use fashion-v1")
        if min(self.rates) <= 0:
            found.append("lrs must be positive")
        if len(self.rates) > 1 and self.base.anneal.lr is not None:
            found.append("base.anneal.lr ends all learning rates at one value, so lrs must be a single one, or it None")
        if found:
            raise ConfigError("this benchmark cannot run:\n" + "\n".join(f"  - {text}" for text in found))
        return self


AXES = ("sources", "targets", "methods", "shots", "seeds", "lrs")


def _axis_problem(name: str, values: Any) -> str | None:
    if not values and name != "lrs":
        return f"{name} is empty; name at least one"
    if isinstance(values, Mapping):
        wrong = [key for key in values if not re.fullmatch(r"[\w.+-]+", key)]
        return f"{name} has {wrong[0]!r}, which is no file name; use letters, digits and _ . + -" if wrong else None
    return f"{name} names {values} twice or more" if len(set(values)) < len(values) else None


@dataclasses.dataclass(frozen=True)
class CellId:
    """Which cell; `source` is None where the method takes nothing from any."""

    source: str | None
    target: str
    method: str
    shots: int
    lr: float
    seed: int

    @property
    def group(self) -> tuple[str | None, str, str, int]:
        """Cells that differ in learning rate and seed only run as one population."""
        return self.source, self.target, self.method, self.shots

    @property
    def name(self) -> str:
        """For files: `fashion16-boot-cdc-100-lr0.0005-s0`."""
        return f"{self.source or 'none'}-{self.target}-{self.method}-{self.shots}-lr{self.lr:g}-s{self.seed}"


def cells(config: BenchmarkConfig) -> list[CellId]:
    """All cells; those of a method without a source stand there once, whatever the number of sources."""
    found: dict[CellId, None] = {}
    for target in config.targets:
        for shots in config.shots:
            for source in config.sources:
                for method, chosen in config.methods.items():
                    named = source if hasattr(chosen, "source") else None
                    found |= {
                        CellId(named, target, method, shots, lr, seed): None
                        for lr in config.rates
                        for seed in config.seeds
                    }
    return list(found)


def cell_config(config: BenchmarkConfig, cell: CellId) -> Config:
    """The run that a cell is; environment variables are not filled in, so that it reads the same on every machine."""
    base, transfer = config.base, config.methods[cell.method]
    if cell.source is not None:
        source: Any = {"source": config.sources[cell.source]}
        transfer = dataclasses.replace(transfer, **source)
    d_lr = base.optim.d_lr if base.optim.d_lr is None else base.optim.d_lr * cell.lr / base.optim.lr
    return dataclasses.replace(
        base,
        data=dataclasses.replace(config.targets[cell.target].data, shots=cell.shots, subset_seed=cell.seed),
        optim=dataclasses.replace(base.optim, lr=cell.lr, d_lr=d_lr),
        train=dataclasses.replace(base.train, seed=cell.seed),
        transfer=transfer,
        checkpoint=CheckpointConfig(every_kimg=None),
    )


def config_hash(config: BenchmarkConfig, cell: CellId) -> str:
    """16 hex digits of everything that a cell's numbers depend on in the configuration."""
    parts = former_spelling(to_dict(cell_config(config, cell)))
    for part, fields in LATER.items():  # a result that was measured before they existed still counts
        parts[part] = {name: x for name, x in parts[part].items() if name not in fields or x != fields[name]}
    run = {part: values for part, values in parts.items() if part not in NO_MATTER and values}
    said = {"run": run, "lpips": config.lpips}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


NO_MATTER = ("checkpoint", "log", "diagnose")  # parts of a configuration that no number depends on
LATER: dict[str, dict[str, Any]] = {
    "transfer": {"dtype": "cast"},
    "task": {},
}  # fields that came later, and their defaults


def filled_in(config: Config) -> Config:
    """A cell's configuration with environment variables in paths replaced by their values.

    Raises:
      ConfigError: one that is not set.
    """
    data = dataclasses.replace(config.data, source=_expand(config.data.source, "data.source"))
    transfer: Any = config.transfer
    if hasattr(transfer, "source"):
        transfer = dataclasses.replace(transfer, source=_expand(transfer.source, "the source"))
    return dataclasses.replace(config, data=data, transfer=transfer)


def _expand(text: str, what: str) -> str:
    out = os.path.expandvars(text)
    if left := re.search(r"\$\{?(\w+)", out):
        raise ConfigError(f"{what} is {text}, but {left[1]} is not set in the environment; set it to the folder")
    return out
