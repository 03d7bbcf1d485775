"""Evaluation of translated images against the targets of their inputs, next to baselines that learn nothing.

Every number stands under the id of its protocol: pixels for L1, PSNR, SSIM and MS-SSIM (`metrics.pixels` names the variants), the
network for LPIPS, FD and KID.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.data.convert import resize, to_channels
from gan_jax.metrics.evaluate import Measured, evaluate_features
from gan_jax.metrics.extraction import extract
from gan_jax.metrics.features import FeatureNet
from gan_jax.metrics.neighbours import as_vectors, nearest
from gan_jax.metrics.networks import NETWORKS
from gan_jax.metrics.perceptual import Perceptual
from gan_jax.metrics.pixels import SCALE_WEIGHTS, check_pairs, l1, most_scales, ms_ssim, psnr, size_text, ssim
from gan_jax.metrics.protocol import PIXELS, Protocol, make_protocol
from gan_jax.metrics.statistics import MetricError
from gan_jax.trees import digest

BATCH = 16  # pairs in one call of LPIPS
NEAREST_PX = 32  # inputs are reduced to this height and width to find the nearest one
SMALLER_IS_BETTER = ("l1", "lpips")  # of the metrics of a pair; the others grow with similarity

Segmenter = Callable[[np.ndarray], Any]  # images uint8 [N, H, W, C] -> labels [N, H, W]


@dataclasses.dataclass(frozen=True)
class PairMetrics:
    """Metrics of pairs of an output and its target.

    Attributes:
      values: metric -> `[N]` float64, one number for each pair: l1, psnr, ssim, ms_ssim, lpips, agreement.
      protocols: metric -> its protocol; `protocols[name].title(name)` is its title.
      notes: a sentence for each metric that these images do not allow.
    """

    values: dict[str, np.ndarray]
    protocols: dict[str, Protocol]
    notes: tuple[str, ...] = ()

    @property
    def means(self) -> dict[str, float]:
        """Metric -> mean over the pairs. The mean PSNR is infinite where an output equals its target."""
        return {name: float(values.mean()) for name, values in self.values.items()}

    @classmethod
    def joined(cls, parts: Sequence[PairMetrics], hashes: Sequence[str]) -> PairMetrics:
        """Metrics of pairs of several sizes, each measured alone. A metric that any of them lacks is left out.

        Args:
          parts: of one pair each.
          hashes: `trees.digest` of their targets, in the same order; the protocols are those of `pair_metrics` on a stack.
        """
        first = parts[0]
        names = [name for name in first.values if all(name in part.values for part in parts)]
        options = {"n_real": len(parts), "n_fake": len(parts), "reference_hash": _of_all(hashes)}
        return cls(
            {name: np.concatenate([part.values[name] for part in parts]) for name in names},
            {name: dataclasses.replace(first.protocols[name], **options) for name in names},
            tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        )


@dataclasses.dataclass(frozen=True)
class PairEvaluation:
    """Metrics of outputs, of the baselines on the same targets, and of the outputs as a set.

    Attributes:
      outputs: of the translator's outputs.
      baselines: name -> metrics of a baseline: `identity` gives the input back, `nearest` the target of the nearest training
        input.
      distribution: FD and KID of all outputs against all targets, under `distribution_protocol`; None where no network was
        given.
      distribution_protocol: of these.
    """

    outputs: PairMetrics
    baselines: dict[str, PairMetrics]
    distribution: Measured | None = None
    distribution_protocol: Protocol | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what could not be measured."""
        of_set = self.distribution.notes if self.distribution is not None else ()
        return tuple(dict.fromkeys((*self.outputs.notes, *of_set)))


