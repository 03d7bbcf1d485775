"""Diagnostics of a run, and the thresholds of its warnings."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DiagnoseConfig:
    """Thresholds at evaluations; without a source they are rules of thumb. A warning is a reason to look, not to stop."""

    images: int = 64  # training, held-out and generated images that D judges; 0 = no diagnostics
    # Share of training images that D judges as real, minus that of held-out images. With 64 of each, chance alone passes
    # 0.3 once in 1,000 times.
    d_gap: float = 0.3
    # Mean sign of D on training images. ADA (Karras et al., 2020) steers it to 0.6; at 0.9 D errs on one image in 20.
    d_sign: float = 0.9
    spread: float = 0.5  # distance between generated images, as a share of that in the first evaluation
    least_spread: float = 0.25  # the same as a share of that in the reference
    coverage: float = 0.5  # coverage, as a share of the best so far
    # Median distance to the nearest training image, as a share of that of images outside the training set.
    memory: float = 0.5
    worse: float = 1.1  # KID, as a multiple of another run's after as many images
