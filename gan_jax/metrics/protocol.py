"""Protocols: what was measured and how. Every number is reported with the name of its protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Literal

from gan_jax.metrics.features import FeatureNet
from gan_jax.metrics.networks import FID_NETWORK, FID_RESIZES, FID_WEIGHTS, NETWORKS
from gan_jax.metrics.perceptual import Perceptual
from gan_jax.metrics.statistics import MetricError

Colour = Literal["grey", "rgb", "luminance-of-rgb", "grey-repeated"]
Resize = Literal["antialiased-bicubic", "none", "legacy-tensorflow", "legacy-pytorch", "clean"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Everything that a number depends on besides the generator. Only numbers with the same `id` may be compared."""

    extractor: str  # name of the feature network
    weights_hash: str  # sha256 of its weights; empty for a function without weights
    resolution: int | None  # px that images are resized to; None = left as they are
    colour: Colour  # input of the extractor; luminance-of-rgb loses hue, so the number is only relative;
    # grey-repeated is grey in all three channels
    n_real: int  # images of the reference
    n_fake: int  # generated images
    reference_hash: str  # of the reference's images: fingerprint or index hash
    resize: Resize = "antialiased-bicubic"
    seed: int = 0  # of the latents, and of KID's subsets
    ema: bool = True  # moving average of G's weights, or the raw ones
    truncation: float | None = None  # psi; None = off
    stats_latents: int = 0  # fresh latents that G's batch statistics are recalibrated on; 0 = as trained
    far: bool = False  # out of domain: the target is unlike the extractor's training data; the number is only relative
    fd_ddof: int = 1  # 1 divides covariances by n - 1, 0 by n
    fd_allow_singular: bool = False  # also allow no more samples than dimensions
    kid_subsets: int = 100  # number of subsets
    kid_subset_size: int | None = None  # images of each side; None = min(n_real, n_fake, 1000)
    prdc_k: int = 5  # neighbours
    is_splits: int = 10  # contiguous parts of the generated images
    cluster_members: int = 50  # most images of a cluster that intra-cluster LPIPS compares
    seen: bool = False  # the reference consists of training images, since none are held out

    @property
    def id(self) -> str:
        """Short and stable, fit for a file name: `fashion-v1-r900-f2000-1f0c9a3e`; every field is in the last part.

        Fields of `LATER` count only where they differ from their defaults, so that older numbers keep the name of their
        protocol.
        """
        values = dataclasses.asdict(self)
        for name, default in LATER.items():
            if values[name] == default:
                del values[name]
        fields = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return f"{self.extractor}-r{self.n_real}-f{self.n_fake}-{hashlib.sha256(fields.encode()).hexdigest()[:8]}"

    @property
    def relative_only(self) -> bool:
        """Whether numbers only rank methods on this target, and cannot be compared with those of other targets."""
        return self.far or self.colour == "luminance-of-rgb"

    @property
    def is_fid(self) -> bool:
        """Whether the Frechet distance is the one that the literature calls FID: its network, weights and resizing."""
        published = (FID_NETWORK, FID_WEIGHTS, NETWORKS[FID_NETWORK].resolution)
        return (self.extractor, self.weights_hash, self.resolution) == published and self.resize in FID_RESIZES

    @property
    def label(self) -> str:
        """The text in brackets after every metric: `fashion-v1`, `MobileNetV2 96 px`, `fashion-v1, luminance, ..`."""
        parts = [self._extractor_title()]
        if self.colour == "luminance-of-rgb":
            parts.append("luminance")
        return ", ".join([*parts, "relative only"] if self.relative_only else parts)

    def _extractor_title(self) -> str:
        if self.is_fid:
            return f"FID Inception, {self.resize}"
        if self.extractor == FID_NETWORK:  # of other weights or another size: the name would promise too much
            return f"Inception-v3 {self.weights_hash[:8] or 'of unnamed weights'}, {self.resize}"
        network = NETWORKS.get(self.extractor.removeprefix("lpips-"))
        if network is None:  # of our own, or the pixels themselves
            return self.extractor
        return network.title if self.resolution is None else f"{network.title} {self.resolution} px"

    def title(self, metric: str) -> str:
        """The title of a metric in tables: `FD (fashion-v1)`.

        `FID (clean)` is used only for the network, weights and resizings of FID.
        """
        if metric not in TITLES:
            raise MetricError(f"no metric {metric!r}; there are {', '.join(TITLES)}")
        if self.is_fid and metric == "fd":
            return f"FID ({self.label.removeprefix('FID Inception, ')})"
        return f"{TITLES[metric]} ({self.label})"

    def describe(self) -> list[str]:
        """The protocol as lines of text: its id, then its fields."""
        if self.extractor.startswith(PIXELS):
            return [
                f"protocol {self.id}",
                f"{self.n_fake} pairs of images as they are, {self.colour}; targets {self.reference_hash[:12]}",
                "L1 of 0 .. 1; PSNR of range 255, in dB; SSIM: Gaussian window of 11 px, sigma 1.5, mean over channels",
            ]
        size = "as they are" if self.resolution is None else f"{self.resolution} px, {self.resize}"
        weights = f", weights {self.weights_hash[:12]}" if self.weights_hash else ""
        stats = f"re-estimated on {self.stats_latents} fresh latents" if self.stats_latents else "as trained"
        truncation = "none" if self.truncation is None else f"psi {self.truncation:g}"
        kid_size = min(self.n_real, self.n_fake, 1000) if self.kid_subset_size is None else self.kid_subset_size
        lines = [
            f"protocol {self.id}",
            f"features: {self.extractor}{weights}; images {size}, {self.colour}",
            f"reference: {self.n_real} images, {self.reference_hash[:12]}{', which are trained on' if self.seen else ''}",
            f"generated: {self.n_fake} images, seed {self.seed}, {'EMA' if self.ema else 'raw'} weights, "
            f"truncation {truncation}, batch statistics {stats}",
            f"FD: covariance over n{' - 1' if self.fd_ddof else ''}; KID: {self.kid_subsets} subsets of {kid_size}; "
            f"precision, recall, density, coverage: k = {self.prdc_k}; score: {self.is_splits} splits",
        ]
        if self.relative_only:
            why = "the target is far from what the extractor knows" if self.far else "the extractor sees luminance only"
            lines.append(f"relative only: {why}; use these numbers to rank methods on this target, nothing else")
        return lines


