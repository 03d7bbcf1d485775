"""Transfer methods: one dataclass for each configuration, and the table `METHOD_NAMES` of them.

A row of the table names a method: `--method NAME` on the command line, `"kind": NAME` in JSON, and
`gan_jax.transfer.methods.NAME` for the method itself (`make(config, pair) -> Method`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Union

from gan_jax.config.methods.anchored import *
from gan_jax.config.methods.chain import *
from gan_jax.config.methods.fusion import *
from gan_jax.config.methods.light import *
from gan_jax.config.methods.whole import *
from gan_jax.config.methods.whole import FinetuneConfig, ScratchConfig, TransferConfig

METHOD_NAMES: dict[str, type[TransferConfig]] = {  # a row is a method: its name, and its configuration
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
    "preserve": PreserveConfig,
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
    "cocktail": CocktailConfig,
    "chain": ChainConfig,
}

FUSIONS = {
    name for name, cls in METHOD_NAMES.items() if cls.fuses
}  # they make one pair of several sources, and need donors

if TYPE_CHECKING:
    MethodConfig = ScratchConfig | FinetuneConfig
    MethodName = str
else:
    MethodConfig = Union[tuple(METHOD_NAMES.values())]  # noqa: UP007  of a table
    MethodName = Literal[tuple(METHOD_NAMES)]
    __all__ = [
        *("FUSIONS", "METHOD_NAMES", "MethodConfig", "MethodName", "TransferConfig"),
        *(cls.__name__ for cls in METHOD_NAMES.values()),
    ]
