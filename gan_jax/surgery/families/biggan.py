"""The BigGAN pair: how it grows and shrinks, beyond what follows from its layout.

Everything is divided by its largest singular value, so that new units are orthogonal to the old ones (`ops.spectral`) and
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

from gan_jax.nets.biggan import modulation, widths
from gan_jax.nets.biggan_d import stages
from gan_jax.surgery.families.biggan_blocks import identity, moved, zero_output_attention, zero_output_blocks
from gan_jax.surgery.families.biggan_d import class_term, first_block
from gan_jax.surgery.families.biggan_layout import layouts
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross_roles import biggan_roles as roles
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

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
