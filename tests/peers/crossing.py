"""The same features, logits and images through the packages that people measure with: `python -m tests.peers.crossing`.

Prints a Markdown table: what each package gives as it stands, what we give as we stand, what we give when set as it is,
and why the first two differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.metrics import (
    Perceptual,
    frechet_distance,
    inception_score,
    kid,
    prdc,
    summarise,
)
from gan_jax.metrics.networks import NETWORKS

_RNG = np.random.default_rng(0)
REAL = np.maximum(_RNG.normal(0.5, 1, (700, 48)), 0).astype(np.float32)
FAKE = np.maximum(_RNG.normal(0.6, 0.9, (500, 48)), 0).astype(np.float32)
FAR_REAL, FAR_FAKE = (REAL * 0.01 + 1000).astype(np.float32), (FAKE * 0.01 + 1000).astype(np.float32)
COPIES = np.repeat(REAL[:50], 6, axis=0)  # each image k + 1 times, k = 5
ONE = np.repeat(FAKE[:1], 500, axis=0)  # a generator that makes one image
LOGITS = (3 * _RNG.standard_normal((1005, 10))).astype(np.float32)
PHOTOS = np.clip(127.5 + 40 * np.cumsum(_RNG.normal(size=(2, 400, 400, 3)), 1).clip(-3, 3), 0, 255).astype(np.uint8)
PX31 = _RNG.uniform(-1, 1, (2, 1, 31, 31, 3)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of one package.

    Attributes:
      metric: with its setting and input.
      package: whose.
      theirs: the number as it stands.
      ours: ours as we stand.
      as_theirs: ours on the same setting.
      reason: of the difference between `theirs` and `ours`.
      tolerance: relative, between `theirs` and `as_theirs`; None where no setting brings them together, as the reason
        says.
    """

    metric: str
    package: str
    theirs: Callable[[], float]
    ours: Callable[[], float]
    as_theirs: Callable[[], float]
    reason: str
    tolerance: float | None = 1e-4


def rows() -> list[Row]:
    """All rows; nothing is imported or computed yet."""
    return [*_frechet(), *_kid(), *_balls(), *_scores(), *_lpips(), *_resizing()]


def _frechet() -> Sequence[Row]:
    sets = {
        "FD": (REAL, FAKE),
        "FD, mean 1000 and deviation 0.006": (FAR_REAL, FAR_FAKE),
        "FD, one image": (REAL, ONE),
    }
    float32_means = "means of float32 features are taken in float32, ours in float64"
    reasons = {
        ("FD, mean 1000 and deviation 0.006", "clean-fid"): (float32_means, None),
        ("FD, mean 1000 and deviation 0.006", "torch-fidelity"): (float32_means, None),
        ("FD, one image", "piq"): ("adds 1e-6 to the diagonals, since its root of a covariance of 0 fails", None),
        ("FD, mean 1000 and deviation 0.006", "torchmetrics"): (
            "none yet: one pass, E[xx'] - E[x]E[x]', but in float64",
            1e-4,
        ),
    }
    calls = {
        "pytorch-fid": _pytorch_fid,
        "clean-fid": _clean_fid,
        "torch-fidelity": _torch_fidelity_fd,
        "torchmetrics": _torchmetrics_fd,
        "piq": _piq_fd,
    }
    for metric, (real, fake) in sets.items():
        ours = lambda real=real, fake=fake: frechet_distance(summarise(real), summarise(fake))
        for package, call in calls.items():
            reason, tolerance = reasons.get((metric, package), ("none", 1e-4))
            yield Row(metric, package, lambda c=call, r=real, f=fake: c(r, f), ours, ours, reason, tolerance)