def make_protocol(
    net: FeatureNet | Perceptual, *, channels: int, n_real: int, n_fake: int, reference_hash: str, **options: Any
) -> Protocol:
    """The protocol of a measurement with a feature network.

    Args:
      net: the feature network, with its name, weights hash and resolution.
      channels: of the measured images; with `net.channels` it decides the colour handling.
      n_real: images of the reference.
      n_fake: generated images.
      reference_hash: fingerprint or index hash of the reference.
      **options: further fields of `Protocol`.
    """
    grey = "grey" if channels == 1 else "luminance-of-rgb"
    colour: Colour = grey if net.channels == 1 else "grey-repeated" if channels == 1 else "rgb"
    options = {"resize": net.resize, **options}
    return Protocol(net.name, net.weights_hash, net.resolution, colour, n_real, n_fake, reference_hash, **options)


PIXELS = "pixels-v1"  # extractor's name of the metrics in `metrics.pixels`
LATER = {"cluster_members": 50, "seen": False}  # fields added after the first ids were published, with their defaults
TITLES = {
    "fd": "FD",
    "kid": "KID",
    "kid_std": "KID spread",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "is": "IS",
    "is_std": "IS spread",
    "class_kl": "KL of classes",
    "intra_lpips": "intra-cluster LPIPS",
    "clusters": "occupied clusters",
    "l1": "L1",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS",
    "agreement": "agreement of classes",
}
