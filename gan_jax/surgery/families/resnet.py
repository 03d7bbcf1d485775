"""The ResNet pair: how it grows and shrinks, beyond what follows from its layout.

Width: new units have fresh inputs, and old units read them with zero. In D, where kernels are divided
by their largest singular value, new units are also orthogonal to the old ones (`ops.equalised`); G may instead be
widened by copies. Resolution: a new block passes its input on (identity skip) and adds nothing (a residual of zeros), so
that `G32(z) = repeat(G16(z))` and `D32(x) = D16(mean(x))`. Depth: a new residual adds nothing. Kernels grow by zeros.
Colour: grey heads are repeated, colour readers get chroma. Classes: a projection term starts with the gain zero.

Exact: wider; deeper; larger kernels; higher resolution where the top block is not narrower than the old one was; grey
to colour, on grey images; more latent dimensions (new ones unread by old units); unconditional to conditional; classes
chosen from old ones; and the way back from each of these, before training. Not exact: other things smaller, smaller
kernels, colour to grey in D, classes mixed of several. The plan's notes say which; measure it.
"""

from __future__ import annotations

import re

from gan_jax.config import ResNetConfig
from gan_jax.nets.resnet import widths
from gan_jax.surgery.families.case import Case, vector_role
from gan_jax.surgery.families.cross import resnet_roles as roles
from gan_jax.surgery.families.layout import Layout
from gan_jax.trees import Rule


def generator(case: Case) -> list[Rule]:
    """New blocks and residuals, with zero output."""
    if not (fresh := _new_blocks(case)):
        return []
    block = f"params/({fresh})"
    return [
        case.create(f"{block}/conv1/(kernel|bias)", "zero"),
        case.create(f"{block}/skip/kernel", "identity"),
        case.create(f"{block}/skip/bias", "zero"),
        case.create(f"(params|batch_stats)/({fresh})/.*", "init"),
    ]


def discriminator(case: Case) -> list[Rule]:
    """New blocks and residuals, with zero output although no kernel can be zero, and the gain of the projection term."""
    rules = []
    if fresh := _new_blocks(case):
        block = f"params/({fresh})"
        rules += [
            case.create(f"{block}/conv0/kernel", "mute"),
            case.create(f"{block}/conv1/kernel", "ballast"),
            case.create(f"{block}/skip/kernel", "identity"),
            case.create(f"{block}/\\w+/bias", "zero"),
            case.create(f"spectral/({fresh})/skip/u", "one_hot", index=0),
            case.create(f"spectral/({fresh})/conv1/u", "one_hot", index=-1),
            case.create(f"spectral/({fresh})/conv0/u", "init"),
        ]
    return [*rules, *projection(case)]


def projection(case: Case) -> list[Rule]:
    """The gain of the projection term, and with a new term its table."""
    gain, table, vector = "params/embed/gain", "params/embed/embedding", "spectral/embed/u"
    if gain not in case.leaves or not case.old:
        return []
    if table not in case.old:
        return [case.create(gain, "zero"), case.create(f"({table}|{vector})", "init")]
    if gain not in case.old:  # from before there was one
        return [case.create(gain, "fill", value=1.0)]
    role = vector_role(case, table, vector)
    sources = case.sources(vector, table) if "keep" in role else [vector, table]
    return [case.move(gain, "fit_gain", [gain, *sources], **role)]


def layouts(config: ResNetConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    g = generator_layout(list(widths(config)), bool(config.num_classes), config.depth)
    return {"g": g, "d": _discriminator_layout(config)}


def _extra(depth: int, r: int) -> list[str]:
    """The further residuals of a block. Their skip is the identity, which ties what they read to what they write."""
    return [f"b{r}/more{i}" for i in range(depth - 1)]


def generator_layout(sizes: list[int], labels: bool, depth: int = 1) -> Layout:
    """The layout of G with blocks for maps of these sizes; `labels`: whether norms have a row for each class."""
    classes, stem = "classes " if labels else "", f"({sizes[0]} {sizes[0]} b{sizes[0]})"
    text = {"params/stem/kernel": f"z -> {stem}", "params/stem/bias": f"-> {stem}"}

    def norm(name: str, group: str, rows: str = "") -> None:
        text.update({f"batch_stats/{name}/{leaf}": f"-> {group}" for leaf in ("mean", "var")})
        text.update({f"params/{name}/{leaf}": f"{rows}-> {group}:{name}" for leaf in ("scale", "bias")})

    def conv(name: str, read: str, write: str) -> None:
        text.update({f"params/{name}/kernel": f"h w {read} -> {write}", f"params/{name}/bias": f"-> {write}"})

    for r in sizes[1:]:
        b, before = f"b{r}", f"b{r // 2}"
        norm(f"{b}/norm0", before, classes)
        conv(f"{b}/conv0", f"{before}:{b}/norm0", f"{b}/conv0")
        norm(f"{b}/norm1", f"{b}/conv0", classes)
        conv(f"{b}/conv1", f"{b}/conv0:{b}/norm1", b)
        conv(f"{b}/skip", before, b)
        for more in _extra(depth, r):
            norm(f"{more}/norm0", b, classes)
            conv(f"{more}/conv0", f"{b}:{more}/norm0", f"{more}/conv0")
            norm(f"{more}/norm1", f"{more}/conv0", classes)
            conv(f"{more}/conv1", f"{more}/conv0:{more}/norm1", b)
    top = f"b{sizes[-1]}"
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
        for more in _extra(config.depth, r):
            conv(f"{more}/conv0", b, f"{more}/conv0")
            conv(f"{more}/conv1", f"{more}/conv0", b)
        conv(f"{b}/conv0", b, f"{b}/conv0")
        conv(f"{b}/conv1", f"{b}/conv0", after)
        conv(f"{b}/skip", b, after)
    text |= {"params/head/kernel": "top -> logit", "params/head/bias": "-> logit", "spectral/head/u": "-> logit"}
    if config.num_classes:
        text |= {"params/embed/embedding": "classes top ->", "spectral/embed/u": "-> top", "params/embed/gain": "->"}
    return Layout(text, spectral=tuple(path for path in text if path.endswith(("kernel", "embedding"))))


def _new_blocks(case: Case) -> str:
    """An alternative for a regular expression, such as `b32|b16/more0`: residuals that only the target has."""
    matches = [re.fullmatch(r"params/(b\d+(?:/more\d+)?)/conv1/kernel", path) for path in case.leaves]
    return "|".join(m[1] for m in matches if m and m[0] not in case.old) if case.old else ""


__all__ = ["discriminator", "generator", "layouts", "roles"]
