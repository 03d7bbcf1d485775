"""The StyleGAN2 pair: axes of its leaves, its roles for other families, how it grows and shrinks.

Weights are stored without the 1 / sqrt(fan-in) of their use, so what gets a new fan-in is multiplied by the root of the
ratio; demodulated kernels are not, they have none. New channels are read with zero by the old ones, which the
demodulation does not see either. Copies would change it, so G has none. New features at 4 px would change the mean that
is the minibatch deviation: they are zero, and what reads the deviation is multiplied by the ratio of widths.

Resolution, G: the new block's to_rgb is zero, so that the image is the old one, doubled by the filter. D: two channels
carry an image channel through the new block's layers (`ops.equalised`), and its convolution to half the size, whose
filter is the one that halves images, becomes the old from_rgb: `D32(x) = D16(filtered half of x)`. In D's `skip` form
the new block adds nothing. Labels: G reads them with zero; D's logit is the old one times a channel of the embedded
label that starts as 1 for each class.

Exact: wider, in mapping too; higher resolution (D: where new layers have two channels for an image channel, below the
clamp) and the way back; grey to colour; unconditional to conditional; classes chosen. Up to 1e-4 for a new channel in the
mean over all: wider at 4 px where D looks at the minibatch deviation. Not exact: another number of latents, which are
normalised together; deeper or shallower mappings; conditional to unconditional; anything else that is smaller.
"""

from __future__ import annotations

import math
import re
from typing import Any

from gan_jax.config import StyleGAN2Config
from gan_jax.nets import stylegan2
from gan_jax.nets.stylegan2 import HALF, widths
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross import POSITIONS, Fill, Part, Roles, leaf
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops import Step
from gan_jax.surgery.ops.equalised import CARRIED
from gan_jax.surgery.ops.forms import SLOPE
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

# ----------------------------------------------------------------------------------------------------------------------
# What the axes of every leaf of a StyleGAN2 pair are, and which scales its function does not see.
#
# Of G: each output filter of a demodulated kernel has a scale of its own that nothing sees; each style trades with what
# it multiplies (the affine layer's column against the kernel's input axis); the mapping's leaky ReLUs pass scales on.
# Of D: every activation does, unless it is clamped, or read by the minibatch deviation.
#
# Two axes hold several things side by side and are left as they are (`joined`): the latents and the embedded label that
# a conditional mapping reads, and the features at 4 px with the minibatch deviation.


def layouts(config: StyleGAN2Config) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def _dense(name: str, read: str, write: str) -> dict[str, str]:
    return {f"params/{name}/kernel": f"{read} -> {write}", f"params/{name}/bias": f"-> {write}"}


def _mapping(layers: int, labels: bool, read: str, write: str) -> tuple[dict[str, str], set[str]]:
    """(leaves, free scales) of a mapping network, whose last layer writes `write`."""
    text = _dense("mapping/embed", "classes", read if layers else write) if labels else {}
    hidden = [f"mapping/fc{i}" for i in range(layers - 1)]
    for i, (before, after) in enumerate(zip([read, *hidden], [*hidden, write])):
        text |= _dense(f"mapping/fc{i}", before, after) if layers else {}
    return text, set(hidden)


def _generator(config: StyleGAN2Config) -> Layout:
    labels = bool(config.num_classes)
    text, free = _mapping(config.mapping_layers, labels, "joined" if labels else "z", "styles")
    text["moving/mapping/w_avg"] = "-> styles"

    def modulated(name: str, read: str, write: str) -> None:
        style, leaf = f"{read}:{name}/style", f"params/synthesis/{name}"
        text.update(_dense(f"synthesis/{name}/affine", "styles", style))
        text.update({f"{leaf}/kernel": f"h w {style} -> {write}", f"{leaf}/bias": f"-> {write.partition(':')[0]}"})
        free.add(f"{name}/style")

    def styled(name: str, read: str) -> None:
        modulated(name, read, f"{name}:{name}/filter")
        free.add(f"{name}/filter")
        text[f"params/synthesis/{name}/noise_strength"] = "->"
        text[f"constants/synthesis/{name}/noise"] = "h w ->"

    before = "b4/const"
    text["params/synthesis/b4/const"] = "h w -> b4/const"
    for r in widths(config):
        if r > 4:
            styled(f"b{r}/conv0", before)
            before = f"b{r}/conv0"
        styled(f"b{r}/conv1", before)
        before = f"b{r}/conv1"
        modulated(f"b{r}/to_rgb", before, "rgb")
    return Layout(text, frozenset(free | {"styles"}))


