"""The rules of a pair: what its family says of single leaves, then the role of every leaf by the layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gan_jax.config import NetConfig
from gan_jax.surgery.families.case import Case, Options, vector_role
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten, match

GENERATORS, DISCRIMINATORS = ("g", "g_ema"), ("d",)
Family = Callable[[Case], list[Rule]]  # the leaves of one network that are not simply moved


def make_rules(
    families: tuple[Family, Family],
    configs: tuple[NetConfig, NetConfig],
    layouts: Callable[[Any], dict[str, Layout]],
    target_specs: Tree,
    source_specs: Tree,
    options: Options,
    roots: Mapping[str, str] | None,
    first: Sequence[Rule],
) -> list[Rule]:
    """The rules of a family for the networks that the target has; see `pair_rules` for the arguments."""
    target, source = flatten(target_specs), flatten(source_specs)
    rules: list[Rule] = []
    for root in dict.fromkeys(path.split("/")[0] for path in target):
        if root not in GENERATORS + DISCRIMINATORS:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join(GENERATORS + DISCRIMINATORS)}")
        which = 0 if root in GENERATORS else 1
        origin = _origin(root, source, roots or {})
        layout, old_layout = (layouts(config)["gd"[which]] for config in configs)
        leaves, old = _subtree(target, root), _subtree(source, origin)
        case = Case(root, origin, *configs, layout, old_layout, leaves, old, options)
        rules += [*families[which](case), *derived(case)]
    return winning(first, rules, target)


def _subtree(flat: Flat, root: str) -> Flat:
    return {path.removeprefix(f"{root}/"): leaf for path, leaf in flat.items() if path.startswith(f"{root}/")}


def winning(first: Sequence[Rule], rules: Sequence[Rule], paths: Iterable[str]) -> list[Rule]:
    """`first`, then those of the rules that are the first to cover some path which `first` does not cover."""
    left = [path for path in paths if not any(match(rule.pattern, path) for rule in first)]
    winners = {next((i for i, rule in enumerate(rules) if match(rule.pattern, path)), -1) for path in left}
    return [*first, *(rule for i, rule in enumerate(rules) if i in winners)]


def derived(case: Case) -> list[Rule]:
    """A rule for every leaf, from the leaf of the same path, by the layouts of both networks."""
    return [_moved(case, path) for path in case.leaves]


def _moved(case: Case, path: str) -> Rule:
    """A leaf in its role; a singular vector in that of its kernel."""
    if path not in case.old:
        return case.move(path, "fit", [path])  # the planner says that it is missing
    if path.startswith("spectral/") and path.endswith("/u"):
        name = path.removeprefix("spectral").removesuffix("/u")
        kernel = next(p for p in case.layout.spectral if p.rpartition("/")[0] == f"params{name}")
        role = vector_role(case, kernel, path)
        return case.move(path, "fit_vector", case.sources(path, kernel) if "keep" in role else [path, kernel], **role)
    role = case.role(path)
    return case.move(path, "fit", case.sources(path) if "keep" in role else [path], **role)


def _origin(root: str, source: Flat, roots: Mapping[str, str]) -> str:
    present = {path.split("/")[0] for path in source}
    if root in roots:
        if roots[root] not in present:
            raise PlanError(
                f"{root!r} should come from {roots[root]!r}, but the source has {', '.join(sorted(present))}"
            )
        return roots[root]
    candidates = (root, *GENERATORS) if root in GENERATORS else (root,)
    return next((name for name in candidates if name in present), root)
