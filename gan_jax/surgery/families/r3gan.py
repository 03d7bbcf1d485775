"""The R3GAN pair: axes of its leaves, its roles for other families, how it grows and shrinks.

Nothing is normalised, and streams pass through blocks as they are: what is new is not read by what was there. A new
block's last convolution is zero. The 3x3 convolutions are grouped, so that channels inside a block come as more groups,
or as more places in each group, or both. Where the widths of two resolutions become unequal, a transition appears, which
passes channels on; where they become equal, one goes, as if it had done so.

Resolution: everything between the streams at the old image and the new head is linear, so that the head moves inwards:
G's old to_rgb becomes the first transition above, and the new to_rgb takes the image out of the stream; D's from_rgb
likewise. Where all widths are equal the heads stay as they are. So `G32(z) = filtered double of G16(z)` and
`D32(x) = D16(filtered half of x)`. Labels: G reads them with zero; of what D multiplies, the first feature is the old
logit, times 1 for each class.

Exact: wider, silently or by copies; more latents; deeper; another expansion, or more groups; higher resolution; grey to
colour, on grey images; unconditional to conditional; classes chosen; and the way back from each of these, before
training. Where D loses its labels, its logit is the mean over classes. Not exact: anything else that is smaller; G
without its labels. Alpha starts at 0, half transparent: to_rgb has no bias to make it opaque.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gan_jax.config import R3GANConfig
from gan_jax.nets import r3gan
from gan_jax.nets.r3gan import g_embed, stages
from gan_jax.surgery.families.case import Case, shared
from gan_jax.surgery.families.cross import Fill, Part, Roles, leaf
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.families.stylegan2 import parts
from gan_jax.surgery.ops import Step
from gan_jax.surgery.ops.width import copies, seed_of
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Flat, Rule

# ----------------------------------------------------------------------------------------------------------------------
# What the axes of every leaf of an R3GAN pair are. Nothing is normalised, so that all scales are free.
#
# A stream of channels runs through all blocks of a stage, and on through stages of the same width, between which there is
# no transition. Within a block, channels are numbered by the group of the 3x3 convolution and by the place in the group:
# whole groups may change places. Places could too, in each group by itself; here they are numbered in all groups at once
# and alignment leaves them as they are.


def layouts(config: R3GANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def streams(config: R3GANConfig) -> dict[int, str]:
    """The stream at each resolution, named after the lowest one that it runs through."""
    names: dict[int, str] = {}
    width = {r: stage.width for r, stage in stages(config).items()}
    for r in width:
        names[r] = names[r // 2] if width[r] == width.get(r // 2) else f"b{r}"
    return names


def _blocks(config: R3GANConfig, r: int, stream: str) -> dict[str, str]:
    """The leaves of a stage's residual blocks."""
    stage, text = stages(config)[r], {}
    for block in (f"b{r}/res{i}" for i in range(stage.blocks)):
        runs = f"{block}/groups={stage.cardinality}"
        inner, outer = (f"{block}/{name}/place:{block}/{name}" for name in ("conv0", "conv1"))
        text |= {
            f"params/{block}/conv0/kernel": f"h w {stream} -> ({runs} {inner})",
            f"params/{block}/conv0/bias": f"-> ({runs} {inner})",
            f"params/{block}/conv1/kernel": f"h w {inner} -> ({runs} {outer})",
            f"params/{block}/conv1/bias": f"-> ({runs} {outer})",
            f"params/{block}/conv2/kernel": f"h w ({runs} {outer}) -> {stream}",
        }
    return text


def _layout(text: dict[str, str], free: set[str]) -> Layout:
    """With the scales of what blocks have inside: a factor for each channel, of any group and place."""
    convs = [path[7:-7] for path in text if path.endswith(("/conv0/kernel", "/conv1/kernel"))]
    joint = {name: (f"{name.rpartition('/')[0]}/groups", f"{name}/place") for name in convs}
    return Layout(text, frozenset(free | joint.keys()), (), joint, frozenset(place for _, place in joint.values()))


