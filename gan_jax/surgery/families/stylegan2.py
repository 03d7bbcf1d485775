"""The StyleGAN2 pair: how it grows and shrinks, beyond what follows from its layout.

Weights are stored without the 1 / sqrt(fan-in) of their use, so what gets a new fan-in is multiplied by the root of the
ratio; demodulated kernels are not, they have none. New channels are read with zero by the old ones, which the
demodulation does not see either. Copies would change it, so G has none. New features at 4 px would change the mean that
is the minibatch deviation: they are zero, and what reads the deviation is multiplied by the ratio of widths.

Resolution, G: the new block's to_rgb is zero, so that the image is the old one, doubled by the filter. D: two channels
carry an image channel through the new block's layers (`surgery.equalised`), and its convolution to half the size, whose
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

from gan_jax.nets.stylegan2 import widths
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross_stylegan2 import roles
from gan_jax.surgery.families.stylegan2_d import equalised, head, new_block, old_block, parts
from gan_jax.surgery.families.stylegan2_layout import layouts
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

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
    for path, leaf in case.layout.leaves.items():
        if path in case.leaves and path in case.old:
            copied = [leaf.axes[choice["axis"]].group for choice in case.role(path).get("copies", [])]
            if groups & set(copied):
                raise PlanError(
                    f"width='net2wider' would copy channels of {case.root}/{path}, and {why}; use width='silent' for "
                    f"{case.root!r}"
                )


__all__ = ["discriminator", "generator", "layouts", "roles"]
