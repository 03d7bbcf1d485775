"""Roles in the ResNet pair: which leaf is what, and how the pair grows without a change of its function.

Width: new units are fresh on their inputs and silent on their outputs into old units. In D, where kernels are divided
by their largest singular value, new units are also orthogonal to the old ones (`surgery.spectral`).
Resolution: a new block passes its input on (identity skip) and adds nothing (silent residual), so that
`G32(z) = repeat(G16(z))` and `D32(x) = D16(mean(x))`. Colour: grey heads are repeated, colour readers get chroma.

Exact: wider; higher resolution where the new block is not narrower than the next lower one; grey to colour, on grey
images; more latent dimensions (new ones unread by old units); unconditional to conditional, and reordered classes, in G.
Not exact: anything smaller, colour to grey in D, a narrower new block, a fresh class table in D. Measure it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.surgery.plan import Move, PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten, match

GENERATORS, DISCRIMINATORS = ("g", "g_ema"), ("d",)


def resnet_rules(
    target_specs: Tree,
    source_specs: Tree,
    *,
    classes: Sequence[int] | None = None,
    roots: Mapping[str, str] | None = None,
    first: Sequence[Rule] = (),
) -> list[Rule]:
    """Rules for trees `{"g": variables, "d": variables, "g_ema": variables}`, any of them, of the ResNet family.

    Args:
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
    target, source = flatten(target_specs), flatten(source_specs)
    rules: list[Rule] = []
    for root in dict.fromkeys(path.split("/")[0] for path in target):
        if root not in GENERATORS + DISCRIMINATORS:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join(GENERATORS + DISCRIMINATORS)}")
        origin = _origin(root, source, roots or {})
        make = _generator if root in GENERATORS else _discriminator
        rules += make(root, origin, target, source, classes)
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


def _from(origin: str, root: str, tail: str, op: str = "fit", **args: Any) -> Rule:
    """Leaves `root/tail` from the same place under `origin`."""
    return Rule(f"re:{re.escape(root)}/({tail})", Move(op, (rf"{origin}/\1",), args))


def _new(root: str, tail: str, op: str, **args: Any) -> Rule:
    return Rule(f"re:{re.escape(root)}/{tail}", Move(op, (), args))


def _new_blocks(root: str, origin: str, target: Flat, source: Flat) -> str:
    """An alternative for a regular expression, such as `b32|b64`: blocks that only the target has."""
    names = lambda flat, top: {p.split("/")[2] for p in flat if re.match(rf"{re.escape(top)}/params/b\d+/", p)}
    old, new = names(source, origin), names(target, root)
    return "|".join(sorted(new - old)) if old else ""


def _generator(root: str, origin: str, target: Flat, source: Flat, classes: Sequence[int] | None) -> list[Rule]:
    rules = []
    if fresh := _new_blocks(root, origin, target, source):
        block = f"params/({fresh})"
        rules += [
            _new(root, f"{block}/conv1/(kernel|bias)", "zero"),
            _new(root, f"{block}/skip/kernel", "identity"),
            _new(root, f"{block}/skip/bias", "zero"),
            _new(root, f"(params|batch_stats)/({fresh})/.*", "init"),
        ]
    stem, stem_origin = f"{root}/params/stem/kernel", f"{origin}/params/stem/kernel"
    if stem in target and stem_origin in source:
        (z, new), (z_old, old) = target[stem].shape, source[stem_origin].shape
        kernel = [[z_old, 4, 4, old // 16], [z, 4, 4, new // 16]]
        rules.append(_from(origin, root, "params/stem/kernel", inputs=[0], view=kernel))
        rules.append(_from(origin, root, "params/stem/bias", view=[kernel[0][1:], kernel[1][1:]]))
    return [
        *rules,
        _from(origin, root, r"params/b\d+/norm\d/(?:scale|bias)", classes=classes),
        _from(origin, root, "params/to_rgb/kernel", inputs=[2], colour=("out", 3)),
        _from(origin, root, "params/to_rgb/bias", colour=("out", 0)),
        _from(origin, root, r"params/b\d+/\w+/kernel", inputs=[2]),
        _from(origin, root, ".*"),
    ]


def _discriminator(root: str, origin: str, target: Flat, source: Flat, classes: Sequence[int] | None) -> list[Rule]:
    rules = []
    if fresh := _new_blocks(root, origin, target, source):
        block = f"params/({fresh})"
        rules += [
            _new(root, f"{block}/conv0/kernel", "mute"),
            _new(root, f"{block}/conv1/kernel", "ballast"),
            _new(root, f"{block}/skip/kernel", "identity"),
            _new(root, f"{block}/\\w+/bias", "zero"),
            _new(root, f"spectral/({fresh})/skip/u", "one_hot", index=0),
            _new(root, f"spectral/({fresh})/conv1/u", "one_hot", index=-1),
            _new(root, f"spectral/({fresh})/conv0/u", "init"),
        ]
    roles: list[tuple[str, dict[str, Any]]] = [
        ("from_rgb/kernel", {"inputs": [2], "colour": ("in", 2), "spectral": True}),
        (r"b\d+/\w+/kernel", {"inputs": [2], "spectral": True}),
        ("head/kernel", {"inputs": [0]}),
        ("embed/embedding", {"inputs": [1], "classes": classes}),
    ]
    for tail, role in roles:
        rules.append(_from(origin, root, f"params/{tail}", **role))
        kernels = [path for path in target if match(f"re:{root}/params/{tail}", path)]
        rules += [_vector(root, origin, path, target, role) for path in kernels]
    return [*rules, _from(origin, root, ".*")]


def _vector(root: str, origin: str, path: str, target: Flat, role: Mapping[str, Any]) -> Rule:
    """The rule for the singular vector that belongs to a kernel."""
    kernel = path.removeprefix(f"{root}/")
    name = kernel.removeprefix("params/").rpartition("/")[0]
    sources = (f"{origin}/spectral/{name}/u", f"{origin}/{kernel}")
    return Rule(f"{root}/spectral/{name}/u", Move("fit_vector", sources, {**role, "shape": target[path].shape}))
