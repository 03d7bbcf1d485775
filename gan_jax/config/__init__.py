"""What a run is: frozen dataclasses, one per concern, checked once by `validate`.

Every field says what it is, its unit, and what None or 0 turns off. A `Config` goes to JSON and back
without loss (`to_dict`, `from_dict`), and a run can be started from that file alone. Choices that exclude
each other (networks, transfer methods) are unions of dataclasses, so an impossible mixture cannot be written.
"""

from __future__ import annotations

import dataclasses

from gan_jax.config.diagnostics import DiagnoseConfig
from gan_jax.config.methods import (
    FUSIONS,
    METHOD_NAMES,
    AdaFMConfig,
    AdAMConfig,
    AttentionFusionConfig,
    BSAConfig,
    CDCConfig,
    DCLConfig,
    DistillationConfig,
    EWCConfig,
    FeatureDistillationConfig,
    FeatureFusionConfig,
    FinetuneConfig,
    FreezeDConfig,
    FreezeGConfig,
    FSGANConfig,
    GradientFusionConfig,
    KMLConfig,
    L2SPConfig,
    LoRAConfig,
    MergeConfig,
    MethodConfig,
    MethodName,
    MineGANConfig,
    NADAConfig,
    RICKConfig,
    RootingConfig,
    RSSAConfig,
    ScaleShiftConfig,
    ScratchConfig,
)
from gan_jax.config.nets import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    NetConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
)
from gan_jax.config.serial import (
    ConfigError,
    differences,
    from_dict,
    net_from_dict,
    net_to_dict,
    read_record,
    to_dict,
)
from gan_jax.config.tasks import ImageTask, TaskConfig
from gan_jax.config.training import (
    AnnealConfig,
    AugmentConfig,
    CheckpointConfig,
    DataConfig,
    EMAConfig,
    EvalConfig,
    LogConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
)
from gan_jax.config.transplant import TransplantConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

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
        """Thousand images for which D trains alone."""
        return 0.0 if isinstance(self.transfer, ScratchConfig) else self.transfer.d_warmup_kimg

    def validate(self) -> Config:
        """Returns self, or raises `ConfigError` with every combination that cannot run and what to change."""
        from gan_jax.checks import problems  # which knows the classes of this module

        if found := list(problems(self)):
            raise ConfigError("this configuration cannot run:\n" + "\n".join(f"  - {text}" for text in found))
        return self


__all__ = [
    "FUSIONS",
    "ImageTask",
    "TaskConfig",
    "METHOD_NAMES",
    "AttentionFusionConfig",
    "MergeConfig",
    "DistillationConfig",
    "FeatureFusionConfig",
    "GradientFusionConfig",
    "RootingConfig",
    "NADAConfig",
    "RICKConfig",
    "AdAMConfig",
    "DCLConfig",
    "RSSAConfig",
    "CDCConfig",
    "FeatureDistillationConfig",
    "EWCConfig",
    "L2SPConfig",
    "MineGANConfig",
    "KMLConfig",
    "LoRAConfig",
    "FSGANConfig",
    "AdaFMConfig",
    "BSAConfig",
    "ScaleShiftConfig",
    "FreezeGConfig",
    "AnnealConfig",
    "AugmentConfig",
    "BigGANConfig",
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DCGANConfig",
    "DataConfig",
    "DiagnoseConfig",
    "EMAConfig",
    "EvalConfig",
    "FinetuneConfig",
    "FreezeDConfig",
    "LogConfig",
    "LossConfig",
    "MLPConfig",
    "MethodConfig",
    "MethodName",
    "NetConfig",
    "OptimConfig",
    "R3GANConfig",
    "ResNetConfig",
    "SNGANConfig",
    "ScratchConfig",
    "StyleGAN2Config",
    "TrainConfig",
    "TransplantConfig",
    "differences",
    "from_dict",
    "net_from_dict",
    "net_to_dict",
    "read_record",
    "to_dict",
]
