"""Roles in the DCGAN pair.

Exact: wider (new units are fresh on their inputs and silent on their outputs into old units; batch norm is per
channel), more latent dimensions, grey to colour on grey images. Not exact: another resolution, anything smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

from gan_jax.config import DCGANConfig
from gan_jax.nets.dcgan import widths
from gan_jax.surgery.layout import Layout
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


def layouts(config: DCGANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`. All scales are free: batch norm forgets them, leaky ReLU passes them on."""
    sizes = list(widths(config))
    norm = lambda r: {
        **{f"batch_stats/norm{r}/{leaf}": f"-> b{r}" for leaf in ("mean", "var")},
        **{f"params/norm{r}/{leaf}": f"-> b{r}:norm{r}" for leaf in ("scale", "bias")},
    }
    g = {"params/b4/kernel": "z -> (4 4 b4)", **norm(4)}
    for r in sizes[1:]:
        g |= {f"params/b{r}/kernel": f"h w b{r // 2}:norm{r // 2} -> b{r}", **norm(r)}
    top = sizes[-1]
    g["params/to_rgb/kernel"] = f"h w b{top}:norm{top} -> rgb"
    d, seen = {"params/from_rgb/kernel": f"h w rgb -> b{top}"}, f"b{top}"
    for r in reversed(sizes[:-1]):
        d |= {f"params/b{r}/kernel": f"h w {seen} -> b{r}", **norm(r)}
        seen = f"b{r}:norm{r}"
    d["params/head/kernel"] = f"(4 4 {seen}) -> logit"
    free = frozenset({f"b{r}" for r in sizes} | {f"norm{r}" for r in sizes})
    return {"g": Layout(g, free), "d": Layout(d, free)}
