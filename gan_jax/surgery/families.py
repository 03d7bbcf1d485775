"""Rules by the configuration of a network: the table that knows every family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gan_jax.config import DCGANConfig, NetConfig, ResNetConfig
from gan_jax.surgery import dcgan, resnet
from gan_jax.surgery.layout import Layout
from gan_jax.surgery.plan import PlanError
from gan_jax.surgery.roles import Roles, make_rules
from gan_jax.trees import Rule, Tree


def pair_rules(
    target_config: NetConfig,
    source_config: NetConfig,
    target_specs: Tree,
    source_specs: Tree,
    *,
    classes: Sequence[int] | None = None,
    roots: Mapping[str, str] | None = None,
    first: Sequence[Rule] = (),
) -> list[Rule]:
    """Rules for trees `{"g": variables, "d": variables, "g_ema": variables}`, any of them, of one family.

    Args:
      target_config: of the pair to fill.
      source_config: of the pair to take from.
      target_specs: arrays or ShapeDtypeStructs.
      source_specs: the same, of the source.
      classes: for each target class, the source class that it starts from; -1 = the mean of all. Needed where both
        are conditional and the numbers differ.
      roots: where each network comes from, such as `{"g": "g_ema"}`; what is not named comes from its own root, or
        from the other generator where the source has only one.
      first: your own rules, which win over these.

    Returns:
      `first`, then the rules of the family that still win somewhere, for `make_plan` (with `shape="adapt"` where
      shapes differ).
    """
    family = type(target_config)
    if family is not type(source_config) or family not in FAMILIES:
        known = ", ".join(cls.__name__ for cls in FAMILIES)
        raise PlanError(
            f"no rules from {type(source_config).__name__} to {family.__name__}; "
            f"there are rules within each of {known}: write your own for make_plan"
        )
    return make_rules(*FAMILIES[family], target_specs, source_specs, classes, roots, first)


def layouts(config: NetConfig) -> dict[str, Layout]:
    """What the axes of every leaf of `g` and `d` are."""
    if type(config) not in LAYOUTS:
        raise PlanError(f"no layout for {type(config).__name__}; known: {', '.join(cls.__name__ for cls in LAYOUTS)}")
    return LAYOUTS[type(config)](config)


FAMILIES: dict[type, tuple[Roles, Roles]] = {
    ResNetConfig: (resnet.generator, resnet.discriminator),
    DCGANConfig: (dcgan.generator, dcgan.discriminator),
}

LAYOUTS: dict[type, Callable[[Any], dict[str, Layout]]] = {ResNetConfig: resnet.layouts, DCGANConfig: dcgan.layouts}
