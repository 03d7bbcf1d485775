"""The ResNet from images to images: how it grows and shrinks, beyond what follows from its layout.

Width: silently or by copies; blocks read and write the same channels. Depth: a new block adds nothing. Where its last norm
has a scale, scale and bias start at zero, and training moves them from there. Instance norm without affine has none: there
the last kernel starts at zero, and the norm of a flat map is zero, too. That is exact, but does not last: once a step has
moved the kernel by however little, the norm makes a map of variance 1 of it. For a soft start grow with `affine`.

Exact: wider; deeper; image channels that go in, on images whose new channels are zero or repeat grey; grey to colour where
it comes out; a discriminator that is shown what goes in; norms that become affine; and the way back from each of these,
before training. Not exact: anything else that is smaller.

Other families fill the encoder and the decoder. A 3x3 kernel of stride 2 is a 4x4 one whose last row and column are zero;
the other way these are added to their neighbours, so that maps without detail are still read and made as they were.
Filters count as repetition and means.
"""

from __future__ import annotations

from typing import Any

from gan_jax.config import TranslatorConfig
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross import KINDS, Roles, leaf
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.families.patchgan import (
    behind,
    check,
    discriminator,
    discriminator_layout,
    discriminator_roles,
    free_scales,
    layer_text,
    new_affine,
    norm_roles,
    norm_text,
)
from gan_jax.surgery.ops import Step
from gan_jax.trees import Rule


def generator(case: Case) -> list[Rule]:
    """New blocks, which add nothing."""
    check(case, ("antialias",))
    config, rules = case.config, []
    names = [f"block{i}" for i in range(case.old_config.blocks, config.blocks)] if case.old else []
    if names:
        block = f"params/({'|'.join(names)})"
        scaled = f"params/{names[0]}/norm1/scale" in case.leaves
        silent = "norm1/(scale|bias)" if scaled else "conv1/(kernel|bias)"
        rules = [case.create(f"{block}/{silent}", "zero")]
        rules.append(case.create(f"(params|batch_stats)/({'|'.join(names)})/.*", "init", unheard=True))
    return [*rules, *new_affine(case)]


def layouts(config: TranslatorConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`; the channels of all blocks are those of `down2`."""
    kind, affine, bias = config.norm, config.affine, config.norm == "instance"
    text: dict[str, str] = {}

    def layer(name: str, read: str) -> str:
        text.update(layer_text(name, read, name, bias) | norm_text(f"{name}/norm", name, kind, affine))
        return behind(name, f"{name}/norm", kind)

    stream = layer("down2", layer("down1", layer("stem", "rgb")))
    sums = stream.partition(":")[2] or stream  # the scale of what blocks add to
    for i in range(config.blocks):
        block, inner = f"block{i}", f"block{i}/conv0"
        text |= layer_text(block, stream, inner, bias, "conv0") | norm_text(f"{block}/norm0", inner, kind, affine)
        written = f"down2:{sums}" if kind == "none" else f"down2:{block}/conv1"
        text |= layer_text(block, behind(inner, f"{block}/norm0", kind), written, bias, "conv1")
        norm = norm_text(f"{block}/norm1", "down2", kind, affine)
        text |= {path: f"-> {written}" if path.startswith("batch_stats") else f"-> down2:{sums}" for path in norm}
    last = layer("up1", layer("up2", stream))
    text |= {"params/to_rgb/kernel": f"h w {last} -> rgb", "params/to_rgb/bias": "-> rgb"}
    return {"g": Layout(text, free_scales(text, kind, ())), "d": discriminator_layout(config)}


EVEN = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]  # a 3x3 kernel of stride 2 as a 4x4 one, along one axis
ODD = {  # and back: the last tap goes to the one that reads the px next to its own
    "fuse_down": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]],
    "fuse_up": [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]],
}


def roles(config: TranslatorConfig) -> dict[str, Roles]:
    """The ResNet from images to images: between its first and its last layer the size is halved and doubled twice."""
    text = layouts(config)["g"].text
    g = {"read": leaf("params/stem/conv/kernel"), **norm_roles("norm_read", "stem/norm", text)}

    def resampling(name: str, kind: str) -> Any:
        path = f"params/{name}/conv/kernel"
        if config.antialias:
            return leaf(path, **KINDS[kind])
        along = lambda matrix: tuple(("mix", {"axis": axis, "matrix": matrix}) for axis in (0, 1))
        then: tuple[Step, ...] = along(ODD[KINDS[kind]["resample"]])
        return leaf(path, along(EVEN), **KINDS[kind], even=4, then=[list(step) for step in then])

    for i in (1, 2):
        g[f"halve{i}"] = resampling(f"down{i}", "halve")
        g |= norm_roles(f"norm_halve{i}", f"down{i}/norm", text)
    g |= {f"inner{i + 1}": leaf(f"params/block0/conv{i}/kernel") for i in range(2 if config.blocks else 0)}
    for i in (2, 1):
        for role in (f"double{i}", f"up{i}"):
            g[role] = resampling(f"up{i}", "double")
        for role in (f"norm_double{i}", f"norm{i}"):
            g |= norm_roles(role, f"up{i}/norm", text)
    g |= {"to_rgb": leaf("params/to_rgb/kernel"), "rgb_bias": leaf("params/to_rgb/bias", colour=("out", 0))}
    return {"g": g, "d": discriminator_roles(config)}


__all__ = ["discriminator", "generator", "layouts", "roles"]
