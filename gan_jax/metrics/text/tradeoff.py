"""Quality against diversity: points at several temperatures, and which of two generators is better at all of them.

One temperature shows half of a generator: a low one raises BLEU and lowers diversity. Caccia et al. 2020 (Language GANs falling
short) compare whole curves; a likelihood-trained model with its temperature swept is the curve to beat.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from gan_jax.metrics.statistics import MetricError

# Names of metrics that fall as samples improve; all others rise. Numbers of orders (bleu3) do not count.
SMALLER_IS_BETTER = frozenset(
    "self_bleu nll nll_oracle nll_test nll_gen perplexity reverse_perplexity fd frontier_integral frontier_integral_star "
    "copied copied_whole copy_mean copy_longest length_distance".split()
)


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """Metrics of the samples at one temperature.

    Attributes:
      temperature: that logits were divided by.
      quality: metric -> value, say `{"bleu3": 0.5}`.
      diversity: metric -> value, say `{"self_bleu3": 0.6}`.
    """

    temperature: float
    quality: Mapping[str, float]
    diversity: Mapping[str, float]

    @property
    def gains(self) -> dict[str, float]:
        """Metric -> value, with the sign by which larger is better."""
        return {name: value * sign_of(name) for name, value in {**self.quality, **self.diversity}.items()}


def sign_of(metric: str) -> int:
    """1 where larger is better, -1 where smaller is."""
    return -1 if re.sub(r"\d+$", "", metric) in SMALLER_IS_BETTER else 1


def dominates(a: CurvePoint, b: CurvePoint) -> bool:
    """Whether a is at least as good as b in every metric, and better in one.

    Raises:
      MetricError: the points have other metrics, or a value is NaN.
    """
    first, second = a.gains, b.gains
    if first.keys() != second.keys() or not first:
        raise MetricError(
            f"points of {', '.join(first) or 'no metric'} and of {', '.join(second) or 'no metric'}; measure the same"
        )
    for name, value in [*first.items(), *second.items()]:
        if value != value:
            raise MetricError(f"{name} of a point is NaN, which is neither better nor worse; leave the metric out")
    return all(first[name] >= second[name] for name in first) and first != second


def front(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """The points that no other one dominates, in their order."""
    return [point for point in points if not any(dominates(other, point) for other in points)]


def dominated_share(points: Sequence[CurvePoint], others: Sequence[CurvePoint]) -> float:
    """The share of `others` that a point of `points` dominates: 1 where one curve lies beyond the other."""
    if not others or not points:
        raise MetricError("a curve has no points; measure at one temperature at least")
    return sum(any(dominates(point, other) for point in points) for other in others) / len(others)


def dominated_area(points: Sequence[CurvePoint], quality: str, diversity: str, worst: tuple[float, float]) -> float:
    """The area between a worst value of both metrics and the curve's front: larger is better.

    Args:
      points: of one curve.
      quality: name of a quality metric.
      diversity: name of a diversity metric.
      worst: value of each that bounds the area, for every curve the same: `(0, 1)` for BLEU and self-BLEU. Points that are
        worse add nothing.
    """
    signs = sign_of(quality), sign_of(diversity)
    places = []
    for point in points:
        for name, values in ((quality, point.quality), (diversity, point.diversity)):
            if name not in values:
                raise MetricError(
                    f"the point at temperature {point.temperature:g} has no {name}; it has {', '.join(values)}"
                )
        gains = (point.quality[quality] - worst[0]) * signs[0], (point.diversity[diversity] - worst[1]) * signs[1]
        if min(gains) > 0:
            places.append(gains)
    area = height = 0.0
    for width, tall in sorted(
        places, reverse=True
    ):  # from the best quality on, each adds what it has above those before
        area += width * max(tall - height, 0.0)
        height = max(height, tall)
    return area
