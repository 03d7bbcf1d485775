"""Methods that freeze or train each filter by its Fisher information; near and far are targets."""

from __future__ import annotations

import dataclasses

from gan_jax.config.methods.whole import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class AdAMConfig(FinetuneConfig):
    """Adaptation-aware kernel modulation: probe, then modulate the important filters and train the others."""

    probe_kimg: float = (
        2.0  # thousand real images shown while only modulations and D's head are trained; part of train.kimg
    )
    probe_samples: int = 1000  # generated images for the estimate of importance
    quantile: float = 50.0  # percent of the filters of a group that are fully trained; 50 near, 75 far

    @property
    def stages(self) -> dict[str, int]:
        return {"probe_kimg": 1}


@dataclasses.dataclass(frozen=True)
class RICKConfig(FinetuneConfig):
    """Remove in-compatible knowledge: important filters are frozen, the least important set to zero permanently."""

    warmup_kimg: float = 0.5  # thousand real images shown while only D's head is trained; part of train.kimg
    every: int = 50  # steps from one estimate of importance to the next
    batches: int = 5  # batches of generated and real images for each estimate
    freeze: float = 40.0  # percent: filters above this quantile are frozen until the next estimate; 40 near, 85 far
    prune: float = 0.1  # percent: filters below this quantile become zero permanently

    @property
    def stages(self) -> dict[str, int]:
        return {"warmup_kimg": 1}
