"""Published transfer methods, one file each, and the table of them: configuration class -> `(config, pair) -> Method`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gan_jax.config import (
    AdaFMConfig,
    AdAMConfig,
    AttentionFusionConfig,
    BSAConfig,
    CDCConfig,
    ConfigError,
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
    MineGANConfig,
    NADAConfig,
    RICKConfig,
    RootingConfig,
    RSSAConfig,
    ScaleShiftConfig,
    ScratchConfig,
)
from gan_jax.nets import Pair
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods.adafm import adafm
from gan_jax.transfer.methods.adam import adam
from gan_jax.transfer.methods.attention_fusion import attention_fusion
from gan_jax.transfer.methods.bsa import bsa
from gan_jax.transfer.methods.cdc import cdc
from gan_jax.transfer.methods.cocktail import cocktail
from gan_jax.transfer.methods.dcl import dcl
from gan_jax.transfer.methods.distillation import distillation
from gan_jax.transfer.methods.ewc import ewc
from gan_jax.transfer.methods.feature_distillation import feature_distillation
from gan_jax.transfer.methods.feature_fusion import feature_fusion
from gan_jax.transfer.methods.finetune import finetune
from gan_jax.transfer.methods.freeze_d import freeze_d
from gan_jax.transfer.methods.freeze_g import freeze_g
from gan_jax.transfer.methods.fsgan import fsgan
from gan_jax.transfer.methods.gradient_fusion import gradient_fusion
from gan_jax.transfer.methods.kml import kml
from gan_jax.transfer.methods.l2_sp import l2_sp
from gan_jax.transfer.methods.lora import low_rank
from gan_jax.transfer.methods.merge import merged
from gan_jax.transfer.methods.minegan import minegan
from gan_jax.transfer.methods.nada import nada
from gan_jax.transfer.methods.rick import rick
from gan_jax.transfer.methods.rssa import rssa
from gan_jax.transfer.methods.scale_shift import scale_shift
from gan_jax.transfer.methods.scratch import scratch

MakeMethod = Callable[[Any, Pair], Method]  # (its configuration, the plain pair)


def make_method(config: Any, pair: Pair) -> Method:
    """The method that a configuration asks for."""
    if type(config) not in METHODS:
        known = ", ".join(cls.__name__ for cls in METHODS)
        raise ConfigError(f"no method for {type(config).__name__}; the known ones are {known}")
    return METHODS[type(config)](config, pair)


METHODS: dict[type, MakeMethod] = {
    ScratchConfig: scratch,
    FinetuneConfig: finetune,
    FreezeDConfig: freeze_d,
    FreezeGConfig: freeze_g,
    ScaleShiftConfig: scale_shift,
    BSAConfig: bsa,
    AdaFMConfig: adafm,
    FSGANConfig: fsgan,
    LoRAConfig: low_rank,
    KMLConfig: kml,
    L2SPConfig: l2_sp,
    MineGANConfig: minegan,
    EWCConfig: ewc,
    FeatureDistillationConfig: feature_distillation,
    CDCConfig: cdc,
    RSSAConfig: rssa,
    DCLConfig: dcl,
    AdAMConfig: adam,
    RICKConfig: rick,
    NADAConfig: nada,
    GradientFusionConfig: gradient_fusion,
    AttentionFusionConfig: attention_fusion,
    MergeConfig: merged,
    FeatureFusionConfig: feature_fusion,
    DistillationConfig: distillation,
    RootingConfig: cocktail,
}
