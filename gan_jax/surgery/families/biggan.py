"""The BigGAN pair: axes of its leaves, blocks with zero output, how it grows and shrinks.

Everything is divided by its largest singular value, so that new units are orthogonal to the old ones (`ops.equalised`) and
read by them with zero. Attention starts behind its factor `gamma`, which is 0. Latents: each part grows at its end, and a
new block brings its own. Labels: what G's norms read grows by rows of zeros; D's class term has no strength of its own
unless `d_gain` gives it one.

Grey to colour: G's to_rgb, three times itself, would count less by sqrt(3), which the norm before it makes up for; D reads
2/3 red + 2/3 green - 1/3 blue, whose weights sum to 1, as do their squares: the singular value stays.

Resolution: a new block passes its input on and adds nothing. G: its 3x3 to_rgb then reads doubled maps, in which a
neighbour is often the pixel itself: near, not exact. (A pair of 16 px after two thousand images of Fashion-MNIST: the root
mean square of the difference was 0.21, the spread of its images 0.60.) D: the old first block read the image before any
ReLU, so that the new one passes on image + 1, which no ReLU cuts, and biases take the 1 back; exact but for the ring of
one pixel at the border, where the padding is 0 (logits of that pair: by 0.17 at most, of 1.5; of random pairs by 2 %).

Exact: wider; attention; more latents in a part; unconditional to conditional and classes chosen (D: with `d_gain`); grey
to colour, on grey images; and the way back from each of these, before training. Not exact: a narrower block on top, as the
published widths have it, and what is smaller otherwise. Refused: other kinds of norms or of spectral norm in G, another
last size of D.
"""

from __future__ import annotations

import re
from typing import Any

from gan_jax.config import BigGANConfig
from gan_jax.nets.biggan import modulation, stages, widths
from gan_jax.surgery.families.case import Case, vector_role
from gan_jax.surgery.families.cross import biggan_roles as roles
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

# ----------------------------------------------------------------------------------------------------------------------
# What the axes of every leaf of a BigGAN pair are.
#
# No scale is free: kernels are divided by their largest singular value, and a norm's gain is 1 more than what is stored.
# D's stream is named after the block that writes it; a block without a layer beside it ties what it reads to what it
# writes. Queries and keys of attention share a number of channels, over which their product sums: the keys' kernel counts
# as reading them, so that new ones are read with zero.

Text = dict[str, str]


