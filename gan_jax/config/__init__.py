"""The configuration of a run: frozen dataclasses, one per concern, which `validate` checks.

The comment of a field gives its meaning, its unit, and the meaning of None or 0. A `Config` goes to JSON and back
without loss (`to_dict`, `from_dict`), and a run can be started from that file alone. Choices that exclude
each other (networks, transfer methods) are unions of dataclasses, so an impossible mixture cannot be written.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gan_jax.config import methods, nets
from gan_jax.config.checks import problems
from gan_jax.config.methods import *
from gan_jax.config.nets import *
from gan_jax.config.serial import (
    ConfigError,
    differences,
    from_dict,
    has_field,
    kind_in,
    kind_of,
    net_from_dict,
    net_to_dict,
    read_record,
    to_dict,
)
from gan_jax.config.training import (
    TASK_NAMES,
    AnnealConfig,
    AugmentConfig,
    CheckpointConfig,
    DataConfig,
    DiagnoseConfig,
    EMAConfig,
    EvalConfig,
    ImageTask,
    LayoutTask,
    LogConfig,
    LossConfig,
    OneSidedTask,
    OptimConfig,
    PairedTask,
    TaskConfig,
    TaskName,
    TaskOptions,
    TrainConfig,
    TransplantConfig,
    UnpairedTask,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration of a complete run."""

    data: DataConfig = DataConfig()
    net: NetConfig = ResNetConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    ema: EMAConfig = EMAConfig()
    anneal: AnnealConfig = AnnealConfig()
    train: TrainConfig = TrainConfig()
    transfer: MethodConfig = ScratchConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvalConfig = EvalConfig()
    diagnose: DiagnoseConfig = DiagnoseConfig()
    log: LogConfig = LogConfig()
    task: TaskConfig = ImageTask()

    @property
    def d_warmup_kimg(self) -> float:
        """Length of D's warm-up, thousand images."""
        return 0.0 if isinstance(self.transfer, ScratchConfig) else self.transfer.d_warmup_kimg

    def validate(self) -> Config:
        """Returns self, or raises `ConfigError` with a line for every problem and its remedy."""
        if lines := list(problems(self)):
            raise ConfigError("this configuration cannot run:\n" + "\n".join(f"  - {text}" for text in lines))
        return self


__all__ = [
    "TASK_NAMES",
    "AnnealConfig",
    "AugmentConfig",
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DiagnoseConfig",
    "EMAConfig",
    "EvalConfig",
    "ImageTask",
    "LayoutTask",
    "LogConfig",
    "LossConfig",
    "OneSidedTask",
    "OptimConfig",
    "PairedTask",
    "TaskConfig",
    "TaskOptions",
    "TaskName",
    "TrainConfig",
    "TransplantConfig",
    "UnpairedTask",
    "differences",
    "from_dict",
    "has_field",
    "kind_in",
    "kind_of",
    "net_from_dict",
    "net_to_dict",
    "read_record",
    "to_dict",
]
if not TYPE_CHECKING:  # which knows these names from the imports
    __all__ += nets.__all__ + methods.__all__
