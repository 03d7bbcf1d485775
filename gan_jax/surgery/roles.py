"""What families of rules are made of: the roots of a pair, and the two kinds of rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gan_jax.surgery.plan import Move, PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten, match

GENERATORS, DISCRIMINATORS = ("g", "g_ema"), ("d",)
Roles = Callable[[str, str, Flat, Flat, "Sequence[int] | None"], list[Rule]]  # of one network of a pair


def moved(root: str, origin: str, tail: str, op: str = "fit", **args: Any) -> Rule:
    """Leaves `root/tail` from the same place under `origin`; `tail` is a regular expression."""
    return Rule(f"re:{re.escape(root)}/({tail})", Move(op, (rf"{origin}/\1",), args))


def made(root: str, tail: str, op: str, **args: Any) -> Rule:
    """Leaves `root/tail` from no source."""
    return Rule(f"re:{re.escape(root)}/{tail}", Move(op, (), args))


def make_rules(
    generator: Roles,
    discriminator: Roles,
    target_specs: Tree,
    source_specs: Tree,
    classes: Sequence[int] | None,
    roots: Mapping[str, str] | None,
    first: Sequence[Rule],
) -> list[Rule]:
    """The rules of a family for the networks that the target has; see `pair_rules` for the arguments."""
    target, source = flatten(target_specs), flatten(source_specs)
    rules: list[Rule] = []
    for root in dict.fromkeys(path.split("/")[0] for path in target):
        if root not in GENERATORS + DISCRIMINATORS:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join(GENERATORS + DISCRIMINATORS)}")
        roles = generator if root in GENERATORS else discriminator
        rules += roles(root, _origin(root, source, roots or {}), target, source, classes)
    winner = lambda path: next((i for i, rule in enumerate(rules) if match(rule.pattern, path)), -1)
    mine = {winner(path) for path in target if not any(match(rule.pattern, path) for rule in first)}
    return [*first, *(rule for i, rule in enumerate(rules) if i in mine)]


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
