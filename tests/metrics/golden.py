"""Features in closed form, whose metrics were computed once with NumPy and SciPy in float64."""

from __future__ import annotations

import numpy as np

I300, I250 = np.arange(1, 301)[:, None], np.arange(1, 251)[:, None]
J = np.arange(1, 17)[None]
X = np.sin(0.37 * I300 * J) + 0.05 * J  # [300, 16]
Y = 0.9 * np.cos(0.53 * I250 * J + 0.2) + 0.1  # [250, 16]
Z = X + 0.15 * np.sin(1.7 * (I300 - 1) + 0.9 * (J - 1))  # [300, 16]: near X
LOGITS = 3 * X[:, :10]
