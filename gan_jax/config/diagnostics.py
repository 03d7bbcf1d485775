"""What a run looks out for, and from where on it warns."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DiagnoseConfig:
    """Thresholds at evaluations. Those without a source are rules of thumb: a warning says look, not stop."""

    images: int = 64  # training, held-out and generated images that D is asked about; 0 = no diagnostics at all
    # Share of training minus share of held-out images that D takes for real. With 64 of each, chance alone passes 0.3
    # once in 1,000 times.
    d_gap: float = 0.3
    # Mean sign of D on training images. ADA (Karras et al., 2020) steers it to 0.6; at 0.9 D errs on one image in 20.
    d_sign: float = 0.9
    spread: float = 0.5  # distance between generated images, as a share of what the first evaluation had
    least_spread: float = 0.25  # the same as a share of the reference's, whatever came before
    coverage: float = 0.5  # coverage, as a share of the best evaluation before
    # Median distance to the nearest training image, as a share of that of images that were not trained on.
    memory: float = 0.5
    worse: float = 1.1  # KID as a multiple of that of another run after as many images
