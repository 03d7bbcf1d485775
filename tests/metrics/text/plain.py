"""Text metrics as their definitions read, slowly: what the counted ones are compared with."""

from __future__ import annotations

import math
from collections import Counter


def grams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(hypothesis, references, weights, epsilon=0.1):
    """One sentence; epsilon None = no smoothing."""
    logs = 0.0
    for n, weight in enumerate(weights, 1):
        counts = grams(hypothesis, n)
        largest = Counter()
        for reference in references:
            largest |= grams(reference, n)
        matched = sum(min(count, largest[gram]) for gram, count in counts.items())
        if n == 1 and matched == 0:
            return 0.0
        if matched == 0 and epsilon is None and weight > 0:
            return 0.0
        if weight > 0:
            logs += weight * math.log((matched or epsilon) / max(sum(counts.values()), 1))
    length = len(hypothesis)
    closest = min((len(reference) for reference in references), key=lambda r: (abs(r - length), r))
    return math.exp(logs) * (1.0 if length > closest else math.exp(1 - closest / length))


def longest_run(sample, training):
    """The longest run of tokens of a sample inside one of the training texts."""
    for size in range(len(sample), 0, -1):
        if any(gram in grams(text, size) for gram in grams(sample, size) for text in training):
            return size
    return 0
