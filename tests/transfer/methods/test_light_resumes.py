"""The light methods and those that pay for leaving the source, killed and gone on with."""

import pytest

from gan_jax.config import (
    AdaFMConfig,
    DCGANConfig,
    EWCConfig,
    FeatureDistillationConfig,
    FreezeGConfig,
    FSGANConfig,
    KMLConfig,
    L2SPConfig,
    LoRAConfig,
    ScaleShiftConfig,
)
from tests.transfer.methods.resumed import NET, assert_resumes

DCGAN = DCGANConfig(resolution=16, channels=1, z_dim=4, channel_max=4)
METHODS = {
    "fsgan": (FSGANConfig(), NET),
    "lora": (LoRAConfig(d_adapted=True), NET),
    "kml": (KMLConfig(), NET),
    "freeze_g": (FreezeGConfig(), NET),
    "scale_shift": (ScaleShiftConfig(), NET),
    "l2_sp": (L2SPConfig(strength=0.1), NET),
    "ewc": (EWCConfig(samples=16, balance=0.1), NET),
    "feature_distillation": (FeatureDistillationConfig(anneal_kimg=0.1), NET),
    "adafm": (AdaFMConfig(fresh_blocks=1, d_blocks=0), DCGAN),
}


@pytest.mark.slow  # what a state may hold is resumed in every run: test_own_method, test_minegan_run, test_fused_runs
@pytest.mark.parametrize("name", METHODS)
def test_resumes_to_the_bit(name, tmp_path):
    assert_resumes(METHODS[name][0], tmp_path, METHODS[name][1])