def _kid() -> Sequence[Row]:
    def fidelity(real: Any, fake: Any, **options: Any) -> float:
        from torch_fidelity.metric_kid import kid_features_to_metric

        return kid_features_to_metric(*_tensors(fake, real), verbose=False, **options)["kernel_inception_distance_mean"]

    def clean(real: Any, fake: Any) -> float:
        from cleanfid.fid import kernel_distance

        np.random.seed(0)  # noqa: NPY002 - theirs draws from it
        return kernel_distance(real, fake)

    def piq(real: Any, fake: Any, **options: Any) -> float:
        from piq import KID

        return float(KID(**options)(*_tensors(real, fake)))

    def metrics(real: Any, fake: Any, **options: Any) -> float:
        import torch
        from torchmetrics.image.kid import KernelInceptionDistance

        torch.manual_seed(0)
        metric = KernelInceptionDistance(feature=_identity(), **options)
        for values, is_real in ((real, True), (fake, False)):
            metric.update(_tensors(values)[0], real=is_real)
        return float(metric.compute()[0])

    ours = lambda real, fake: lambda: kid(real, fake).mean
    whole = REAL[:500]
    draws = "other random subsets, of 500 from 700 and 500"
    yield Row(
        "KID, 500 and 500",
        "torch-fidelity",
        lambda: fidelity(whole, FAKE, kid_subset_size=500, kid_subsets=2),
        ours(whole, FAKE),
        ours(whole, FAKE),
        "its default subset of 1000 is refused for fewer images",
    )
    yield Row("KID, 500 and 500", "clean-fid", lambda: clean(whole, FAKE), ours(whole, FAKE), ours(whole, FAKE), "none")
    yield Row(
        "KID, 500 and 500",
        "torchmetrics",
        lambda: metrics(whole, FAKE, subset_size=500, subsets=2),
        ours(whole, FAKE),
        ours(whole, FAKE),
        "kernel in float32; its default subset of 1000 is refused for fewer",
    )
    yield Row(
        "KID, 500 and 500",
        "piq",
        lambda: piq(whole, FAKE),
        ours(whole, FAKE),
        ours(whole, FAKE),
        "kernel in float32; no subsets unless average=True; sides of one size",
    )
    yield Row(
        "KID, 700 and 500", "clean-fid", lambda: clean(REAL, FAKE), ours(REAL, FAKE), ours(REAL, FAKE), draws, 0.05
    )
    yield Row(
        "KID, 700 and 500, subsets of 50",
        "torchmetrics",
        lambda: metrics(REAL, FAKE, subset_size=50),
        ours(REAL, FAKE),
        lambda: kid(REAL, FAKE, subset_size=50).mean,
        "other random subsets",
        0.25,
    )
    far = (FAR_REAL[:500], FAR_FAKE)
    lost = "kernel of float32 numbers near 10^18 loses what differs"
    for package, call in (
        ("torch-fidelity", lambda: fidelity(*far, kid_subset_size=500, kid_subsets=2)),
        ("clean-fid", lambda: clean(*far)),
        ("torchmetrics", lambda: metrics(*far, subset_size=500, subsets=2)),
        ("piq", lambda: piq(*far)),
    ):
        yield Row("KID, mean 1000 and deviation 0.006", package, call, ours(*far), ours(*far), lost, None)


