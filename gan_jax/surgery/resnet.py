"""Roles in the ResNet pair: which leaf is what, and how the pair grows without a change of its function.

Width: new units are fresh on their inputs and silent on their outputs into old units. In D, where kernels are divided
by their largest singular value, new units are also orthogonal to the old ones (`surgery.spectral`).
Resolution: a new block passes its input on (identity skip) and adds nothing (silent residual), so that
`G32(z) = repeat(G16(z))` and `D32(x) = D16(mean(x))`. Colour: grey heads are repeated, colour readers get chroma.

Exact: wider; higher resolution where the new block is not narrower than the next lower one; grey to colour, on grey
images; more latent dimensions (new ones unread by old units); unconditional to conditional, and reordered classes, in G.
Not exact: anything smaller, colour to grey in D, a narrower new block, a fresh class table in D. Measure it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.config import ResNetConfig
from gan_jax.nets.resnet import widths
from gan_jax.surgery.layout import Layout
from gan_jax.surgery.plan import Move
from gan_jax.surgery.roles import made, make_rules, moved
from gan_jax.trees import Flat, Rule, Tree, match


def resnet_rules(
    target_specs: Tree,
    source_specs: Tree,
    *,
    classes: Sequence[int] | None = None,
    roots: Mapping[str, str] | None = None,
    first: Sequence[Rule] = (),
) -> list[Rule]:
    """Rules from a ResNet pair to another; the arguments are those of `families.pair_rules`."""
    return make_rules(generator, discriminator, target_specs, source_specs, classes, roots, first)


def generator(root: str, origin: str, target: Flat, source: Flat, classes: Sequence[int] | None) -> list[Rule]:
    """Rules for the leaves under `root`, which come from `origin`."""
    rules = []
    if fresh := _new_blocks(root, origin, target, source):
        block = f"params/({fresh})"
        rules += [
            made(root, f"{block}/conv1/(kernel|bias)", "zero"),
            made(root, f"{block}/skip/kernel", "identity"),
            made(root, f"{block}/skip/bias", "zero"),
            made(root, f"(params|batch_stats)/({fresh})/.*", "init"),
        ]
    stem, stem_origin = f"{root}/params/stem/kernel", f"{origin}/params/stem/kernel"
    if stem in target and stem_origin in source:
        (z, new), (z_old, old) = target[stem].shape, source[stem_origin].shape
        kernel = [[z_old, 4, 4, old // 16], [z, 4, 4, new // 16]]
        rules.append(moved(root, origin, "params/stem/kernel", inputs=[0], view=kernel))
        rules.append(moved(root, origin, "params/stem/bias", view=[kernel[0][1:], kernel[1][1:]]))
    return [
        *rules,
        moved(root, origin, r"params/b\d+/norm\d/(?:scale|bias)", classes=classes),
        moved(root, origin, "params/to_rgb/kernel", inputs=[2], colour=("out", 3)),
        moved(root, origin, "params/to_rgb/bias", colour=("out", 0)),
        moved(root, origin, r"params/b\d+/\w+/kernel", inputs=[2]),
        moved(root, origin, ".*"),
    ]


def discriminator(root: str, origin: str, target: Flat, source: Flat, classes: Sequence[int] | None) -> list[Rule]:
    """Rules for the leaves under `root`, which come from `origin`."""
    rules = []
    if fresh := _new_blocks(root, origin, target, source):
        block = f"params/({fresh})"
        rules += [
            made(root, f"{block}/conv0/kernel", "mute"),
            made(root, f"{block}/conv1/kernel", "ballast"),
            made(root, f"{block}/skip/kernel", "identity"),
            made(root, f"{block}/\\w+/bias", "zero"),
            made(root, f"spectral/({fresh})/skip/u", "one_hot", index=0),
            made(root, f"spectral/({fresh})/conv1/u", "one_hot", index=-1),
            made(root, f"spectral/({fresh})/conv0/u", "init"),
        ]
    roles: list[tuple[str, dict[str, Any]]] = [
        ("from_rgb/kernel", {"inputs": [2], "colour": ("in", 2), "spectral": True}),
        (r"b\d+/\w+/kernel", {"inputs": [2], "spectral": True}),
        ("head/kernel", {"inputs": [0]}),
        ("embed/embedding", {"inputs": [1], "classes": classes}),
    ]
    for tail, role in roles:
        rules.append(moved(root, origin, f"params/{tail}", **role))
        kernels = [path for path in target if match(f"re:{root}/params/{tail}", path)]
        rules += [_vector(root, origin, path, target, role) for path in kernels]
    return [*rules, moved(root, origin, ".*")]


def layouts(config: ResNetConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator_layout(config), "d": _discriminator_layout(config)}


def _extra(config: ResNetConfig, r: int) -> list[str]:
    """The further residuals of a block. Their skip is the identity, which ties what they read to what they write."""
    return [f"b{r}/more{i}" for i in range(config.depth - 1)]


def _generator_layout(config: ResNetConfig) -> Layout:
    classes = "classes " if config.num_classes else ""
    text = {"params/stem/kernel": "z -> (4 4 b4)", "params/stem/bias": "-> (4 4 b4)"}

    def norm(name: str, group: str, rows: str = "") -> None:
        text.update({f"batch_stats/{name}/{leaf}": f"-> {group}" for leaf in ("mean", "var")})
        text.update({f"params/{name}/{leaf}": f"{rows}-> {group}:{name}" for leaf in ("scale", "bias")})

    def conv(name: str, read: str, write: str) -> None:
        text.update({f"params/{name}/kernel": f"h w {read} -> {write}", f"params/{name}/bias": f"-> {write}"})

    for r in list(widths(config))[1:]:
        b, before = f"b{r}", f"b{r // 2}"
        norm(f"{b}/norm0", before, classes)
        conv(f"{b}/conv0", f"{before}:{b}/norm0", f"{b}/conv0")
        norm(f"{b}/norm1", f"{b}/conv0", classes)
        conv(f"{b}/conv1", f"{b}/conv0:{b}/norm1", b)
        conv(f"{b}/skip", before, b)
        for more in _extra(config, r):
            norm(f"{more}/norm0", b, classes)
            conv(f"{more}/conv0", f"{b}:{more}/norm0", f"{more}/conv0")
            norm(f"{more}/norm1", f"{more}/conv0", classes)
            conv(f"{more}/conv1", f"{more}/conv0:{more}/norm1", b)
    top = f"b{config.resolution}"
    norm("to_rgb_norm", top)
    conv("to_rgb", f"{top}:to_rgb_norm", "rgb")
    scales = re.findall(r"[^\s:()]+", " ".join(text.values()))
    return Layout(text, frozenset(name for name in scales if name.startswith("b") or name == "to_rgb_norm"))


def _discriminator_layout(config: ResNetConfig) -> Layout:
    text: dict[str, str] = {}

    def conv(name: str, read: str, write: str) -> None:
        text[f"params/{name}/kernel"] = f"h w {read} -> {write}"
        text[f"params/{name}/bias"] = text[f"spectral/{name}/u"] = f"-> {write}"

    conv("from_rgb", "rgb", f"b{config.resolution}")
    for r in widths(config):
        b, after = f"b{r}", f"b{r // 2}" if r > 4 else "top"
        for more in _extra(config, r):
            conv(f"{more}/conv0", b, f"{more}/conv0")
            conv(f"{more}/conv1", f"{more}/conv0", b)
        conv(f"{b}/conv0", b, f"{b}/conv0")
        conv(f"{b}/conv1", f"{b}/conv0", after)
        conv(f"{b}/skip", b, after)
    text |= {"params/head/kernel": "top -> logit", "params/head/bias": "-> logit", "spectral/head/u": "-> logit"}
    if config.num_classes:
        text |= {"params/embed/embedding": "classes top ->", "spectral/embed/u": "-> top", "params/embed/gain": "->"}
    return Layout(text, spectral=tuple(path for path in text if path.endswith(("kernel", "embedding"))))


def _new_blocks(root: str, origin: str, target: Flat, source: Flat) -> str:
    """An alternative for a regular expression, such as `b32|b64`: blocks that only the target has."""
    names = lambda flat, top: {p.split("/")[2] for p in flat if re.match(rf"{re.escape(top)}/params/b\d+/", p)}
    old, new = names(source, origin), names(target, root)
    return "|".join(sorted(new - old)) if old else ""


def _vector(root: str, origin: str, path: str, target: Flat, role: Mapping[str, Any]) -> Rule:
    """The rule for the singular vector that belongs to a kernel."""
    kernel = path.removeprefix(f"{root}/")
    name = kernel.removeprefix("params/").rpartition("/")[0]
    sources = (f"{origin}/spectral/{name}/u", f"{origin}/{kernel}")
    return Rule(f"{root}/spectral/{name}/u", Move("fit_vector", sources, {**role, "shape": target[path].shape}))
