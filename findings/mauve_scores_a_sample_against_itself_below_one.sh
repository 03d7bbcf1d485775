#!/usr/bin/env bash
# mauve-text scores a sample against itself 0.75, not 1.
#
# What one would guess: MAUVE is 1 where the histograms are equal, and a sample against itself is the check that it is. What
# happens: with equal histograms all 25 points of the divergence curve are (1, 1), and tie in both coordinates with the end
# points (1, 0) and (0, 1). The area is the mean of two, each after a sort by one coordinate. In one of them the tied end point
# comes first, so that the curve runs straight from (0, 1) to (1, 0) and half of the square is lost: (1/2 + 1) / 2. As soon as
# the histograms differ by one sample nothing ties, and the score is near 1: a better sample can score much lower.
#
# Versions: mauve-text 0.4.0, faiss-cpu 1.15.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11, Linux x86-64. Seen:
#   clusters of [40, 40] and [40, 40]: MAUVE 0.750
#   clusters of [10, 20, 20, 30] and [10, 20, 20, 30]: MAUVE 0.750
#   clusters of [40, 40] and [39, 41]: MAUVE 1.000
# What to do: read exactly 0.75 as 1, or compute the area from the histograms with the end points last.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mauve-text==0.4.0 faiss-cpu==1.15.1 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'EOF'
import warnings
from importlib import metadata

warnings.simplefilter("ignore")
import mauve
import numpy as np

print({name: metadata.version(name) for name in ("mauve-text", "faiss-cpu", "scikit-learn", "numpy")})


def sample(sizes, seed):
    """Far clusters of these sizes around the axes, `[N, 8]`."""
    rng = np.random.default_rng(seed)
    return np.concatenate([np.eye(8)[i] * 10 + 0.01 * rng.normal(size=(n, 8)) for i, n in enumerate(sizes)])


def score(p_sizes, q_sizes):
    p, q = sample(p_sizes, 0).astype(np.float32), sample(q_sizes, 1).astype(np.float32)
    result = mauve.compute_mauve(p_features=p, q_features=q, num_buckets=len(p_sizes), verbose=False)
    count = lambda hist, sizes: sorted(np.round(hist * sum(sizes)).astype(int).tolist())
    print(f"clusters of {count(result.p_hist, p_sizes)} and {count(result.q_hist, q_sizes)}: MAUVE {result.mauve:.3f}")
    return result.mauve


equal = [score(sizes, sizes) for sizes in ((40, 40), (30, 20, 20, 10))]
near = score((40, 40), (41, 39))
if not all(abs(value - 0.75) < 1e-6 for value in equal) or near < 0.95:
    raise SystemExit("changed: the score of equal histograms")
print("as described")
EOF
