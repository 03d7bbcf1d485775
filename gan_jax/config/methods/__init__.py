"""What is done with a pretrained pair: one dataclass per transfer method, and `MethodConfig`, any of them."""

from __future__ import annotations

from typing import Literal

from gan_jax.config.methods.anchored import (
    CDCConfig,
    DCLConfig,
    EWCConfig,
    FeatureDistillationConfig,
    L2SPConfig,
    RSSAConfig,
)
from gan_jax.config.methods.fused_features import DistillationConfig, FeatureFusionConfig, RootingConfig
from gan_jax.config.methods.fusion import AttentionFusionConfig, GradientFusionConfig, MergeConfig
from gan_jax.config.methods.importance import AdAMConfig, RICKConfig
from gan_jax.config.methods.latent import MineGANConfig
from gan_jax.config.methods.light import AdaFMConfig, BSAConfig, FSGANConfig, KMLConfig, LoRAConfig, ScaleShiftConfig
from gan_jax.config.methods.text import NADAConfig
from gan_jax.config.methods.whole import FinetuneConfig, FreezeDConfig, FreezeGConfig, ScratchConfig

MethodConfig = (
    ScratchConfig
    | FinetuneConfig
    | FreezeDConfig
    | FreezeGConfig
    | ScaleShiftConfig
    | BSAConfig
    | AdaFMConfig
    | FSGANConfig
    | LoRAConfig
    | KMLConfig
    | MineGANConfig
    | L2SPConfig
    | EWCConfig
    | FeatureDistillationConfig
    | CDCConfig
    | RSSAConfig
    | DCLConfig
    | AdAMConfig
    | RICKConfig
    | NADAConfig
    | GradientFusionConfig
    | AttentionFusionConfig
    | MergeConfig
    | FeatureFusionConfig
    | DistillationConfig
    | RootingConfig
)

MethodName = Literal[
    "scratch",
    "finetune",
    "freeze_d",
    "freeze_g",
    "scale_shift",
    "bsa",
    "adafm",
    "fsgan",
    "lora",
    "kml",
    "minegan",
    "l2_sp",
    "ewc",
    "feature_distillation",
    "cdc",
    "rssa",
    "dcl",
    "adam",
    "rick",
    "nada",
    "gradient_fusion",
    "attention_fusion",
    "merge",
    "feature_fusion",
    "distillation",
    "cocktail",
]  # of METHOD_NAMES
METHOD_NAMES: dict[str, type] = {  # as the command line says it
    "scratch": ScratchConfig,
    "finetune": FinetuneConfig,
    "freeze_d": FreezeDConfig,
    "freeze_g": FreezeGConfig,
    "scale_shift": ScaleShiftConfig,
    "bsa": BSAConfig,
    "adafm": AdaFMConfig,
    "fsgan": FSGANConfig,
    "lora": LoRAConfig,
    "kml": KMLConfig,
    "minegan": MineGANConfig,
    "l2_sp": L2SPConfig,
    "ewc": EWCConfig,
    "feature_distillation": FeatureDistillationConfig,
    "cdc": CDCConfig,
    "rssa": RSSAConfig,
    "dcl": DCLConfig,
    "adam": AdAMConfig,
    "rick": RICKConfig,
    "nada": NADAConfig,
    "gradient_fusion": GradientFusionConfig,
    "attention_fusion": AttentionFusionConfig,
    "merge": MergeConfig,
    "feature_fusion": FeatureFusionConfig,
    "distillation": DistillationConfig,
    "cocktail": RootingConfig,
}

FUSIONS = {  # methods that make one pair of several sources, and want donors
    "gradient_fusion", "attention_fusion", "merge", "feature_fusion", "distillation", "cocktail",
}  # fmt: skip

__all__ = [
    "AdAMConfig",
    "AdaFMConfig",
    "AttentionFusionConfig",
    "BSAConfig",
    "CDCConfig",
    "DCLConfig",
    "EWCConfig",
    "DistillationConfig",
    "FSGANConfig",
    "FUSIONS",
    "FeatureFusionConfig",
    "FeatureDistillationConfig",
    "FinetuneConfig",
    "FreezeDConfig",
    "FreezeGConfig",
    "GradientFusionConfig",
    "KMLConfig",
    "L2SPConfig",
    "LoRAConfig",
    "METHOD_NAMES",
    "MergeConfig",
    "MethodConfig",
    "MethodName",
    "MineGANConfig",
    "NADAConfig",
    "RICKConfig",
    "RSSAConfig",
    "RootingConfig",
    "ScaleShiftConfig",
    "ScratchConfig",
]
