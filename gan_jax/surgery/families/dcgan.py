"""The DCGAN pair: how it grows and shrinks, beyond what follows from its layout.

No layer can be passed by, so a new one has to carry the image through its nonlinearity. Behind a ReLU a value p is
relu(p) - relu(-p), behind a leaky one (lrelu(p) - lrelu(-p)) / 1.2: two channels carry an image channel, and the other
channels are fresh and unread. G: the old `to_rgb` becomes the first new layer, and the new `to_rgb` repeats pixels.
D: the new `from_rgb` takes means of 2x2 pixels, and the old one becomes a layer within. Norms of new layers are set to
the identity: mean 0, variance 1 - eps, scale 1. In training mode a norm takes the statistics of the batch instead;
`surgery.measure.calibrate` gives it the scale and bias that undo that, on batches like those that it was shown.

Exact: wider, silently or by copies (batch norm is per channel), more latent dimensions, grey to colour on grey images;
in evaluation mode higher resolutions where new layers have two channels for each image channel, and the way back. There
is no exact way to make this family deeper at a resolution. Not exact: anything else that is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gan_jax.config import DCGANConfig
from gan_jax.nets.dcgan import widths
from gan_jax.nets.layers import Norm
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross import dcgan_roles as roles
from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import Rule

TO_RGB, FROM_RGB = "params/to_rgb/kernel", "params/from_rgb/kernel"


def generator(case: Case) -> list[Rule]:
    """Layers that carry the image, or heads into which such layers are folded."""
    kernel = lambda r: f"params/b{r}/kernel"
    if levels := _levels(case, case.config, case.old_config):  # from the old image upwards
        if not _wide_enough(case, levels):
            return []
        first, *later = levels
        role = {**case.role(kernel(first), TO_RGB), "colour": ("out", 3)}
        image = {"channels": case.config.channels, "value": 1.0}
        arguments = {"channels": case.config.channels, "by": ("carry", {"axis": 3, "value": 1.0})}
        return [
            case.move(kernel(first), "fit_carry", [TO_RGB], **role, **arguments),
            *(case.create(kernel(r), "carry_on", reads="pairs", writes="pairs", **image) for r in later),
            case.create(TO_RGB, "carry_on", reads="pairs", writes="plain", **image),
            *(rule for r in levels for rule in _identity_norm(case, r)),
        ]
    if levels := _levels(case, case.old_config, case.config):
        rest = [path for r in levels[1:] for path in (*_norm(r // 2), kernel(r))]
        sources = [kernel(levels[0]), *rest, *_norm(levels[-1]), TO_RGB]
        role = {**case.role(TO_RGB, kernel(levels[0])), "colour": ("out", 3)}
        return [case.move(TO_RGB, "fit_fold", sources, **role, fold=_fold("out"))]
    return []


def discriminator(case: Case) -> list[Rule]:
    """The mirror image."""
    kernel = lambda r: f"params/b{r}/kernel"
    if levels := _levels(case, case.config, case.old_config):
        if not _wide_enough(case, levels):
            return []
        first, channels = levels[0] // 2, case.config.channels
        role = {**case.role(kernel(first), FROM_RGB), "colour": ("in", 2)}
        image = {"writes": "pairs", "channels": channels}
        arguments = {"channels": channels, "by": ("carry", {"axis": 2, "value": 1 / 1.2})}
        return [
            case.create(FROM_RGB, "carry_on", reads="plain", value=1 / 4, **image),
            *(case.create(kernel(r), "carry_on", reads="pairs", value=1 / 4.8, **image) for r in levels[:-1]),
            case.move(kernel(first), "fit_carry", [FROM_RGB], **role, **arguments),
            *(rule for r in (first, *levels[:-1]) for rule in _identity_norm(case, r)),
        ]
    if levels := _levels(case, case.old_config, case.config):
        below = [r // 2 for r in reversed(levels)]  # the layers that go, from the image upwards
        sources = [FROM_RGB, *(path for r in below for path in (kernel(r), *_norm(r)))]
        role = {**case.role(FROM_RGB, kernel(below[-1])), "colour": ("in", 2)}
        return [case.move(FROM_RGB, "fit_fold", sources, **role, fold=_fold("in"))]
    return []


def new_norms(config: DCGANConfig, old_config: DCGANConfig) -> dict[str, tuple[str, ...]]:
    """The norms that growth sets to the identity, for `calibrate`, in the order in which data pass them."""
    levels = [r for r in widths(config) if r >= old_config.resolution]
    if any(widths(config)[r] < 2 * config.channels for r in levels):
        return {}  # no way through for the image, see `_wide_enough`
    below = [old_config.resolution // 2, *levels[:-1]] if levels else []
    return {"g": tuple(f"norm{r}" for r in levels), "d": tuple(f"norm{r}" for r in reversed(below))}


def _levels(case: Case, large: DCGANConfig, small: DCGANConfig) -> list[int]:
    """The layers of G that only the larger one has, by their resolution."""
    return [r for r in widths(large) if r >= small.resolution] if case.old else []


def _wide_enough(case: Case, levels: Sequence[int]) -> bool:
    return all(widths(case.config)[r] >= 2 * case.config.channels for r in levels)


def _fold(side: str) -> tuple[str, dict[str, Any]]:
    return "fold_head", {"side": side, "epsilon": Norm.epsilon}


def _norm(r: int) -> list[str]:
    return [f"params/norm{r}/scale", f"batch_stats/norm{r}/var"]


def _identity_norm(case: Case, r: int) -> list[Rule]:
    return [
        case.create(f"params/norm{r}/scale", "fill", value=1.0),
        case.create(f"(params/norm{r}/bias|batch_stats/norm{r}/mean)", "zero"),
        case.create(f"batch_stats/norm{r}/var", "fill", value=1.0 - Norm.epsilon),
    ]


def layouts(config: DCGANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`. All scales are free: batch norm forgets them, leaky ReLU passes them on."""
    sizes = list(widths(config))

    def norm(r: int) -> dict[str, str]:
        return {
            **{f"batch_stats/norm{r}/{leaf}": f"-> b{r}" for leaf in ("mean", "var")},
            **{f"params/norm{r}/{leaf}": f"-> b{r}:norm{r}" for leaf in ("scale", "bias")},
        }

    g = {"params/b4/kernel": "z -> (4 4 b4)", **norm(4)}
    for r in sizes[1:]:
        g |= {f"params/b{r}/kernel": f"h w b{r // 2}:norm{r // 2} -> b{r}", **norm(r)}
    top = sizes[-1]
    g["params/to_rgb/kernel"] = f"h w b{top}:norm{top} -> rgb"
    d, read = {"params/from_rgb/kernel": f"h w rgb -> b{top}"}, f"b{top}"
    for r in reversed(sizes[:-1]):
        d |= {f"params/b{r}/kernel": f"h w {read} -> b{r}", **norm(r)}
        read = f"b{r}:norm{r}"
    d["params/head/kernel"] = f"(4 4 {read}) -> logit"
    free = frozenset({f"b{r}" for r in sizes} | {f"norm{r}" for r in sizes})
    return {"g": Layout(g, free), "d": Layout(d, free)}


__all__ = ["discriminator", "generator", "layouts", "new_norms", "roles"]