def layouts(config: BigGANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def streams(config: BigGANConfig) -> dict[str, str]:
    """What each of D's blocks writes: a stream named after the block, or that which it reads."""
    names: dict[str, str] = {}
    before = "rgb"
    for stage in stages(config):
        before = names[stage.name] = stage.name if stage.has_skip else before
    return names


def _conv(name: str, read: str, write: str, spectral: bool, bias: bool = True) -> Text:
    """A convolution, or with `read` without height and width a dense layer."""
    text = {f"params/{name}/kernel": f"{read} -> {write}"}
    text |= {f"params/{name}/bias": f"-> {write}"} if bias else {}
    return text | ({f"spectral/{name}/u": f"-> {write}"} if spectral else {})


def _attention(name: str, stream: str, spectral: bool) -> Text:
    key, value = f"{name}/key", f"{name}/value"
    text = {f"params/{name}/gamma": "->"}
    text |= _conv(f"{name}/theta", f"h w {stream}", key, spectral, bias=False)
    text |= {
        **_conv(f"{name}/phi", "", key, spectral, bias=False),
        f"params/{name}/phi/kernel": f"h w {stream} {key} ->",
    }
    text |= _conv(f"{name}/g", f"h w {stream}", value, spectral, bias=False)
    return text | _conv(f"{name}/o", f"h w {value}", stream, spectral, bias=False)


def _norm(config: BigGANConfig, name: str, stream: str) -> Text:
    """A norm in a block: two layers that read class and latents, or two tables or vectors."""
    text = {f"batch_stats/{name}/{leaf}": f"-> {stream}" for leaf in ("mean", "var")}
    shared, part = modulation(config)
    for leaf in ("gain", "bias"):
        if shared or part:
            read = "joined" if part else "shared"
            text |= _conv(f"{name}/{leaf}", read, stream, config.g_spectral, bias=False)
        else:
            text[f"params/{name}/{leaf}"] = f"classes -> {stream}" if config.num_classes else f"-> {stream}"
    return text


def _generator(config: BigGANConfig) -> Layout:
    spectral, (shared, part) = config.g_spectral, modulation(config)
    text = _conv("stem", "z", "(4 4 b4)", spectral)
    if shared:
        text["params/shared/embedding"] = f"classes -> {'joined' if part else 'shared'}"
    for r in list(widths(config))[1:]:
        b, before = f"b{r}", f"b{r // 2}"
        text |= _norm(config, f"{b}/norm0", before) | _norm(config, f"{b}/norm1", f"{b}/conv0")
        text |= _conv(f"{b}/conv0", f"h w {before}", f"{b}/conv0", spectral)
        text |= _conv(f"{b}/conv1", f"h w {b}/conv0", b, spectral) | _conv(f"{b}/skip", f"h w {before}", b, spectral)
        text |= _attention(f"{b}/attention", b, spectral) if r in config.attention else {}
    top = f"b{config.resolution}"
    text |= {f"batch_stats/to_rgb_norm/{leaf}": f"-> {top}" for leaf in ("mean", "var")}
    text |= {f"params/to_rgb_norm/{leaf}": f"-> {top}" for leaf in ("scale", "bias")}
    return _layout(text | _conv("to_rgb", f"h w {top}", "rgb", spectral), spectral)


def _discriminator(config: BigGANConfig) -> Layout:
    text: Text = {}
    before, stream = "rgb", streams(config)
    for stage in stages(config):
        b, write = stage.name, stream[stage.name]
        text |= _conv(f"{b}/conv0", f"h w {before}", f"{b}/conv0", True) | _conv(
            f"{b}/conv1", f"h w {b}/conv0", write, True
        )
        text |= _conv(f"{b}/skip", f"h w {before}", write, True) if stage.has_skip else {}
        text |= _attention(f"{b}/attention", write, True) if stage.attends else {}
        before = write
    text |= _conv("head", before, "logit", True)
    if config.num_classes:
        text |= _conv("embed", before, "classes", True, bias=False)
        text |= {"params/embed/gain": "->"} if config.d_gain else {}
    return _layout(text, True)


def _layout(text: Text, spectral: bool) -> Layout:
    return Layout(text, spectral=tuple(path for path in text if path.endswith("kernel")) if spectral else ())


# ----------------------------------------------------------------------------------------------------------------------
# Blocks and attention of BigGAN with zero output at first, although spectral norm keeps every kernel from being zero.


def moved(case: Case, path: str, op: str, **more: Any) -> list[Rule]:
    """Rules for a kernel by another resolver than `fit`, and for its singular vector."""
    role = {**case.role(path), **more}
    sources = lambda *paths: case.sources(*paths) if "keep" in role else list(paths)
    rules = [case.move(path, op, sources(path), **role)]
    vector = path.replace("params/", "spectral/", 1).removesuffix("kernel") + "u"
    if vector in case.leaves:
        role = {**vector_role(case, path, vector), **more}
        rules.append(case.move(vector, f"{op}_vector", sources(vector, path), **role))
    return rules


def identity(case: Case, block: str) -> list[Rule]:
    """A layer beside a block that passes channels on."""
    rules = [case.create(f"params/{block}/skip/kernel", "identity"), case.create(f"params/{block}/skip/bias", "zero")]
    return [*rules, case.create(f"spectral/{block}/skip/u", "one_hot", index=0)]


def zero_output_blocks(case: Case, blocks: list[str]) -> list[Rule]:
    """Rules for blocks that pass their input on: the last hidden unit is zero, and the only weight of conv1 reads it."""
    if not blocks:
        return []
    block = f"({'|'.join(map(re.escape, blocks))})"
    rules = [rule for name in blocks for rule in identity(case, name)]
    if case.layout.spectral:
        rules += [
            case.create(f"params/{block}/conv0/kernel", "mute"),
            case.create(f"params/{block}/norm1/bias/kernel", "mute"),
            case.create(f"params/{block}/conv1/kernel", "ballast"),
            case.create(f"spectral/{block}/conv1/u", "one_hot", index=-1),
        ]
    else:
        rules.append(case.create(f"params/{block}/conv1/kernel", "zero"))
    return [
        *rules,
        case.create(f"params/{block}/attention/gamma", "zero"),
        case.create(f"(params/{block}/(conv[01]|norm1)/bias|batch_stats/{block}/norm1/mean)", "zero"),
        case.create(f"(params|batch_stats|spectral)/{block}/.*", "init", unheard=True),
    ]


def zero_output_attention(case: Case) -> list[Rule]:
    """Rules for attention that the old network does not have."""
    gammas = [path for path in case.leaves if path.endswith("/attention/gamma") and path not in case.old]
    rules = []
    for path in gammas:
        part = re.escape(path.removeprefix("params/").removesuffix("/gamma"))
        rules += [
            case.create(f"params/{part}/gamma", "zero"),
            case.create(f"(params|spectral)/{part}/.*", "init", unheard=True),
        ]
    return rules


# ----------------------------------------------------------------------------------------------------------------------
# BigGAN's discriminator: the block that reads the image, when there come others above it or go, and the class term.

SHIFTED = "a ring of one pixel at the border, where padding is another value than before"
PASSED = "blocks above the image dropped, exact where growth made them"
STRENGTH = "D's class term is divided by its largest singular value, which other classes change (net.d_gain keeps it)"


def first_block(case: Case, new: dict[str, Any], old: dict[str, Any]) -> list[Rule]:
    """The old block at the image, which becomes one within; or the way back; and grey readers that see colour."""
    config, was = case.config, case.old_config
    top, before = next(iter(new)), next(iter(old))
    image = {"image": [was.channels, config.channels]}
    if top == before:
        grey = was.channels == 1 < config.channels
        return [r for name in ("conv0", "skip") * grey for r in moved(case, _kernel(top, name), "fit_reader", **image)]
    grows = config.resolution > was.resolution
    joint = before if grows else top  # the block that is the first on one side only
    if joint not in new or joint not in old:
        return []
    if grows and new[top].features < config.channels:
        return [case.create(f"params/{top}/.*", "init")]  # no way through for the image
    rules: list[Rule] = []
    for name in ("conv0", "skip"):
        kernel, bias, vector = _kernel(joint, name), f"params/{joint}/{name}/bias", f"spectral/{joint}/{name}/u"
        rules += moved(case, kernel, "fit_reader", **image)
        about = {"reason": SHIFTED if name == "conv0" else PASSED} if name == "conv0" or not grows else {}
        shift = {"factor": -1.0 if grows else 1.0, "channels": was.channels, **about}
        rules.append(case.move(bias, "fit_shifted", [bias, kernel, vector], **case.role(bias), **shift))
    if grows:
        rules.append(case.create(f"params/{top}/skip/bias", "one_hot", index=[*range(config.channels)]))
    return rules


def _kernel(block: str, name: str) -> str:
    return f"params/{block}/{name}/kernel"


def class_term(case: Case) -> list[Rule]:
    """The projection on classes, whose strength is that of its largest singular value, times a gain where there is one."""
    kernel, vector, gain = "params/embed/kernel", "spectral/embed/u", "params/embed/gain"
    if kernel not in case.leaves:
        return []
    if kernel not in case.old:
        zero_gain = [case.create(gain, "zero")] if gain in case.leaves else []
        return [*zero_gain, case.create(f"({kernel}|{vector})", "init", **({"unheard": True} if zero_gain else {}))]
    classes, count = case.options.classes, case.old_config.num_classes
    same = classes is None or sorted(map(str, classes)) == sorted(map(str, range(count)))
    if gain not in case.leaves:
        return [] if same else moved(case, kernel, "fit_with_reason", reason=STRENGTH)
    role = {**vector_role(case, kernel, vector), "refine": True, "alone": gain not in case.old}
    if gain not in case.old and same:
        return [case.create(gain, "fill", value=1.0)]
    before = [gain] if gain in case.old else []
    sources = case.sources(vector, kernel) if "keep" in role else [vector, kernel]
    return [case.move(gain, "fit_gain", [*before, *sources], **role)]


# ----------------------------------------------------------------------------------------------------------------------
# The rules of the pair: how it grows and shrinks, beyond what follows from its layout.

DOUBLED = "a 3x3 to_rgb reads doubled maps"


def generator(case: Case) -> list[Rule]:
    """New blocks and attention, with zero output; what the norms read; to_rgb."""
    if not case.old:
        return []
    config, was = case.config, case.old_config
    _same_norms(config, was)
    rules = zero_output_blocks(case, [f"b{r}" for r in widths(config) if r not in widths(was)])
    rules += zero_output_attention(case)
    sizes = [modulation(c) for c in (was, config)]
    if sizes[0][0] == 0 < sizes[1][0]:
        rules.append(case.create("params/shared/embedding", "init", unheard=True))
    if sizes[0] != sizes[1] and (sizes[0][1] or sizes[1][1]):  # two things side by side
        paths = [p for p in case.leaves if p in case.old and re.search(r"/norm\d/(gain|bias)/kernel$", p)]
        for path in paths:
            rules += moved(case, path, "fit_joined", joined=[list(size) for size in sizes])
    return [*rules, *_to_rgb(case)]


def discriminator(case: Case) -> list[Rule]:
    """New blocks and attention, with zero output; the block that reads the image; the class term."""
    if not case.old:
        return []
    new, old = ({stage.name: stage for stage in stages(c)} for c in (case.config, case.old_config))
    ends = [list(by_name.values())[-1].name.partition("_")[0] for by_name in (old, new)]
    if ends[0] != ends[1]:
        raise PlanError(
            f"D's last maps are of another size: its blocks end with {ends[0]!r} in the source and {ends[1]!r} in the "
            "target; give both one net.d_size"
        )
    rules = [*first_block(case, new, old), *zero_output_blocks(case, [name for name in new if name not in old])]
    rules += zero_output_attention(case)
    for name in (name for name in new if name in old):
        if new[name].has_skip and not old[name].has_skip:
            rules += identity(case, name)
    return [*rules, *class_term(case)]


def _same_norms(config: Any, was: Any) -> None:
    kinds = ["layers" if sum(modulation(c)) else "tables" if c.num_classes else "values for all" for c in (was, config)]
    layers = [kind == "layers" for kind in kinds]
    if layers[0] != layers[1]:
        raise PlanError(
            f"G's norms take gain and bias from {kinds[0]} in the source and from {kinds[1]} in the target, and neither "
            "becomes the other; set net.hierarchical and net.shared_dim as the source has them (of values for all, tables can "
            "be made: net.hierarchical False, net.shared_dim 0)"
        )
    if config.g_spectral != was.g_spectral:
        raise PlanError("G has spectral norm on one side only; set net.g_spectral as the source has it")


def _to_rgb(case: Case) -> list[Rule]:
    """The kernel at another resolution, and the norm before it where colours are repeated."""
    config, was = case.config, case.old_config
    kernel, rules = "params/to_rgb/kernel", []
    if config.resolution != was.resolution:
        rules += moved(case, kernel, "fit_with_reason", reason=DOUBLED)
    if case.layout.spectral and (was.channels == 1) != (config.channels == 1):
        factors = [3 if c.channels == 4 else c.channels for c in (was, config)]  # how many show the same grey
        for leaf in ("scale", "bias"):
            path = f"params/to_rgb_norm/{leaf}"
            sources = case.sources(path) if "keep" in case.role(path) else [path]
            rules.append(case.move(path, "fit_equalised", sources, **case.role(path), gain=factors))
    return rules


__all__ = ["discriminator", "generator", "layouts", "roles"]
