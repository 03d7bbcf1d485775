"""SPADE: its layout, and how its networks take up other labels and widths.

Labels: each new label starts from an old one, from several, or from the mean of all (`classes`); labels that none starts
from are left out. A new channel for places without a label starts as the mean of all labels, a new one for edges unread.

Exact: wider, silently; other labels, for each as the one that it starts from; a channel for edges, whatever it holds;
other sizes of images, which no leaf depends on; and the way back from width and edges, before training. Other numbers of
doublings, image channels, layers or scales, and another norm, are other functions: those are refused. So are copies of
channels (`width="net2wider"`): nearly every kernel is divided by its largest singular value.

Where evaluation takes stored vectors of both sides, that of the inputs is padded as its kernel is.
"""

from __future__ import annotations

from typing import Any

from gan_jax.config import SPADEConfig
from gan_jax.nets.spade import layer_name, widths
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

FIXED = ("ups", "norm", "channels", "d_layers", "d_scales")


def generator(case: Case) -> list[Rule]:
    """The kernels that read labels."""
    _check(case)
    return _readers(case, 0)


def discriminator(case: Case) -> list[Rule]:
    """The kernels that read labels, beside the image."""
    _check(case)
    return _readers(case, case.config.channels)


def _check(case: Case) -> None:
    """Refuses what has no counterpart."""
    for name in FIXED:
        old, new = getattr(case.old_config, name), getattr(case.config, name)
        if old != new:
            raise PlanError(
                f"net.{name} goes from {old} to {new}, which SPADEConfig has no way for; change widths, labels, edges or "
                "the resolution"
            )


def _readers(case: Case, image: int) -> list[Rule]:
    """Rules for kernels whose inputs are labels and then `image` channels of an image, where the labels change."""
    rows = [[*row, *[0.0] * image] for row in label_rows(case)]
    old = case.old_config.in_channels
    rows += [[float(j == old + i) for j in range(old + image)] for i in range(image)]
    if rows == [[float(i == j) for j in range(old + image)] for i in range(old + image)]:
        return []
    rules = []
    for path, leaf in case.layout.leaves.items():
        if path in case.leaves and path in case.old and any(axis.name in ("classes", "joined") for axis in leaf.axes):
            role = {
                key: value for key, value in case.role(path).items() if key not in ("classes", "class_axis", "inputs")
            }
            sources = case.sources(path) if "keep" in role else [path]
            rules.append(case.move(path, "fit_labels", sources, labels=rows, **role))
    return rules


def label_rows(case: Case) -> list[list[float]]:
    """What each channel of the new labels starts from, as weights of the old ones `[new in_channels, old in_channels]`.

    Raises:
      PlanError: other labels without a word on where each starts.
    """
    new, old = case.config, case.old_config
    every, classes = list(range(old.num_labels)), case.options.classes
    if classes is None and new.num_labels != old.num_labels:
        raise PlanError(
            f"{old.num_labels} source labels, {new.num_labels} target labels: say which source label each starts from, "
            "classes=(0, 3, -1, ..); -1 is the mean of all"
        )
    starts = every if classes is None else list(classes)
    if len(starts) != new.num_labels:
        raise PlanError(
            f"classes names {len(starts)} source labels for {new.num_labels} target labels; name one for each"
        )

    def mean_of(index: Any) -> list[float]:
        return [index.count(i) / len(index) for i in range(old.in_channels)]

    rows = []
    for start in starts:
        entries = [start] if isinstance(start, int) else list(start)
        if entries and all(isinstance(x, float) for x in entries):
            if len(entries) != old.num_labels or abs(sum(entries) - 1) > 1e-3:
                raise PlanError(f"coefficients {entries} of a label need {old.num_labels} numbers of sum 1")
            rows.append([*entries, *[0.0] * (old.in_channels - old.num_labels)])
            continue
        if not entries or any(not 0 <= i < old.num_labels for i in entries if entries != [-1]):
            raise PlanError(
                f"{start!r} is no start for a label: use 0 to {old.num_labels - 1}, -1 for the mean, or floats"
            )
        rows.append(mean_of(every if entries == [-1] else entries))
    if new.dont_care:
        rows.append(mean_of([old.num_labels] if old.dont_care else every))
    if new.edges:
        rows.append([float(old.edges and i == old.in_channels - 1) for i in range(old.in_channels)])
    return rows


def layouts(config: SPADEConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def _generator(config: SPADEConfig) -> Layout:
    text: dict[str, str] = {}
    hidden: list[str] = []
    spectral: list[str] = []

    def conv(name: str, read: str, write: str) -> None:
        text[f"params/{name}/kernel"], text[f"params/{name}/bias"] = f"h w {read} -> {write}", f"-> {write}"

    def norm(name: str, stream: str) -> None:
        if config.norm == "batch":
            text.update({f"batch_stats/{name}/{leaf}": f"-> {stream}" for leaf in ("mean", "var")})
        hidden.append(f"{name}/shared")
        conv(f"{name}/shared", "classes", hidden[-1])
        for leaf in ("gamma", "beta"):
            conv(f"{name}/{leaf}", hidden[-1], f"{stream}:{name}")

    def weighted(name: str, read: str, write: str, size: int) -> None:
        group = read.partition(":")[0]
        conv(name, read, write)
        text[f"spectral/{name}/u"], text[f"spectral/{name}/v"] = f"-> {write}", f"({size} {size} {group}) ->"
        spectral.append(f"params/{name}/kernel")

    conv("stem", "classes", "stem")
    width, read, channels = widths(config), "stem", 16 * config.width
    for block, features in width.items():
        write = read if features == channels else block  # else the shortcut is the identity
        norm(f"{block}/norm0", read)
        weighted(f"{block}/conv0", f"{read}:{block}/norm0", f"{block}/conv0", 3)
        norm(f"{block}/norm1", f"{block}/conv0")
        weighted(f"{block}/conv1", f"{block}/conv0:{block}/norm1", write, 3)
        if features != channels:
            norm(f"{block}/norm_skip", read)
            weighted(f"{block}/skip", f"{read}:{block}/norm_skip", write, 1)
            del text[f"params/{block}/skip/bias"]
        read, channels = write, features
    conv("to_rgb", read, "rgb")
    return Layout(text, frozenset(hidden), tuple(spectral))


def _discriminator(config: SPADEConfig) -> Layout:
    text: dict[str, str] = {}
    spectral: list[str] = []
    for scale in range(config.d_scales):
        read = "joined"
        for i in range(config.d_layers + 1):
            write = "logit" if i == config.d_layers else f"scale{scale}/{i}"
            name = f"{layer_name(scale, i)}/conv"
            text[f"params/{name}/kernel"] = f"h w {read} -> {write}"
            if 0 < i < config.d_layers:
                text[f"spectral/{name}/u"], text[f"spectral/{name}/v"] = f"-> {write}", f"(4 4 {read}) ->"
                spectral.append(f"params/{name}/kernel")
            else:
                text[f"params/{name}/bias"] = f"-> {write}"
            read = write
    return Layout(text, spectral=tuple(spectral))


__all__ = ["discriminator", "generator", "layouts"]
