"""Protocols of text metrics: all that a number depends on besides the samples."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

from gan_jax.metrics.statistics import MetricError

TITLES = {
    "bleu": "BLEU-{n}",
    "self_bleu": "self-BLEU-{n}",
    "distinct": "distinct-{n}",
    "unique": "unique samples",
    "length": "mean length",
    "length_distance": "W1 of lengths",
    "copy_mean": "mean copied run",
    "copy_longest": "longest copied run",
    "copied": "samples inside the training texts",
    "copied_whole": "samples that are training texts",
    "fd": "FD",
    "mauve": "MAUVE",
    "mauve_star": "MAUVE*",
    "frontier_integral": "frontier integral",
    "frontier_integral_star": "frontier integral*",
}  # metric without its order -> title


@dataclasses.dataclass(frozen=True)
class TextProtocol:
    """How a text metric was measured. Only numbers with the same `id` may be compared.

    Attributes:
      metric: the variant and its version, `bleu-v1`.
      n_references: texts that samples are compared with; 0 = none.
      n_samples: samples that were measured.
      reference_hash: sha256 of the references' tokens (`Texts.digest`) or features; empty where samples are compared with each
        other or with nothing.
      tokenisation: how texts were split; empty for features.
      extractor: `name@hash` of the model that gave features; empty for tokens.
      order: n of n-grams; 0 = none are counted.
      weights: of the orders 1 .. n; empty = 1 / n each.
      smoothing: of BLEU; empty for other metrics.
      settings: of other metrics, as pairs of a name and a value.
    """

    metric: str
    n_references: int
    n_samples: int
    reference_hash: str
    tokenisation: str = ""
    extractor: str = ""
    order: int = 0
    weights: tuple[float, ...] = ()
    smoothing: str = ""
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def id(self) -> str:
        """Short and stable, fit for a file name: `bleu-v1-n4-r500-f10000-1f0c9a3e`; every field is in the last part."""
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        order = f"-n{self.order}" if self.order else ""
        digest = hashlib.sha256(fields.encode()).hexdigest()[:8]
        return f"{self.metric}{order}-r{self.n_references}-f{self.n_samples}-{digest}"

    @property
    def label(self) -> str:
        """The text in brackets after the metric: `500 references, whitespace`, `gpt2-large`."""
        references = f"{self.n_references} references" if self.n_references and self.order else ""
        reader = self.extractor.partition("@")[0] or self.tokenisation
        return ", ".join(part for part in (references, reader) if part)

    def title(self, metric: str) -> str:
        """The title of a metric in tables: `BLEU-4 (500 references, whitespace)`."""
        base = re.sub(r"\d+$", "", metric)
        if base not in TITLES:
            raise MetricError(f"no text metric {metric!r}; there are {', '.join(TITLES)}")
        return f"{TITLES[base].format(n=self.order)} ({self.label})"

    def describe(self) -> list[str]:
        """The protocol as lines of text: its id, then its fields."""
        parts = [f"features: {self.extractor}" if self.extractor else f"tokens: {self.tokenisation}"]
        parts.append(f"{self.n_samples} samples")
        if self.reference_hash:
            parts.append(f"{self.n_references} references, {self.reference_hash[:12]}")
        elif self.n_references:
            parts.append(f"each with the other {self.n_references}")
        lines = [f"protocol {self.id}", "; ".join(parts)]
        if self.order:
            weights = ", ".join(f"{weight:g}" for weight in self.weights) or f"1/{self.order} each"
            smoothing = f"; weights {weights}; smoothing {self.smoothing}" if self.smoothing else ""
            lines.append(f"n-grams up to {self.order}{smoothing}" if smoothing else f"n-grams of {self.order}")
        if self.settings:
            lines.append(", ".join(f"{name} {value:g}" for name, value in self.settings))
        return lines
