"""StyleGAN2's discriminator: the block that a resolution adds or takes, and the logits of classes."""

from __future__ import annotations

import math
from typing import Any

from gan_jax.nets.stylegan2 import widths
from gan_jax.nets.stylegan2_d import HALF
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.ops.equalised import CARRIED
from gan_jax.trees import Rule

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
