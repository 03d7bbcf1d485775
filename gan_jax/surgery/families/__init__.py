"""Rules by the configuration of a network, from the file that has its family's name.

`gan_jax.surgery.families.NAME`, of a row NAME of `config.NETS`, has what of these there is:

    layouts(config) -> {"g": Layout, "d": Layout}     the axes of every leaf; without them nothing can be done to leaves
    generator(case), discriminator(case) -> [Rule]    growth beyond what follows from the layout
    roles(config) -> {"g": Roles, "d": Roles}         what each leaf is for, by which other families are filled
    new_norms(config, old config) -> {"g": (names,)}  norms that growth sets to the identity, for `calibrate`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from gan_jax.config import NETS, NetConfig
from gan_jax.surgery.families.case import Case, Classes, Family, Options, make_rules
from gan_jax.surgery.families.cross import cross_rules
from gan_jax.surgery.families.layout import Layout, families_with, part_of
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
        the mean of all, or a row of coefficients (`families.classes`). Needed where both are conditional and the
        numbers differ.
      roots: where each network comes from, such as `{"g": "g_ema"}`; what is not named comes from its own root, or
        from the other generator where the source has only one.
      first: your own rules, which win over these.
      width: how groups of channels grow: by new ones that add nothing at first ("silent"), or by copies that share
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
    one_family = type(target_config) is type(source_config)
    if not one_family and all(part_of(config, "roles") for config in (target_config, source_config)):
        across: dict[str, Any] = {"classes": classes, "roots": roots, "first": first}
        return cross_rules(target_config, source_config, target_specs, source_specs, **across)
    if not one_family or part_of(target_config, "layouts") is None:
        within, between = (
            ", ".join(NETS[name].__name__ for name in families_with(part)) for part in ("layouts", "roles")
        )
        raise PlanError(
            f"no rules from {type(source_config).__name__} to {type(target_config).__name__}; there are rules within each of "
            f"{within} and between {between}: write your own for make_plan"
        )
    options = Options(classes, width, narrow, seed)
    configs = (target_config, source_config)
    growth: tuple[Family, Family] = (
        part_of(target_config, "generator") or plain,
        part_of(target_config, "discriminator") or plain,
    )
    return make_rules(growth, configs, layouts, target_specs, source_specs, options, roots, first)


def plain(case: Case) -> list[Rule]:
    """Nothing beyond what follows from the layout."""
    return []


def layouts(config: NetConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    make = part_of(config, "layouts")
    if make is None:
        known = ", ".join(NETS[name].__name__ for name in families_with("layouts"))
        raise PlanError(f"no layout for {type(config).__name__}; known: {known}")
    return make(config)


def new_norms(target_config: Any, source_config: Any) -> dict[str, tuple[str, ...]]:
    """The batch norms of `g` and `d` that growth sets to the identity and training mode does not: for `calibrate`."""
    make = part_of(target_config, "new_norms") if type(target_config) is type(source_config) else None
    return {} if make is None else make(target_config, source_config)