def pair_metrics(
    outputs: Any, targets: Any, *, perceptual: Perceptual | None = None, scales: int = len(SCALE_WEIGHTS)
) -> PairMetrics:
    """Measures each output against its target. Metrics that need larger images are left out, and a note names them.

    Args:
      outputs: uint8 `[N, H, W, C]`.
      targets: of the same shape.
      perceptual: network for LPIPS; None = no LPIPS.
      scales: of MS-SSIM; fewer than the published five make another metric, under another protocol id.

    Raises:
      MetricError: images of other shapes or types.
    """
    outputs, targets = check_pairs(outputs, targets)
    smallest = min(outputs.shape[1:3])
    values, notes = {"l1": l1(outputs, targets), "psnr": psnr(outputs, targets)}, []
    if most_scales(smallest):
        values["ssim"] = ssim(outputs, targets)
    else:
        notes.append(f"no SSIM: images of {size_text(outputs)} are smaller than its window of 11 px")
    if most_scales(smallest) >= scales:
        values["ms_ssim"] = ms_ssim(outputs, targets, scales)
    else:
        notes.append(f"no MS-SSIM: images of {size_text(outputs)} are too small for {scales} scales")
    protocol = pixel_protocol(targets, scales)
    protocols = dict.fromkeys(values, protocol)
    if perceptual is not None and smallest < NETWORKS[perceptual.network].least:
        notes.append(f"no LPIPS: images of {size_text(outputs)} are too small for {perceptual.network}")
    elif perceptual is not None:
        parts = [
            perceptual.distance(outputs[i : i + BATCH], targets[i : i + BATCH]) for i in range(0, len(outputs), BATCH)
        ]
        values["lpips"] = np.concatenate(parts).astype(np.float64)
        protocols["lpips"] = make_protocol(
            perceptual, channels=targets.shape[3], n_real=len(targets), n_fake=len(outputs),
            reference_hash=protocol.reference_hash,
        )  # fmt: skip
    return PairMetrics(values, protocols, tuple(notes))


def evaluate_pairs(
    outputs: Any,
    targets: Any,
    *,
    inputs: Any = None,
    train_inputs: Any = None,
    train_targets: Any = None,
    perceptual: Perceptual | None = None,
    features: FeatureNet | None = None,
    scales: int = len(SCALE_WEIGHTS),
) -> PairEvaluation:
    """Measures a translator's outputs on held-out pairs, next to the baselines that the arguments allow.

    Args:
      outputs: uint8 `[N, H, W, C]`, translations of `inputs`.
      targets: their targets, of the same shape.
      inputs: uint8 `[N, h, w, c]`, for the baselines. `identity` is measured where they have the targets' size and channels
        that can be converted.
      train_inputs, train_targets: training pairs, for `nearest`.
      perceptual: network for LPIPS; None = no LPIPS.
      features: network for FD and KID of outputs against targets; None = neither. So many pairs may allow KID only.
      scales: of MS-SSIM.

    Raises:
      MetricError: images of other shapes or types, or training pairs without `inputs`.
    """
    outputs, targets = check_pairs(outputs, targets)
    measure = lambda images: pair_metrics(images, targets, perceptual=perceptual, scales=scales)
    baselines = {}
    if inputs is not None:
        inputs = np.asarray(inputs)
        if len(inputs) != len(targets):
            raise MetricError(f"{len(inputs)} inputs for {len(targets)} targets; give one input for each target")
        copies = identity_baseline(inputs, targets)
        if copies is not None:
            baselines["identity"] = measure(copies)
    if (train_inputs is None) != (train_targets is None):
        raise MetricError("the nearest neighbour needs both train_inputs and train_targets")
    if train_inputs is not None:
        if inputs is None:
            raise MetricError("the nearest neighbour is that of each input; give inputs, too")
        baselines["nearest"] = measure(nearest_baseline(inputs, train_inputs, train_targets))
    measured = measure(outputs)
    if features is None:
        return PairEvaluation(measured, baselines)
    protocol = make_protocol(
        features,
        channels=targets.shape[3],
        n_real=len(targets),
        n_fake=len(outputs),
        reference_hash=reference_of(targets),
    )
    distribution = evaluate_features(extract(features, targets), extract(features, outputs), protocol)
    numbers = {name: value for name, value in distribution.items() if name in ("fd", "kid", "kid_std")}
    notes = [note for note in distribution.notes if note.startswith(("no Frechet", "no KID", "mode collapse"))]
    return PairEvaluation(measured, baselines, Measured(numbers, notes), protocol)