def _balls() -> Sequence[Row]:
    def theirs(real: Any, fake: Any, k: int, name: str) -> float:
        from prdc import compute_prdc

        with contextlib.redirect_stdout(io.StringIO()):
            return float(compute_prdc(real, fake, k)[name])

    def fidelity(real: Any, fake: Any, name: str, **options: Any) -> float:
        from torch_fidelity.metric_prc import prc_features_to_metric

        return prc_features_to_metric(*_tensors(fake, real), verbose=False, **options)[name]

    def piq(real: Any, fake: Any, index: int, **options: Any) -> float:
        from piq import PR

        return float(PR(**options)(*_tensors(real, fake))[index])

    def ours(real: Any, fake: Any, name: str, k: int = 5, inclusive: bool = False) -> Callable[[], float]:
        def call() -> float:
            with warnings.catch_warnings(action="ignore"):
                return getattr(prdc(real, fake, k, inclusive=inclusive), name)

        return call

    for name in ("precision", "recall", "density", "coverage"):
        yield Row(
            f"{name}, k 5",
            "prdc",
            lambda n=name: theirs(REAL, FAKE, 5, n),
            ours(REAL, FAKE, name),
            ours(REAL, FAKE, name),
            "none: strictly inside the balls (<), k without the sample itself",
        )
    for i, name in enumerate(("precision", "recall")):
        yield Row(
            name,
            "torch-fidelity",
            lambda n=name: fidelity(REAL, FAKE, n),
            ours(REAL, FAKE, name),
            ours(REAL, FAKE, name, 3, True),
            "k is 3 by default, ours 5; on the ball counts (<=)",
        )
        wrong = "; its recall also counts distances close to the real radii" if i else ""
        yield Row(
            name,
            "piq",
            lambda i=i: piq(REAL, FAKE, i),
            ours(REAL, FAKE, name),
            ours(REAL, FAKE, name, 5, True),
            f"near the ball counts (<=, within 1e-5){wrong}",
            0.02,
        )
    for name in ("precision", "density", "coverage"):
        yield Row(
            f"{name}, each image 6 times, with itself",
            "prdc",
            lambda n=name: theirs(COPIES, COPIES, 5, n),
            ours(COPIES, COPIES, name),
            ours(COPIES, COPIES, name),
            "balls of radius 0 hold nothing (<), ours warns; its distances of copies are rounding",
            None,
        )
    yield Row(
        "precision, each image 6 times, with itself",
        "torch-fidelity",
        lambda: fidelity(COPIES, COPIES, "precision", prc_neighborhood=5),
        ours(COPIES, COPIES, "precision"),
        ours(COPIES, COPIES, "precision", 5, True),
        "<=: copies count; ours with inclusive=True",
    )


def _scores() -> Sequence[Row]:
    def fidelity(**options: Any) -> float:
        from torch_fidelity.metric_isc import isc_features_to_metric

        return isc_features_to_metric(_tensors(LOGITS)[0], **options)["inception_score_mean"]

    def metrics(index: int) -> float:
        import torch
        from torchmetrics.image.inception import InceptionScore

        torch.manual_seed(0)
        metric = InceptionScore(feature=_identity())
        metric.update(_tensors(LOGITS)[0])
        return float(metric.compute()[index])

    def shuffled(index: int, cut: Callable[[Any], Any]) -> float:
        import torch

        torch.manual_seed(0)
        parts = cut(LOGITS[torch.randperm(len(LOGITS)).numpy()])
        values = [inception_score(part, 1).mean for part in parts]
        return float((np.mean(values), np.std(values, ddof=1))[index])

    def piq() -> float:
        from piq.isc import inception_score as score

        return float(score(_tensors(LOGITS)[0])[0])

    ours = lambda: inception_score(LOGITS).mean
    chunks = lambda x: [x[i : i + 101] for i in range(0, 1005, 101)]
    yield Row(
        "IS of 1005",
        "torch-fidelity, shuffle off",
        lambda: fidelity(shuffle=False),
        ours,
        ours,
        "none: parts from i N // 10",
        1e-6,
    )
    order = np.random.RandomState(2020).permutation(1005)
    yield Row(
        "IS of 1005",
        "torch-fidelity",
        fidelity,
        ours,
        lambda: inception_score(LOGITS[order]).mean,
        "shuffles (seed 2020); ours takes the order of generation",
        1e-6,
    )
    yield Row(
        "IS of 1005",
        "torchmetrics",
        lambda: metrics(0),
        ours,
        lambda: shuffled(0, chunks),
        "shuffles by torch's seed; parts of 101, the last of 96",
    )
    yield Row(
        "IS of 1005, spread",
        "torchmetrics",
        lambda: metrics(1),
        lambda: inception_score(LOGITS).std,
        lambda: shuffled(1, chunks),
        "divides by splits - 1, ours by splits",
    )
    yield Row(
        "IS of 1005",
        "piq",
        piq,
        ours,
        lambda: inception_score(LOGITS[:1000]).mean,
        "parts of N // 10: the last 5 are left out",
    )


