"""BigGAN's discriminator: the block that reads the image, when there come others above it or go, and the class term."""

from __future__ import annotations

from typing import Any

from gan_jax.surgery.families.biggan_blocks import moved
from gan_jax.surgery.families.case import Case, vector_role
from gan_jax.trees import Rule

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