def identity_baseline(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """The inputs in the targets' channels; None where sizes differ or the inputs are no images (label maps)."""
    inputs = np.asarray(inputs)
    if inputs.ndim != 4 or inputs.dtype != np.uint8 or inputs.shape[1:3] != targets.shape[1:3]:
        return None
    if inputs.shape[3] == targets.shape[3]:
        return inputs
    known = (1, 3, 4)
    return to_channels(inputs, targets.shape[3]) if {inputs.shape[3], targets.shape[3]} <= set(known) else None


def nearest_baseline(inputs: Any, train_inputs: Any, train_targets: Any) -> np.ndarray:
    """For each input, the target of the nearest training input, by L2 of pixels reduced to 32 x 32 px.

    Args:
      inputs: uint8 `[N, h, w, c]`; label maps `[N, h, w]` are compared by their labels at 32 x 32 places.
      train_inputs: `[M, h, w, c]` or `[M, h, w]`.
      train_targets: `[M, H, W, C]`.
    """
    inputs, train_inputs, train_targets = map(np.asarray, (inputs, train_inputs, train_targets))
    if len(train_inputs) != len(train_targets):
        raise MetricError(f"{len(train_inputs)} training inputs and {len(train_targets)} training targets; give pairs")
    if inputs.ndim == 3 and train_inputs.ndim == 3:
        query, bank = _label_maps(inputs), _label_maps(train_inputs)
        index = np.array([int((bank != row).sum(1).argmin()) for row in query])
    else:
        for images in (inputs, train_inputs):
            if images.ndim != 4 or images.dtype != np.uint8:
                raise MetricError(
                    f"inputs are {images.dtype.name}{list(images.shape)}; give both as uint8 [N, H, W, C] or as label maps"
                )
        if inputs.shape[3] != train_inputs.shape[3]:
            raise MetricError(f"inputs have {inputs.shape[3]} channels, training inputs {train_inputs.shape[3]}")
        index, _ = nearest(as_vectors(resize(inputs, NEAREST_PX)), as_vectors(resize(train_inputs, NEAREST_PX)))
    return train_targets[index]


def class_agreement(images: Any, labels: Any, segmenter: Segmenter, ignore: int | None = None) -> np.ndarray:
    """The share `[N]` of pixels whose class a segmenter finds again in images made from label maps.

    Args:
      images: uint8 `[N, H, W, C]`, made from the label maps.
      labels: integers `[N, H, W]`.
      segmenter: `images uint8 [n, H, W, C] -> labels [n, H, W]`, trained on real images by the same classes.
      ignore: label of pixels that do not count (dont-care); a map of only these has share NaN.

    Raises:
      MetricError: shapes do not fit, or the segmenter returns no label maps of the images' size.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:3]:
        raise MetricError(
            f"labels are {labels.dtype.name}{list(labels.shape)} for images {list(images.shape)}; give integers [N, H, W]"
        )
    shares = []
    for start in range(0, len(images), BATCH):
        part, wanted = images[start : start + BATCH], labels[start : start + BATCH]
        predicted = np.asarray(segmenter(part))
        if predicted.shape != wanted.shape or not np.issubdtype(predicted.dtype, np.integer):
            raise MetricError(
                f"the segmenter returned {predicted.dtype.name}{list(predicted.shape)} for images {list(part.shape)}; it has to "
                f"return integers {list(wanted.shape)}"
            )
        counted = np.ones_like(wanted, bool) if ignore is None else wanted != ignore
        hits = ((predicted == wanted) & counted).sum((1, 2)).astype(np.float64)
        counts = counted.sum((1, 2))
        shares.append(np.divide(hits, counts, out=np.full(len(part), np.nan), where=counts > 0))
    if not shares:
        raise MetricError("there are no images to segment")
    return np.concatenate(shares)


def pixel_protocol(targets: np.ndarray, scales: int = len(SCALE_WEIGHTS)) -> Protocol:
    """The protocol of pixel metrics against these targets: `pixels-v1-r20-f20-1f0c9a3e`.

    The version stands for the variants in `metrics.pixels`; a number of scales that is not published is part of the name.
    """
    name = PIXELS if scales == len(SCALE_WEIGHTS) else f"{PIXELS}-scales{scales}"
    n, channels = len(targets), targets.shape[3]
    return Protocol(name, "", None, "grey" if channels == 1 else "rgb", n, n, reference_of(targets), resize="none")


def reference_of(targets: np.ndarray) -> str:
    """The hash of targets `[N, H, W, C]` in protocols: of their digests, one by one, so that sizes may differ."""
    return _of_all([digest(target) for target in targets])


def _of_all(hashes: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _label_maps(labels: np.ndarray) -> np.ndarray:
    """Labels at 32 x 32 places of each map, as rows."""
    rows, columns = ((np.arange(NEAREST_PX) + 0.5) * size / NEAREST_PX for size in labels.shape[1:])
    return labels[:, rows.astype(int)][:, :, columns.astype(int)].reshape(len(labels), -1)
