"""Rules between families, by role: what a leaf is for in one network, in another network's leaf for the same.

Each family lists its roles and the leaves that play each, by resolution (`families.cross_parts`). Roles that both have are
moved, each source leaf in one role only; what is left of the target is as fresh as `missing` allows, what is left of the
source is unused.

Layer by layer much is exact: a 3x3 convolution after a doubling is a 4x4 transposed one, one before 2x2 means is a 4x4
with stride 2, a head over summed positions is the same head at every position, a spectrally normalised kernel is its
kernel divided by its singular value, an equalised one its weights times the scale of their use, and a map for each channel
is a dense layer by position of rank one. The network is not: skips, inner layers, norms, styles and other nonlinearities
have no counterpart. So the function is not preserved in any direction, and the plan says so (`pair_notes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.config import NETS, NetConfig, family_title
from gan_jax.surgery.families.cross_fit import KINDS
from gan_jax.surgery.families.cross_parts import Fill, Part, Roles
from gan_jax.surgery.families.files import families_with, part_of
from gan_jax.surgery.families.roles import DISCRIMINATORS, GENERATORS, winning
from gan_jax.surgery.plan import Action, PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten


def cross_rules(
    target_config: NetConfig,
    source_config: NetConfig,
    target_specs: Tree,
    source_specs: Tree,
    *,
    classes: Sequence[Any] | None = None,
    roots: Mapping[str, str] | None = None,
    first: Sequence[Rule] = (),
) -> list[Rule]:
    """Rules from a pair of one family to one of another; the arguments are those of `families.pair_rules`."""
    new_roles, old_roles = roles_of(target_config), roles_of(source_config)
    target, source = flatten(target_specs), flatten(source_specs)
    rules: list[Rule] = []
    for root in dict.fromkeys(path.split("/")[0] for path in target):
        if root not in GENERATORS + DISCRIMINATORS:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join(GENERATORS + DISCRIMINATORS)}")
        net, origin = "g" if root in GENERATORS else "d", _origin(root, source, roots or {})
        new, old = new_roles[net], old_roles[net]
        for path, role in moves(new, old).items():
            if f"{root}/{path}" in target:
                reads = tuple(f"{origin}/{name}" for name in old[role].reads)
                args = _arguments(role, old[role], new[role].fills[path], classes)
                rules += _rules(f"{root}/{path}", reads, target, source, args)
        for path in (path for path in target if path.startswith(f"{root}/") and path in source):
            name = f"{path} as {family_title(target_config)} has it"  # the path alone is shared
            rules.append(Rule(path, Action("fit", (name,))))
        rules.append(Rule(f"{root}/**", Action("fit")))  # plays a role of its own, so the source lacks it
    return winning(first, rules, target)


def pair_notes(target_config: NetConfig, source_config: NetConfig) -> tuple[str, ...]:
    """Notes for the reader of a plan between families; none within a family."""
    if type(target_config) is type(source_config):
        return ()
    old, new = family_title(source_config), family_title(target_config)
    return (
        f"{old} -> {new}: leaves are moved by their role and the function is not preserved; the shares say how much",
    )


def roles_of(config: NetConfig) -> dict[str, Roles]:
    """What each leaf of `g` and `d` is for.

    Raises:
      PlanError: the family does not say.
    """
    make = part_of(config, "roles")
    if make is None:
        known = ", ".join(NETS[name].__name__ for name in families_with("roles"))
        raise PlanError(f"no roles for {type(config).__name__}, only for {known}; write your own rules for make_plan")
    return make(config)


def moves(new: Mapping[str, Part], old: Mapping[str, Part]) -> dict[str, str]:
    """Leaf to fill -> the role in which it is; a leaf of the source, and one of the target, plays one role."""
    roles: dict[str, str] = {}
    read: set[str] = set()
    for role, part in new.items():
        if role in old and not read & set(old[role].reads) and (paths := [p for p in part.fills if p not in roles]):
            roles |= dict.fromkeys(paths, role)
            read |= set(old[role].reads)
    return roles


def _arguments(role: str, old: Part, fill: Fill, classes: Any) -> dict[str, Any]:
    """The arguments of `across` for a leaf in a role."""
    if role.startswith("norm"):
        return {"classes": classes}
    about = KINDS[role.rstrip("0123456789")] if fill.about is None else fill.about
    steps = {name: list(steps) for name, steps in (("gives", old.gives), ("takes", fill.takes)) if steps}
    return {**about, **steps}


def _rules(path: str, reads: tuple[str, ...], target: Flat, source: Flat, args: dict[str, Any]) -> list[Rule]:
    """The rule for the leaf of a role, and for its kernel's singular vector where the target has one."""
    vector = lambda path: path.replace("/params/", "/spectral/").removesuffix("kernel") + "u"
    if vector(reads[0]) in source:
        args["unit"] = True
    if vector(path) not in target:
        return [Rule(path, Action("across", reads, args))]
    args["spectral"] = True
    shape = tuple(target[path].shape)
    return [
        Rule(path, Action("across", reads, args)),
        Rule(vector(path), Action("across_vector", reads, {**args, "shape": shape})),
    ]


def _origin(root: str, source: Flat, roots: Mapping[str, str]) -> str:
    """Where a network comes from: as named, or its own root, or the other generator."""
    present = {path.split("/")[0] for path in source}
    if root in roots and roots[root] not in present:
        raise PlanError(f"{root!r} should come from {roots[root]!r}, but the source has {', '.join(sorted(present))}")
    candidates = (roots.get(root, root), *(GENERATORS if root in GENERATORS else ()))
    return next((name for name in candidates if name in present), root)
