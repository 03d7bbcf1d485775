"""The papers' configurations by name, whole: networks, loss, optimiser, augmentation, averages, batch and length.

    gan-jax train --preset stylegan2-ada-cifar --data.source folder:photos
    gan_jax.presets.preset("r3gan-cifar10")

What a preset leaves at its default is of the machine (`train.steps_per_dispatch`), of the user (checkpoints, evaluations)
or of the data; `data.source` names the set of the paper, `folder:data/..` where it must be got first.
"""

from __future__ import annotations

from collections.abc import Callable

from gan_jax.config import Config, ConfigError
from gan_jax.presets import biggan, few_shot, r3gan, sngan, stylegan2
from gan_jax.trees import did_you_mean

PRESETS: dict[str, Callable[[], Config]] = {
    **stylegan2.PRESETS,
    **r3gan.PRESETS,
    **biggan.PRESETS,
    **sngan.PRESETS,
    **few_shot.PRESETS,
}


def preset(name: str) -> Config:
    """The configuration of a name.

    Raises:
      ConfigError: there is no such preset; the message has the nearest name and all of them.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset {name!r}{did_you_mean(name, PRESETS)}; the presets are {', '.join(PRESETS)}"
        )
    return PRESETS[name]()