def _generator(config: R3GANConfig) -> Layout:
    stream = streams(config)
    text = {"params/embed/embedding": "classes -> joined"} if config.num_classes else {}
    text["params/stem/kernel"] = f"{'joined' if config.num_classes else 'z'} -> b4:stem"
    text["params/stem/basis"] = "h w -> b4:stem>b4"
    for r, name in stream.items():
        if name != stream.get(r // 2, "b4"):
            text[f"params/b{r}/transition/kernel"] = f"h w {stream[r // 2]} -> {name}"
        text |= _blocks(config, r, name)
    text["params/to_rgb/kernel"] = f"h w {stream[config.resolution]} -> rgb"
    return _layout(text, {"stem", *stream.values()})


def _discriminator(config: R3GANConfig) -> Layout:
    stream = streams(config)
    text = {"params/from_rgb/kernel": f"h w rgb -> {stream[config.resolution]}"}
    for r in reversed(stream):
        text |= _blocks(config, r, stream[r])
        if r > 4 and stream[r] != stream[r // 2]:
            text[f"params/b{r}/transition/kernel"] = f"h w {stream[r]} -> {stream[r // 2]}"
    labels = bool(config.num_classes)
    text["params/head/basis"] = "h w 1 -> b4:b4>head"
    text["params/head/kernel"] = f"b4:head -> {'features' if labels else 'logit'}"
    text |= {"params/embed/embedding": "classes features ->"} if labels else {}
    return _layout(text, {"head", *stream.values(), *(["features"] if labels else [])})


# ----------------------------------------------------------------------------------------------------------------------
# The roles of R3GAN's leaves: see `families.cross`.


def roles(config: R3GANConfig) -> dict[str, Roles]:
    """R3GAN: transitions where widths differ are all that leads from size to size; blocks are given as one kernel."""
    all_stages = r3gan.stages(config)
    kernel, maps = "params/stem/kernel", "params/stem/basis"
    z, stem = config.z_dim, {"side": "first"}
    latents = {"sources": [0], "steps": [["slice", {"shape": [z, all_stages[4].width]}]]}
    spread: Step = ("nested", {"op": "spread", "args": stem, "inputs": [latents, {"sources": [1], "steps": []}]})
    part = lambda side, name: (("rank_one", {"side": side, "part": name}),)
    fills = {
        kernel: Fill(part("first", "weights"), {"inputs": [0], "limit": [0, z]}),
        maps: Fill(part("first", "maps"), {}),
    }
    g = {"stem": Part((kernel, maps), (spread,), fills), "const": leaf(maps, takes=(("unit_rms", {}),))}
    g |= {name: leaf("params/to_rgb/kernel") for name in (f"to_rgb{config.resolution}", "to_rgb")}
    d = {"from_rgb": leaf("params/from_rgb/kernel")}
    for r, stage in all_stages.items():
        transition = leaf(f"params/b{r}/transition/kernel")
        if r > 4 and stage.width != all_stages[r // 2].width:
            g |= {f"skip{r}": transition, f"up{r}": transition}
            d |= {f"skip{r // 2}": transition, f"down{r // 2}": transition}
        blocks = [f"params/b{r}/res{i}/conv{j}/kernel" for i in range(stage.blocks) for j in range(3)]
        if blocks:
            g[f"same{r}"] = d[f"same{r}"] = Part(tuple(blocks), (("fold_residual", {}),))
    if not config.num_classes:
        kernel, maps = "params/head/kernel", "params/head/basis"
        fills = {kernel: Fill(part("last", "weights"), {"inputs": [0]}), maps: Fill(part("last", "maps"), {})}
        d["head"] = Part((kernel, maps), (("spread", {"side": "last"}),), fills)
    return {"g": g, "d": d}


# ----------------------------------------------------------------------------------------------------------------------
# The rules of the pair: how it grows and shrinks, beyond what follows from its layout.

TO_RGB, FROM_RGB, STEM = "params/to_rgb/kernel", "params/from_rgb/kernel", "params/stem/kernel"
HEAD, EMBED = "params/head/kernel", "params/embed/embedding"
ON_TOP = {"by": ("widen", {"inputs": [2]})}  # a transition reads other inputs with zero; its other outputs are fresh


def generator(case: Case) -> list[Rule]:
    """New blocks and transitions, to_rgb, and latents beside the label."""
    if not case.old:
        return []
    config, was = case.config, case.old_config
    rules = _grown(case, TO_RGB, ("out", 3))
    if config.num_classes or was.num_classes:
        sizes = {name: [c.z_dim, g_embed(c) if c.num_classes else 0] for name, c in (("old", was), ("new", config))}
        rules.append(parts(case, STEM, axis=0, **sizes, factors=[1.0, 1.0], loud=[False, False]))
    if config.num_classes and not was.num_classes:
        rules.append(case.create(EMBED, "init", unheard=True))
    return rules


def discriminator(case: Case) -> list[Rule]:
    """New blocks and transitions, from_rgb, and the logits of classes."""
    if not case.old:
        return []
    config, was = case.config, case.old_config
    rules = _grown(case, FROM_RGB, ("in", 2))
    if config.num_classes and not was.num_classes:
        rules.append(case.create(EMBED, "one_hot", index=0))
    elif was.num_classes and not config.num_classes:
        rules.append(_without_labels(case))
    return rules


def _grown(case: Case, head: str, colour: tuple[str, int]) -> list[Rule]:
    """Rules for the inner layers, and for the head next to the image, whose colours are read or written along an axis."""
    image_path = _image_path(case)
    rules = _inner(case, image_path)
    if image_path:
        first, *rest = image_path
        role = {**case.role(first, head), "colour": colour, "channels": case.config.channels}
        plain = {"reads": "plain", "writes": "plain", "channels": case.config.channels, "value": 1.0}
        rules.append(case.move(first, "fit_carry", [head], **role, **ON_TOP))
        rules += [case.create(re.escape(path), "identity") for path in rest]
        rules.append(case.create(re.escape(head), "carry_centre", **plain))
    if folded := _transitions(case.old_config, case.old, case.config.resolution):
        chain = [*folded, head] if head == TO_RGB else [head, *reversed(folded)]
        role = {**case.role(head, folded[0]), "colour": colour}
        rules.append(case.move(head, "fit_fold", chain, **role, fold=("fold_linear", {})))
    return rules


def _inner(case: Case, image_path: Sequence[str]) -> list[Rule]:
    """New blocks, which add nothing, and transitions where widths have become unequal."""
    for path in case.leaves:
        if path.endswith("/conv1/kernel") and path in case.old:
            _check_groups(case, path)
    fresh = [m[1] for path in case.leaves if (m := re.fullmatch(r"params/(b\d+/res\d+)/conv2/kernel", path))]
    fresh = "|".join(block for block in fresh if f"params/{block}/conv2/kernel" not in case.old)
    rules = []
    if fresh:
        rules.append(case.create(f"params/({fresh})/conv2/kernel", "zero"))
        rules.append(case.create(f"params/({fresh})/.*", "init", unheard=True))
    for path in _transitions(case.config, case.leaves, 4):
        if path not in case.old and path not in image_path:
            rules.append(case.create(re.escape(path), "identity", **_passed(case, path)))
    return rules


def _image_path(case: Case) -> list[str]:
    """The new transitions above the old image, upwards: the image passes through them."""
    channels, transitions = case.config.channels, _transitions(case.config, case.leaves, case.old_config.resolution)
    for r, stage in stages(case.config).items():
        if transitions and r > case.old_config.resolution and stage.width < channels:
            raise PlanError(
                f"{case.root}: the {channels} channels of an image pass through the transitions above "
                f"{case.old_config.resolution} px, and {r} px is {stage.width} wide; make it wider"
            )
    return transitions


def _transitions(config: R3GANConfig, leaves: Flat, resolution: int) -> list[str]:
    """The transitions above a resolution, upwards."""
    paths = [f"params/b{r}/transition/kernel" for r in stages(config) if r > resolution]
    return [path for path in paths if path in leaves]


def _check_groups(case: Case, path: str) -> None:
    """Refuses groups that are cut into more, or joined: more channels come as more groups, or as larger ones."""
    sizes = []
    for leaves, layout in ((case.old, case.old_layout), (case.leaves, case.layout)):
        shape = tuple(leaves[path].shape)
        sizes.append((layout.leaf(path).view(shape)[3], shape[2]))
    (number, size), (new, larger) = sizes
    if (new - number) * (larger - size) < 0:
        raise PlanError(
            f"{case.root}/{path} had {number} groups of {size} channels and would have {new} of {larger}; groups are "
            "neither cut nor joined: let cardinality grow as the width does, or stay as it is"
        )


def _passed(case: Case, path: str) -> dict[str, list[int]]:
    """Which channel each output of a new transition passes on: its own, or the one that it is a copy of.

    Raises:
      PlanError: narrowing would keep other channels before it than after it.
    """
    if case.options.of("narrow", case.root) != "leading":
        raise PlanError(
            f"{case.root}/{path} is new, and narrow='strongest' would keep other channels before it than after it; use "
            f"narrow='leading' for {case.root!r}, or change the widths in two plans"
        )
    read, written = tuple(case.leaves[path].shape)[2:]
    if case.options.of("width", case.root) == "silent" or written <= read:
        return {}
    r = int(path.split("/")[1].removeprefix("b"))
    name = shared(case.layout.leaf(path).axes[3].group, streams(case.old_config)[r])
    drawn = copies(stages(case.old_config)[r].width, written, seed_of(case.options.seed, name))
    return {"index": [*range(read), *drawn[read:]]}


def _without_labels(case: Case) -> Rule:
    """D's head where the labels go: the mean of what it says of an image for each class."""
    if "keep" in (role := case.role(HEAD)):
        raise PlanError(
            f"narrow='strongest' chooses channels of {case.origin!r} as it is, with its labels; narrow it first, then "
            "leave the labels away, in two plans"
        )
    classes, features = tuple(case.old[EMBED].shape)
    mean = [("mean", {"axis": 0}), ("reshape", {"shape": [features, 1]})]
    inputs = [{"sources": [0], "steps": []}, {"sources": [1], "steps": mean}]
    fold = {"op": "fold_linear", "args": {}, "inputs": inputs, "reason": f"the mean of {classes} classes"}
    return case.move(HEAD, "fit_fold", [HEAD, EMBED], **role, fold=("nested", fold))
