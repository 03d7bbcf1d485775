"""The light methods, killed and gone on with."""

import pytest

from gan_jax.config import AdaFMConfig, DCGANConfig, FreezeGConfig, FSGANConfig, KMLConfig, LoRAConfig, ScaleShiftConfig
from tests.transfer.methods.resumed import NET, assert_resumes

DCGAN = DCGANConfig(resolution=16, channels=1, z_dim=4, channel_max=4)
METHODS = {
    "fsgan": (FSGANConfig(), NET),
    "lora": (LoRAConfig(d_adapted=True), NET),
    "kml": (KMLConfig(), NET),
    "freeze_g": (FreezeGConfig(), NET),
    "scale_shift": (ScaleShiftConfig(), NET),
    "adafm": (AdaFMConfig(fresh_blocks=1, d_blocks=0), DCGAN),
}


@pytest.mark.parametrize(
    "name", [name if name == "fsgan" else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_resumes_to_the_bit(name, tmp_path):
    assert_resumes(METHODS[name][0], tmp_path, METHODS[name][1])