def _discriminator(config: StyleGAN2Config) -> Layout:
    text: dict[str, str] = {}
    free: set[str] = set()
    sizes = [*reversed(widths(config))]
    at = {r: f"b{r}" if r > 4 or not config.mbstd_group else "joined" for r in sizes}

    def conv(name: str, read: str, write: str, bias: bool = True) -> None:
        text[f"params/{name}/kernel"] = f"h w {read} -> {write}"
        text.update({f"params/{name}/bias": f"-> {write}"} if bias else {})

    for r in sizes:
        if r == sizes[0] or config.discriminator == "skip":
            conv(f"b{r}/from_rgb", "rgb", at[r])
        if r > 4:
            conv(f"b{r}/conv0", at[r], f"b{r}/conv0")
            conv(f"b{r}/conv1", f"b{r}/conv0", at[r // 2])
            if config.discriminator == "residual":
                conv(f"b{r}/skip", at[r], at[r // 2], bias=False)
            free |= {at[r], f"b{r}/conv0"}
    conv("b4/conv", at[4], "b4/conv")
    free = set() if config.clamp else (free | {"b4/conv", at[4]}) - {"joined"}
    text |= _dense("b4/fc", "(4 4 b4/conv)", "fc")
    text |= _dense("b4/out", "fc", "cmap" if config.num_classes else "logit")
    free.add("fc")
    if config.num_classes:
        leaves, hidden = _mapping(config.d_mapping_layers, True, "embed", "cmap")
        text, free = text | leaves, free | hidden
    return Layout(text, frozenset(free))


# ----------------------------------------------------------------------------------------------------------------------
# The roles of StyleGAN2's leaves: see `families.cross`.

ROOT2 = math.sqrt(2)  # that follows StyleGAN2's leaky ReLUs


def roles(config: StyleGAN2Config) -> dict[str, Roles]:
    """StyleGAN2: stored weights times 1 / sqrt(fan-in), styles as they are on average, sqrt(2) behind nonlinearities.

    Demodulated kernels have no size. Those that make maps larger are convolved, all others correlated.
    """
    width = stylegan2.widths(config)

    def styled(name: str, up: bool = False) -> Part:
        path, turn = f"params/synthesis/{name}", (("flip", {}),) * up
        reads = (f"{path}/kernel", f"{path}/affine/bias")
        gives = (("modulated", {"demodulated": True, "gain": ROOT2}), *turn)
        return Part(reads, gives, {reads[0]: Fill((("unit_rms", {}), *turn))})

    def to_rgb(r: int) -> Part:
        path, root = f"params/synthesis/b{r}/to_rgb", math.sqrt(width[r])
        reads = (f"{path}/kernel", f"{path}/affine/bias")
        return Part(reads, (("modulated", {"gain": 1 / root}),), {reads[0]: Fill((("scale", {"factor": root}),))})

    const = "params/synthesis/b4/const"
    g = {"const": leaf(const, takes=(("unit_rms", {}),)), "same4": styled("b4/conv1")}
    for r in list(width)[1:]:
        g |= {f"up{r}": styled(f"b{r}/conv0", up=True), f"same{r}": styled(f"b{r}/conv1")}
    g |= {f"to_rgb{r}": to_rgb(r) for r in width} | {"to_rgb": to_rgb(config.resolution)}

    def conv(name: str, inputs: int, gain: float, size: int = 3, more: int = 0) -> Part:
        root, cut = math.sqrt((inputs + more) * size**2) / gain, {"inputs": [2], "limit": [2, inputs]} if more else {}
        first: tuple[Step, ...] = (("slice", {"shape": [size, size, inputs, inputs]}),) if more else ()
        gives, takes = ({"factor": x} for x in (1 / root, root))
        return leaf(f"params/{name}/kernel", (*first, ("scale", gives)), (("scale", takes),), **cut)

    half = HALF if config.discriminator == "residual" else 1.0
    d = {"from_rgb": conv(f"b{config.resolution}/from_rgb", config.channels, ROOT2, 1)}
    for r in list(width)[1:]:
        if config.discriminator == "residual":
            d[f"skip{r // 2}"] = conv(f"b{r}/skip", width[r], half, 1)
        d[f"down{r // 2}"] = conv(f"b{r}/conv1", width[r], ROOT2 * half)
        d[f"same{r}"] = conv(f"b{r}/conv0", width[r], ROOT2)
    d["same4"] = conv("b4/conv", width[4], ROOT2, more=int(config.mbstd_group > 0))
    if not config.num_classes:  # the last two layers, as if they were linear; a head does not make two layers
        steps = [
            [["scale", {"factor": x}]]
            for x in (SLOPE * ROOT2 / math.sqrt(POSITIONS * width[4]), 1 / math.sqrt(width[4]))
        ]
        inputs = [{"sources": [i], "steps": own} for i, own in enumerate(steps)]
        fold: Step = ("nested", {"op": "fold_linear", "args": {}, "inputs": inputs})
        d["head"] = Part(("params/b4/fc/kernel", "params/b4/out/kernel"), (fold,))
    return {"g": g, "d": d}


# ----------------------------------------------------------------------------------------------------------------------
# StyleGAN2's discriminator: the block that a resolution adds or takes, and the logits of classes.

MAPPING_BIAS = 0.01 * math.sqrt(2)  # what a stored bias of 1 is behind the mapping's last layer


def fan_in(case: Case, path: str) -> list[int]:
    """`[old, new]` fan-in of a kernel."""
    return [math.prod(tuple(leaves[path].shape)[:-1]) for leaves in (case.old, case.leaves)]


def equalised(case: Case, path: str, **more: Any) -> Rule:
    """A leaf in its role, with a factor where its fan-in changes."""
    role = {"gain": fan_in(case, path) if path.endswith("kernel") else [1, 1], **case.role(path), **more}
    return case.move(path, "fit_equalised", case.sources(path) if "keep" in role else [path], **role)


def parts(case: Case, path: str, **arguments: Any) -> Rule:
    """A kernel with several things along its input axis; `arguments` are those of the operation."""
    role = case.role(path)
    if any(old > new for old, new in zip(arguments["old"], arguments["new"])):
        arguments["reason"] = "channels or latents dropped"
    return case.move(path, "fit_parts", case.sources(path) if "keep" in role else [path], **role, parts=arguments)


def new_block(case: Case) -> list[Rule]:
    """Blocks above the old image: they pass on what the old from_rgb reads, or, beside a from_rgb, nothing."""
    config, was = case.config, case.old_config
    levels = [r for r in widths(config) if r > was.resolution]  # from the old image upwards
    if not levels:
        return []
    fresh = f"params/b({'|'.join(map(str, levels))})"
    if config.discriminator == "skip":
        zero_residual = case.create(f"params/b{levels[0]}/conv1/(kernel|bias)", "zero")
        return [zero_residual, case.create(f"{fresh}/.*", "init", unheard=True)]
    channels, width = config.channels, widths(config)
    if any(width[r] < 2 * channels for r in levels) or config.discriminator != was.discriminator:
        return [case.create(f"{fresh}/.*", "init")]  # no way through for the image
    half = HALF if config.discriminator == "residual" else 1.0  # of what a block's last layer writes
    image = {"writes": "pairs", "channels": channels}
    conv = lambda r, name: f"params/b{r}/{name}/kernel"
    root = lambda r: math.sqrt(9 * width[r]) / CARRIED
    top, old, first = levels[-1], f"params/b{was.resolution}/from_rgb", levels[0]
    role = {**case.role(conv(first, "conv1"), f"{old}/kernel"), "colour": ("in", 2), "channels": channels}
    rules = [case.create(conv(top, "from_rgb"), "carry_centre", reads="plain", value=math.sqrt(channels), **image)]
    for r in levels:
        behind = 1.0 if r == top else half
        rules.append(case.create(conv(r, "conv0"), "carry_centre", reads="pairs", value=root(r) / behind, **image))
    for r in levels[1:]:
        rules.append(case.create(conv(r, "conv1"), "carry_centre", reads="pairs", value=root(r), **image))
    value = root(first) / math.sqrt(was.channels) / half
    bias = f"params/b{first}/conv1/bias"
    return [
        *rules,
        case.move(conv(first, "conv1"), "fit_carry", [f"{old}/kernel"], **role, by=("carry_head", {"value": value})),
        case.move(bias, "fit_equalised", [f"{old}/bias"], **case.role(bias, f"{old}/bias"), gain=[half**2, 1.0]),
        case.create(f"{fresh}/(from_rgb|conv0|conv1)/bias", "zero"),
        case.create(f"{fresh}/skip/kernel", "zero"),
    ]


def old_block(case: Case) -> list[Rule]:
    """Blocks above the new image go: from_rgb and their layers become the new from_rgb, as if they were linear."""
    config, was = case.config, case.old_config
    levels = [r for r in reversed(widths(was)) if r > config.resolution]
    if not levels or "skip" in (config.discriminator, was.discriminator):
        return []
    half = HALF if was.discriminator == "residual" else 1.0
    old, new = f"params/b{levels[-1]}/conv1", f"params/b{config.resolution}/from_rgb"
    sources = [f"params/b{levels[0]}/from_rgb/kernel"]
    sources += [f"params/b{r}/{name}/kernel" for r in levels for name in ("conv0", "conv1")]
    role = {**case.role(f"{new}/kernel", f"{old}/kernel"), "colour": ("in", 2), "gain": [was.channels, config.channels]}
    rest = {**case.role(f"{new}/bias", f"{old}/bias"), "gain": [1.0, half**2]}
    return [
        case.move(f"{new}/kernel", "fit_fold", sources, **role, fold=("fold_rgb", {"value": half ** len(levels)})),
        case.move(f"{new}/bias", "fit_equalised", [f"{old}/bias"], **rest),
    ]


def head(case: Case) -> list[Rule]:
    """The last layer and, with classes, the one of the mapping that it is multiplied with."""
    kernel, bias = "params/b4/out/kernel", "params/b4/out/bias"
    labels, had = bool(case.config.num_classes), bool(case.old_config.num_classes)
    old, new = widths(case.old_config)[4], widths(case.config)[4]
    if not labels:
        return [case.create("params/b4/out/(kernel|bias)", "init")] if had else []
    first, then = fan_in(case, kernel)
    if not had:
        last = f"params/mapping/fc{case.config.d_mapping_layers - 1}"
        ratio = {"silent": True, "last": True}
        return [
            equalised(case, kernel, gain=[first, then * new], **ratio),  # logits are divided by sqrt(new)
            equalised(case, bias, gain=[1, new], **ratio),
            case.create(f"{last}/kernel", "mute"),
            case.create(f"{last}/bias", "one_hot", index=-1, value=1 / MAPPING_BIAS),
            case.create("params/mapping/.*", "init", unheard=True),
        ]
    return [
        equalised(case, kernel, gain=[first * old, then * new], silent=True),
        equalised(case, bias, gain=[old, new], silent=True),
    ]


# ----------------------------------------------------------------------------------------------------------------------
# The rules of the pair: how it grows and shrinks, beyond what follows from its layout.

NEARLY = "but for the 1e-4 of silent channels in the minibatch deviation"


def generator(case: Case) -> list[Rule]:
    """New blocks that add nothing, and the gains of dense layers and of to_rgb."""
    if not case.old:
        return []
    config, was = case.config, case.old_config
    _no_copies(case, set(case.layout.groups), "copies change the demodulation")
    rules = []
    if fresh := [f"b{r}" for r in widths(config) if r not in widths(was)]:
        block = f"synthesis/({'|'.join(fresh)})"
        rules += [
            case.create(f"params/{block}/to_rgb/(kernel|bias)", "zero"),
            case.create(f"(params|constants)/{block}/.*", "init", unheard=True),
        ]
    rules += new_layers(case)
    first = "params/mapping/fc0/kernel"
    if config.num_classes and not was.num_classes:
        rules.append(case.create("params/mapping/embed/.*", "init", unheard=True))
    for path in case.leaves:
        if path not in case.old:
            continue
        if path == first:
            latents, labels = [was.z_dim, config.z_dim], [c.w_dim if c.num_classes else 0 for c in (was, config)]
            rules.append(parts(case, path, **_joined(latents, labels)))
        elif path.startswith("params/mapping/embed/"):
            classes = [was.num_classes, config.num_classes] if path.endswith("kernel") else [1, 1]
            rules.append(equalised(case, path, gain=classes, silent=True))
        elif re.search(r"/(fc\d+|affine|to_rgb)/kernel$", path):
            rules.append(equalised(case, path))
        elif path.endswith("to_rgb/bias"):
            rules.append(equalised(case, path, opaque=1.0 if "/b4/" in path else 0.0))  # alpha, summed over sizes
    return rules


def discriminator(case: Case) -> list[Rule]:
    """New blocks that pass images on, the minibatch deviation, gains, and the logits of classes."""
    if not case.old:
        return []
    config, was = case.config, case.old_config
    _no_copies(case, {"cmap", "embed"}, "two layers that write them are multiplied, or they are normalised together")
    rules = [*new_block(case), *old_block(case), *head(case), *new_layers(case)]
    old, new = widths(was)[4], widths(config)[4]
    deviation = [int(c.mbstd_group > 0) for c in (was, config)]
    zero_output = bool(deviation[1]) and new > old
    for path in case.leaves:
        if path not in case.old:
            continue
        if path == "params/b4/conv/kernel" and any(deviation):
            gain = math.sqrt((new + deviation[1]) / (old + deviation[0]))
            about = {"condition": NEARLY} if zero_output and deviation[0] else {}
            sizes = {"old": [old, deviation[0]], "new": [new, deviation[1]], "loud": [zero_output, False]}
            rules.append(parts(case, path, axis=2, **sizes, factors=[gain, gain * new / old], **about))
        elif path == "params/mapping/fc0/kernel":  # its input has another RMS, but the same fan-in for each value
            rules.append(parts(case, path, axis=0, old=[old], new=[new], factors=[1.0], loud=[True]))
        elif path.startswith("params/mapping/embed/"):
            classes = [was.num_classes, config.num_classes] if path.endswith("kernel") else [1, 1]
            rules.append(equalised(case, path, gain=classes, silent=True))
        elif re.fullmatch(r"params/b4/from_rgb/\w+|params/b8/(conv1|skip)/\w+", path):
            rules.append(equalised(case, path, silent=zero_output))
        elif path.endswith("/kernel"):
            rules.append(equalised(case, path))
    return rules


def new_layers(case: Case) -> list[Rule]:
    """Rules for layers of the mapping that the old one lacks: fresh, so that the function is not preserved."""
    present = [path for path in case.leaves if re.match(r"params/mapping/fc\d+/", path) and path not in case.old]
    known = any(path.startswith("params/mapping/fc") for path in case.old)
    return [case.create(re.escape(path), "init") for path in present if known]


def _joined(latents: list[int], labels: list[int]) -> dict[str, Any]:
    """Latents and embedded label, each normalised for itself, before the first layer of G's mapping."""
    gain = math.sqrt((latents[1] + labels[1]) / (latents[0] + labels[0]))
    spread = math.sqrt(labels[0] / labels[1]) if all(labels) else 1.0  # new features of the embedding are zero
    arguments: dict[str, Any] = {"axis": 0, "factors": [gain, gain * spread], "loud": [False, all(labels)]}
    if latents[0] != latents[1]:
        arguments["reason"] = "latents normalised together with the new ones"
    kept = [latents, labels] if any(labels) else [latents]
    for key in ("factors", "loud"):
        arguments[key] = arguments[key][: len(kept)]
    return {**arguments, "old": [sizes[0] for sizes in kept], "new": [sizes[1] for sizes in kept]}


def _no_copies(case: Case, groups: set[str], why: str) -> None:
    """Refuses copies of these channels."""
    if case.options.of("width", case.root) == "silent":
        return
    for path, described in case.layout.leaves.items():
        if path in case.leaves and path in case.old:
            copied = [described.axes[choice["axis"]].group for choice in case.role(path).get("copies", [])]
            if groups & set(copied):
                raise PlanError(
                    f"width='net2wider' would copy channels of {case.root}/{path}, and {why}; use width='silent' for "
                    f"{case.root!r}"
                )
