"""Rules by the configuration of a network: the table that knows every family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from gan_jax.config import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    NetConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
)
from gan_jax.surgery.families import (
    biggan,
    biggan_layout,
    dcgan,
    mlp,
    r3gan,
    r3gan_layout,
    resnet,
    sngan,
    stylegan2,
    stylegan2_layout,
)
from gan_jax.surgery.families.case import Case, Classes, Options
from gan_jax.surgery.families.cross import ROLES, cross_rules
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.families.roles import Family, make_rules
from gan_jax.surgery.ops.width import Narrow, Width
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule, Tree


def pair_rules(
    target_config: NetConfig,
    source_config: NetConfig,
    target_specs: Tree,
    source_specs: Tree,
    *,
    classes: Classes | None = None,
    roots: Mapping[str, str] | None = None,
    first: Sequence[Rule] = (),
    width: Width | Mapping[str, Width] = "silent",
    narrow: Narrow | Mapping[str, Narrow] = "leading",
    seed: int = 0,
) -> list[Rule]:
    """Rules for trees `{"g": variables, "d": variables, "g_ema": variables}`, any of them.

    Between families leaves are moved by their role (`families.cross`), and the function is not preserved.

    Args:
      target_config: of the pair to fill.
      source_config: of the pair to take from.
      target_specs: arrays or ShapeDtypeStructs.
      source_specs: the same, of the source.
      classes: for each target class, the source class that it starts from, a list of source classes to average, -1 =
        the mean of all, or a row of coefficients (`surgery.classes`). Needed where both are conditional and the
        numbers differ.
      roots: where each network comes from, such as `{"g": "g_ema"}`; what is not named comes from its own root, or
        from the other generator where the source has only one.
      first: your own rules, which win over these.
      width: how groups of channels grow: by new ones that are silent at first, or "net2wider", by copies that share
        what they say. One word, or one for each of the target's networks, such as `{"g": "net2wider"}`.
      narrow: how they shrink: to the leading channels, or to the "strongest", those most important to the output.
      seed: of which channels are copied, and of the shares of the copies.

    Returns:
      `first`, then the rules of the family that still win somewhere, for `make_plan` (with `shape="adapt"` where
      shapes differ).
    """
    for name, value, known in (("width", width, get_args(Width)), ("narrow", narrow, get_args(Narrow))):
        words = set(value.values() if isinstance(value, Mapping) else [value])
        if wrong := words - set(known):
            raise PlanError(f"{name} is {wrong.pop()!r}; use one of {', '.join(map(repr, known))}")
        if words - {known[0]} and type(target_config) is not type(source_config):
            raise PlanError(
                f"{name}={value!r} works within a family only: change the width there first, and use {known[0]!r} from "
                f"{type(source_config).__name__} to {type(target_config).__name__}"
            )
    family = type(target_config)
    if family is not type(source_config) and {family, type(source_config)} <= ROLES.keys():
        across: dict[str, Any] = {"classes": classes, "roots": roots, "first": first}
        return cross_rules(target_config, source_config, target_specs, source_specs, **across)
    if family is not type(source_config) or family not in LAYOUTS:
        within, between = (", ".join(cls.__name__ for cls in table) for table in (LAYOUTS, ROLES))
        raise PlanError(
            f"no rules from {type(source_config).__name__} to {family.__name__}; there are rules within each of {within} "
            f"and between {between}: write your own for make_plan"
        )
    options = Options(classes, width, narrow, seed)
    configs = (target_config, source_config)
    return make_rules(
        FAMILIES.get(family, (plain, plain)), configs, layouts, target_specs, source_specs, options, roots, first
    )


def plain(case: Case) -> list[Rule]:
    """Nothing beyond what follows from the layout."""
    return []


def layouts(config: NetConfig) -> dict[str, Layout]:
    """What the axes of every leaf of `g` and `d` are."""
    if type(config) not in LAYOUTS:
        raise PlanError(f"no layout for {type(config).__name__}; known: {', '.join(cls.__name__ for cls in LAYOUTS)}")
    return LAYOUTS[type(config)](config)


def new_norms(target_config: Any, source_config: Any) -> dict[str, tuple[str, ...]]:
    """The batch norms of `g` and `d` that growth sets to the identity and training mode does not: for `calibrate`."""
    grows = isinstance(target_config, DCGANConfig) and isinstance(source_config, DCGANConfig)
    return dcgan.new_norms(target_config, source_config) if grows else {}


FAMILIES: dict[type, tuple[Family, Family]] = {  # of G and D, where more than the layout is needed
    ResNetConfig: (resnet.generator, resnet.discriminator),
    DCGANConfig: (dcgan.generator, dcgan.discriminator),
    StyleGAN2Config: (stylegan2.generator, stylegan2.discriminator),
    R3GANConfig: (r3gan.generator, r3gan.discriminator),
    BigGANConfig: (biggan.generator, biggan.discriminator),
    MLPConfig: (mlp.generator, mlp.discriminator),
    SNGANConfig: (sngan.generator, sngan.discriminator),
}

LAYOUTS: dict[type, Callable[[Any], dict[str, Layout]]] = {
    ResNetConfig: resnet.layouts,
    DCGANConfig: dcgan.layouts,
    StyleGAN2Config: stylegan2_layout.layouts,
    R3GANConfig: r3gan_layout.layouts,
    BigGANConfig: biggan_layout.layouts,
    MLPConfig: mlp.layouts,
    SNGANConfig: sngan.layouts,
}
