"""Roles in the DCGAN pair.

Exact: wider (new units are fresh on their inputs and silent on their outputs into old units; batch norm is per
channel), more latent dimensions, grey to colour on grey images. Not exact: another resolution, anything smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

from gan_jax.surgery.roles import moved
from gan_jax.trees import Flat, Rule


def generator(root: str, origin: str, target: Flat, source: Flat, classes: Sequence[int] | None) -> list[Rule]:
    """Rules for the leaves under `root`, which come from `origin`."""
    rules = []
    new, old = target.get(f"{root}/params/b4/kernel"), source.get(f"{origin}/params/b4/kernel")
    if new is not None and old is not None:
        view = [[leaf.shape[0], 4, 4, leaf.shape[1] // 16] for leaf in (old, new)]
        rules.append(moved(root, origin, "params/b4/kernel", inputs=[0], view=view))
    return [
        *rules,
        moved(root, origin, "params/to_rgb/kernel", inputs=[2], colour=("out", 3)),
        moved(root, origin, r"params/b\d+/kernel", inputs=[2]),
        moved(root, origin, ".*"),
    ]


def discriminator(root: str, origin: str, target: Flat, source: Flat, classes: Sequence[int] | None) -> list[Rule]:
    """Rules for the leaves under `root`, which come from `origin`."""
    rules = []
    new, old = target.get(f"{root}/params/head/kernel"), source.get(f"{origin}/params/head/kernel")
    if new is not None and old is not None:
        view = [[4, 4, leaf.shape[0] // 16, 1] for leaf in (old, new)]
        rules.append(moved(root, origin, "params/head/kernel", inputs=[2], view=view))
    return [
        *rules,
        moved(root, origin, "params/from_rgb/kernel", inputs=[2], colour=("in", 2)),
        moved(root, origin, r"params/b\d+/kernel", inputs=[2]),
        moved(root, origin, ".*"),
    ]