def _lpips() -> Sequence[Row]:
    def weights() -> tuple[Any, dict[str, np.ndarray]]:
        from gan_jax.trees import flatten
        from tests.nets.features.random import random_params

        params = random_params(NETWORKS["alexnet"].specs(), 0)
        return params, {path: np.array(leaf) for path, leaf in flatten(params).items()}

    def fill(theirs: Any) -> Any:
        import torch

        _, leaves = weights()
        convs = [layer for layer in theirs.net.modules() if isinstance(layer, torch.nn.Conv2d)]
        for i, conv in enumerate(convs):
            conv.weight.data = torch.from_numpy(leaves[f"conv{i}/kernel"].transpose(3, 2, 0, 1).copy())
            conv.bias.data = torch.from_numpy(leaves[f"conv{i}/bias"])
        heads = [layer for lin in theirs.lins for layer in lin.modules() if isinstance(layer, torch.nn.Conv2d)]
        for i, head in enumerate(heads):
            head.weight.data = torch.from_numpy(leaves[f"head{i}/weight"][None, :, None, None])
        return theirs.eval()

    def pair(a: Any, b: Any) -> list[Any]:
        return _tensors(*(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in (a, b)))

    def lpips(a: Any, b: Any, **options: Any) -> float:
        import lpips as package

        return float(fill(package.LPIPS(net="alex", pnet_rand=True, verbose=False))(*pair(a, b), **options).detach())

    def metrics(a: Any, b: Any) -> float:
        from torchmetrics.functional.image.lpips import _LPIPS

        return float(fill(_LPIPS(pretrained=False, net="alex", pnet_rand=True))(*pair(a, b)).detach())

    ours = lambda: float(Perceptual("alexnet", "", weights()[0]).distance(*PX31)[0])
    halves = [x / 2 + 0.5 for x in PX31]
    yield Row(
        "LPIPS, 31 px in [-1, 1]", "lpips", lambda: lpips(*PX31), ours, ours, "none: 31 px is the least for both", 1e-4
    )
    yield Row("LPIPS, 31 px in [-1, 1]", "torchmetrics", lambda: metrics(*PX31), ours, ours, "none", 1e-4)
    yield Row(
        "LPIPS, the same in [0, 1]",
        "lpips",
        lambda: lpips(*halves),
        ours,
        lambda: float(Perceptual("alexnet", "", weights()[0]).distance(*halves, value_range=(-1, 1))[0]),
        "taken for [-1, 1] in silence; ours is refused, and right with value_range=(0, 1)",
    )


