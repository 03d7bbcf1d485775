"""Presets: the papers' full configurations by name, with networks, loss, optimiser, augmentation, averages and length.

    gan-jax train --preset stylegan2-ada-cifar --data.source folder:photos
    gan_jax.presets.preset("r3gan-cifar10")

Fields at their defaults depend on the machine (`train.steps_per_dispatch`), the user (checkpoints, evaluations) or the data.
`data.source` names the data set of the paper; `folder:data/..` means that it must be downloaded first.
"""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.config import Config, ConfigError
from gan_jax.presets import biggan, few_shot, r3gan, sngan, stylegan2, translation
from gan_jax.trees import did_you_mean

PRESETS: dict[str, Callable[[], Config]] = {
    **stylegan2.PRESETS,
    **r3gan.PRESETS,
    **biggan.PRESETS,
    **sngan.PRESETS,
    **few_shot.PRESETS,
    **translation.PRESETS,
}


def preset(name: str) -> Config:
    """Returns the configuration of a preset.

    Raises:
      ConfigError: there is no such preset; the message has the closest name and all names.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset {name!r}{did_you_mean(name, PRESETS)}; the presets are {', '.join(PRESETS)}"
        )
    return PRESETS[name]()
