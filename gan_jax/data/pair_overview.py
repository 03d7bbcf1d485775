"""What a set of pairs holds: counts, sizes, classes with their share of the pixels, and a preview."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.data.convert import Fit, resize, to_channels
from gan_jax.data.decode import Facts
from gan_jax.data.files import Bad
from gan_jax.data.label_maps import colour_labels, resize_nearest
from gan_jax.data.pair_files import MixedShapes
from gan_jax.data.pairs import Pairs, read_pairs

_PREVIEW_PX = 64  # of sets of several sizes, whose pixels are counted at this size

USES = {
    "paired": "networks that learn an image from its input (pix2pix)",
    "unpaired": "networks that learn from two sets without pairs (CycleGAN, CUT)",
    "layout": "networks that learn an image from its label map (SPADE)",
}


def inspect_pairs(
    spec: Any,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    bad: Bad = "skip",
) -> tuple[dict[str, Any], Pairs]:
    """The contents of a set of pairs as JSON values, and the pairs; small copies where it has several sizes.

    Every file is decoded, so that every damaged one is named.

    Args:
      spec: as for `load_pairs`.
      resolution, fit: of both sides in training; None keeps what they have.
      channels: of the images; None keeps what they have.
      bad: skip pairs that cannot be read, or fail with all their names.
    """
    single = True
    try:
        pairs, facts = read_pairs(spec, resolution=resolution, channels=channels, fit=fit, bad=bad)
    except MixedShapes:
        single = False
        pairs, facts = read_pairs(
            spec, resolution=resolution or _PREVIEW_PX, in_channels=3, channels=channels or 3, fit=fit, bad=bad
        )
    rows = label_shares(pairs)
    notes = pairs.notes[bool(pairs.left_out) :] if single else pairs.notes[:0]
    values: dict[str, Any] = {
        "name": pairs.name,
        "kind": pairs.kind,
        "inputs": _side(facts.inputs, pairs.inputs if single else None),
        "images": _side(facts.images, pairs.images if single else None),
        "num_labels": pairs.num_labels,
        "labels": rows,
        "dont_care": float((pairs.inputs == pairs.num_labels).mean()) if pairs.kind == "layout" else None,
        "instances": pairs.instances is not None,
        "left_out": [{"file": file, "reason": reason} for file, reason in pairs.left_out],
        "notes": [note for note in notes if "left out: " not in note],
        "use": USES[pairs.kind],
        "fingerprint": pairs.fingerprint if single else None,
    }
    return values, pairs


def _side(facts: Sequence[Facts], array: np.ndarray | None) -> dict[str, Any]:
    """What one side holds; its shape where all rows have one."""
    return {
        "count": len(facts),
        "height": None if array is None else array.shape[1],
        "width": None if array is None else array.shape[2],
        "channels": None if array is None or array.ndim == 3 else array.shape[3],
        "sizes": {f"{w} x {h}": n for (w, h), n in Counter((f.width, f.height) for f in facts).most_common()},
        "modes": dict(Counter(f.mode for f in facts).most_common()),
        "kinds": dict(Counter(f.kind for f in facts if f.kind).most_common()),
    }


def label_shares(pairs: Pairs) -> list[dict[str, Any]]:
    """Of each class of a layout its label, name, share of the pixels that have a class, and number of maps that show it."""
    if pairs.num_labels is None:
        return []
    counts = np.zeros(pairs.num_labels + 1, np.int64)
    maps = np.zeros(pairs.num_labels + 1, np.int64)
    for row in pairs.inputs:
        of_row = np.bincount(row.reshape(-1), minlength=pairs.num_labels + 1)
        counts += of_row
        maps += of_row > 0
    total = max(1, int(counts[:-1].sum()))
    names = pairs.class_names or [str(label) for label in range(pairs.num_labels)]
    return [
        {"label": label, "name": names[label], "share": int(counts[label]) / total, "maps": int(maps[label])}
        for label in range(pairs.num_labels)
    ]


def preview(pairs: Pairs, most: int = 32) -> np.ndarray:
    """The first inputs and images in turn, `[2n, H, W, C]` uint8 of one size; label maps are coloured."""
    n = min(most, len(pairs), len(pairs.images))
    images, inputs = pairs.images[:n], pairs.inputs[:n]
    height, width = images.shape[1:3]
    if pairs.num_labels is not None:
        inputs = colour_labels(resize_nearest(inputs, (height, width)), pairs.num_labels)
    elif inputs.shape[3] not in (1, 3, 4):
        inputs = inputs[..., :1] if inputs.shape[3] < 3 else inputs[..., :3]  # of many channels the first ones
    channels = max(images.shape[3], inputs.shape[3])
    sides = [to_channels(resize(np.ascontiguousarray(x), (height, width)), channels) for x in (inputs, images)]
    return np.stack(sides, 1).reshape(2 * n, height, width, channels)