def _resizing() -> Sequence[Row]:
    """The mean of the local contrast that is left of 400 px at 299 px: what a feature network sees."""
    contrast = lambda x: float(np.abs(np.diff(np.asarray(x, np.float64), axis=-1)).mean())

    def torch_of(antialias: bool) -> float:
        import torch

        x = _tensors(PHOTOS.astype(np.float32).transpose(0, 3, 1, 2).copy())[0]
        return contrast(torch.nn.functional.interpolate(x, (299, 299), mode="bilinear", antialias=antialias).numpy())

    def fidelity() -> float:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

        x = _tensors(PHOTOS.astype(np.float32).transpose(0, 3, 1, 2).copy())[0]
        return contrast(resize(x, size=(299, 299), align_corners=False).numpy())

    def clean() -> float:
        from cleanfid.resize import build_resizer

        return contrast(np.stack([build_resizer("clean")(image) for image in PHOTOS]).transpose(0, 3, 1, 2))

    def ours(mode: str) -> Callable[[], float]:
        def call() -> float:
            from gan_jax.metrics.networks import resize_clean, resize_pytorch, resize_tensorflow

            if mode == "clean":
                out = resize_clean(PHOTOS, 299)
            else:
                out = {"legacy-tensorflow": resize_tensorflow, "legacy-pytorch": resize_pytorch}[mode](
                    PHOTOS.astype(np.float32), 299
                )
            return contrast(np.asarray(out).transpose(0, 3, 1, 2))

        return call

    metric = "contrast after 400 -> 299 px"
    standing = ours("clean")
    yield Row(metric, "clean-fid", clean, standing, standing, "none: inception-v3-fid, anti-aliased bicubic", 1e-6)
    yield Row(
        metric,
        "torch-fidelity",
        fidelity,
        standing,
        ours("legacy-tensorflow"),
        "bilinear of TensorFlow 1, not anti-aliased: inception-v3-fid:legacy-tensorflow",
        1e-6,
    )
    yield Row(
        metric,
        "pytorch-fid",
        lambda: torch_of(False),
        standing,
        ours("legacy-pytorch"),
        "bilinear, not anti-aliased: inception-v3-fid:legacy-pytorch",
        1e-5,
    )
    yield Row(
        metric,
        "torchmetrics",
        lambda: torch_of(True),
        standing,
        standing,
        "bilinear, anti-aliased by default since 1.8: no setting of ours",
        None,
    )


def _tensors(*arrays: Any) -> list[Any]:
    import torch

    return [torch.from_numpy(np.ascontiguousarray(x)) for x in arrays]


def _identity() -> Any:
    import torch

    class Identity(torch.nn.Identity):
        num_features = 48

    return Identity()


def _pytorch_fid(real: Any, fake: Any) -> float:
    from pytorch_fid.fid_score import calculate_frechet_distance

    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (real.astype(np.float64), fake.astype(np.float64))]
    return float(calculate_frechet_distance(*moments[0], *moments[1]))


def _clean_fid(real: Any, fake: Any) -> float:
    from cleanfid.fid import fid_from_feats

    return float(fid_from_feats(real, fake))


def _torch_fidelity_fd(real: Any, fake: Any) -> float:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    found = [fid_features_to_statistics(x) for x in _tensors(real, fake)]
    return float(fid_statistics_to_metric(*found, verbose=False)["frechet_inception_distance"])


def _torchmetrics_fd(real: Any, fake: Any) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_identity())
    for values, is_real in ((real, True), (fake, False)):
        metric.update(_tensors(values)[0], real=is_real)
    return float(metric.compute())


def _piq_fd(real: Any, fake: Any) -> float:
    from piq import FID

    return float(FID()(*_tensors(real, fake)))


def ready() -> None:
    """Imports what several packages import, in the one order in which it works."""
    from tests.peers.conftest import import_torchvision

    with contextlib.suppress(ImportError), warnings.catch_warnings(action="ignore"):
        import_torchvision()


def measured(call: Callable[[], float]) -> float | str:
    """A number, or in a word why there is none."""
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        try:
            return float(call())
        except ImportError as error:
            return f"not installed ({error.name})"
        except Exception as error:  # noqa: BLE001 - theirs may raise anything
            return f"{type(error).__name__}: {str(error).splitlines()[0][:60] if str(error) else ''}"


def table() -> str:
    """Markdown."""
    ready()
    shown = lambda x: x if isinstance(x, str) else f"{x:.7g}"
    lines = [
        "| metric | package | theirs | ours | ours, set as theirs | why they differ |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows():
        cells = [shown(measured(call)) for call in (row.theirs, row.ours, row.as_theirs)]
        lines.append(f"| {row.metric} | {row.package} | {' | '.join(cells)} | {row.reason} |")
    names = (
        "pytorch-fid",
        "clean-fid",
        "torch-fidelity",
        "torchmetrics",
        "piq",
        "prdc",
        "lpips",
        "torch",
        "scipy",
        "numpy",
    )
    found = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return "\n".join([*lines, "", ", ".join(found)])


if __name__ == "__main__":
    print(table())
