"""The U-Net's pair: how it grows and shrinks, beyond what follows from its layout.

Width: silently or by copies. Depth: the new lowest layers add nothing, since the kernel that reads them starts at zero;
what read the lowest map reads it as a skip then. That map gets a norm, which in batch norm is set to the identity: exact
in evaluation, while training takes the batch's statistics. Instance norm has no such identity, so that there a deeper
U-Net is another function at first. Image channels: new ones are read by zeros, from grey to colour the kernel is shared.

Exact: wider; image channels that go in, on images whose new channels are zero or repeat grey; grey to colour where it
comes out; a discriminator that is shown what goes in; deeper with batch norm, in evaluation; and the way back from each
of these, before training. Not exact: anything else that is smaller.

Other families fill the layers of the encoder and of the decoder; the kernels that read a skip start at zero then, so that
the decoder makes of the lowest map what the other network made of it.
"""

from __future__ import annotations

from gan_jax.config import UNetConfig
from gan_jax.nets.layers import Norm
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross import Fill, Part, Roles, leaf
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.families.notes import CONDITIONS
from gan_jax.surgery.families.patchgan import (
    behind,
    discriminator,
    discriminator_layout,
    discriminator_roles,
    free_scales,
    layer_text,
    new_affine,
    norm_roles,
    norm_text,
)
from gan_jax.trees import Rule


def generator(case: Case) -> list[Rule]:
    """New lowest layers, which add nothing."""
    new, old = case.config.depth, case.old_config.depth
    if not case.old or new == old:
        return new_affine(case)
    conv, skip = (f"params/up{min(new, old)}/{name}/kernel" for name in ("conv", "skip"))
    target, source = (conv, skip) if new < old else (skip, conv)
    role = case.role(target, source)
    sources = case.sources(source) if "keep" in role else [source]
    normed = {"reason": "another norm before it"} if case.config.norm == "instance" else {}
    rules = [case.move(target, "fit_with_reason" if normed else "fit", sources, **role, **normed)]
    if new < old:
        return [*rules, *new_affine(case)]
    norm = f"down{old}/norm"
    rules += [
        case.create(conv, "zero"),
        case.create(f"params/{norm}/scale", "fill", value=1.0),
        case.create(f"(params/{norm}/bias|batch_stats/{norm}/mean)", "zero"),
        case.create(f"batch_stats/{norm}/var", "fill", value=1.0 - Norm.epsilon, condition=CONDITIONS["carry"]),
    ]
    fresh = "|".join(f"{side}{i}" for i in range(old + 1, new + 1) for side in ("down", "up"))
    rules.append(case.create(f"(params|batch_stats)/({fresh})/.*", "init", unheard=True))
    return [*rules, *new_affine(case)]


def new_norms(config: UNetConfig, old_config: UNetConfig) -> dict[str, tuple[str, ...]]:
    """The norms that growth sets to the identity, for `calibrate`."""
    deeper = config.depth > old_config.depth and config.norm == "batch"
    return {"g": (f"down{old_config.depth}/norm",)} if deeper else {}


def layouts(config: UNetConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`; channels behind a down layer are read by the next one and by a skip."""
    bias, kind, lowest = config.norm == "instance", config.norm, config.depth

    def after(name: str) -> str:
        return name if name in ("down1", f"down{lowest}") else behind(name, f"{name}/norm", kind)

    text: dict[str, str] = {}
    for i in range(1, lowest + 1):
        name, read = f"down{i}", after(f"down{i - 1}") if i > 1 else "rgb"
        text |= layer_text(name, read, name, bias)
        text |= norm_text(f"{name}/norm", name, kind, config.affine) if 1 < i < lowest else {}
    for i in range(lowest, 0, -1):
        name = f"up{i}" if i > 1 else "to_rgb"
        write = name if i > 1 else "rgb"
        text |= layer_text(name, after(f"up{i + 1}" if i < lowest else f"down{i}"), write, bias or i == 1)
        text |= layer_text(name, after(f"down{i}"), write, False, "skip") if i < lowest else {}
        text |= norm_text(f"{name}/norm", name, kind, config.affine) if i > 1 else {}
    return {"g": Layout(text, free_scales(text, kind, ("down1", f"down{lowest}"))), "d": discriminator_layout(config)}


def roles(config: UNetConfig) -> dict[str, Roles]:
    """U-Net: `up2` doubles the maps to half the image's size; the layer next to the image changes the size, too."""
    text, lowest = layouts(config)["g"].text, config.depth
    g = {name: leaf("params/down1/conv/kernel") for name in ("read_strided", "read")}
    for i in range(2, lowest + 1):
        g[f"halve{i - 1}"] = leaf(f"params/down{i}/conv/kernel")
        g |= norm_roles(f"norm_halve{i - 1}", f"down{i}/norm", text)

    def up(name: str) -> Part:
        path, skip = f"params/{name}/conv/kernel", f"params/{name}/skip/kernel"
        return Part((path,), (), {path: Fill()}, (skip,) if skip in text else ())

    for i in range(2, lowest + 1):
        stride = 2 ** (i - 1)
        g |= {f"double{i - 1}": up(f"up{i}"), f"up{stride}": up(f"up{i}")}
        for role in (f"norm_double{i - 1}", f"norm{stride}"):
            g |= norm_roles(role, f"up{i}/norm", text)
    g |= {"to_rgb": up("to_rgb"), "rgb_bias": leaf("params/to_rgb/conv/bias", colour=("out", 0))}
    return {"g": g, "d": discriminator_roles(config)}


__all__ = ["discriminator", "generator", "layouts", "new_norms", "roles"]
