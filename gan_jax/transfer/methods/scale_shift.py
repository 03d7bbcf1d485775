"""Scale and shift, adversarially: only the scales and shifts of G's norms are trained, against D.

The baseline of Freeze-D's code; BSA (Noguchi & Harada, ICCV 2019) trains the same leaves, with reconstruction in place of
the adversarial loss. Running statistics of norms are updated as always. A generator without norms gets a factor for each
filter in addition to its biases; see `scales.py` for StyleGAN2.
"""

from __future__ import annotations

from gan_jax.config import ScaleShiftConfig
from gan_jax.nets import Pair
from gan_jax.transfer.layers import head, scales_and_shifts
from gan_jax.transfer.method import Graft, Method, networks_of


def make(config: ScaleShiftConfig, pair: Pair) -> Method:
    """G's scales and shifts are trained; D is fine-tuned, or its head alone."""
    scales, adapter = scales_and_shifts(pair)
    return Method(
        starts=tuple(networks_of(config.networks)),
        frozen=("g/params/**", "d/params/**") if config.d_frozen else ("g/params/**",),
        trained=(*scales, *head(pair)),
        grafts={} if adapter is None else {"g": Graft(adapter)},
    )
