"""The role of every leaf from the layouts, and the rules of a pair that follow from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gan_jax.config import NetConfig
from gan_jax.roots import is_reversed, origins, pair_part
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops.width import Narrow, Width, copies, seed_of
from gan_jax.surgery.plan import Action, PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten, match

# ----------------------------------------------------------------------------------------------------------------------
# The role of every leaf, worked out from the layouts: which axes are read, fused, coloured, widened or narrowed.

READ_NOWHERE = (None, "h", "w", "classes")  # axes that are read, but whose new positions need no zeros
Classes = Sequence["int | Sequence[int] | Sequence[float]"]  # see `families.classes`


@dataclasses.dataclass(frozen=True)
class Options:
    """The caller's options; see `families.pair_rules`."""

    classes: Classes | None = None
    width: Width | Mapping[str, Width] = "silent"
    narrow: Narrow | Mapping[str, Narrow] = "leading"
    seed: int = 0

    def of(self, name: str, root: str) -> Any:
        """The value for one network."""
        value = getattr(self, name)
        return value.get(root, Options.__dataclass_fields__[name].default) if isinstance(value, Mapping) else value


@dataclasses.dataclass(frozen=True)
class Case:
    """One network to fill, and the one that it is filled from. Paths of leaves are without the root."""

    root: str
    origin: str
    config: Any
    old_config: Any
    layout: Layout
    old_layout: Layout
    leaves: Flat
    old: Flat
    options: Options

    def move(self, path: str, op: str, sources: Sequence[str] = (), **args: Any) -> Rule:
        """A rule for one leaf, from source leaves of the same network."""
        return Rule(f"{self.root}/{path}", Action(op, tuple(f"{self.origin}/{p}" for p in sources), args))

    def create(self, tail: str, op: str, **args: Any) -> Rule:
        """A rule for leaves `root/tail` from no source; `tail` is a regular expression."""
        return Rule(f"re:{re.escape(self.root)}/{tail}", Action(op, (), args))

    def role(self, path: str, old_path: str | None = None, extra: Sequence[str] = ()) -> dict[str, Any]:
        """The arguments of `fit` for a leaf that both networks have.

        Args:
          path: of the leaf.
          old_path: its path in the old network; None = the same.
          extra: further leaves that the operation reads before those that `sources` adds.
        """
        old_path = old_path or path
        new, old = self.layout.leaf(path), self.old_layout.leaf(old_path)
        large, small = new.view(tuple(self.leaves[path].shape)), old.view(tuple(self.old[old_path].shape))
        names = [axis.name for axis in new.axes]
        role: dict[str, Any] = {}
        if inputs := [i for i, axis in enumerate(new.axes) if axis.reads and axis.name not in READ_NOWHERE]:
            role["inputs"] = inputs
        if "rgb" in names:
            axis = names.index("rgb")
            role["colour"] = ("in" if new.axes[axis].reads else "out", axis)
        if "classes" in names or "classes" in [axis.name for axis in old.axes]:
            role["classes"] = self.options.classes
            if axis := names.index("classes") if "classes" in names else 0:
                role["class_axis"] = axis
        if path in self.layout.spectral and not new.axes[-1].reads:
            role["spectral"] = True
        offset = len(new.axes) - len(old.axes)  # a class axis stands first
        pairs = [
            (i, i - offset, shared(axis.group, old.axes[i - offset].group))
            for i, axis in enumerate(new.axes)
            if i >= offset and axis.group and old.axes[i - offset].group
        ]
        grown = [(i, j, group) for i, j, group in pairs if large[i] > small[j]]
        copied = self._copied(path, grown, small, large) if self.options.of("width", self.root) != "silent" else []
        shrunk = [{"axis": j, "group": group, "keep": large[i]} for i, j, group in pairs if large[i] < small[j]]
        kept = self._kept(shrunk) if self.options.of("narrow", self.root) != "leading" else []
        between = list(small)
        for choice in kept:
            between[choice["axis"]] = choice["keep"]
        if len(new.fused) != len(new.axes):
            role["view"] = [between, list(large)]
        if kept:
            layout = [self._scored(p) for p in self.sources(old_path, *extra)]
            view = {"view": [list(small), between]} if "view" in role else {}
            role["keep"] = {"axes": kept, "layout": layout, "sweeps": len(self.old_layout.groups), **view}
        if copied:
            role["copies"] = copied
        return role

    def sources(self, *paths: str) -> list[str]:
        """These leaves, then all others that the importance of a channel is worked out from."""
        return [*paths, *(p for p in self.old if self._scored(p) and p not in paths)]

    def _scored(self, path: str) -> list[Any] | None:
        """Place and axes of a leaf that says how important channels are: a parameter that numbers some."""
        counts = path.startswith("params/") and any(axis.group for axis in self.old_layout.leaf(path).axes)
        return [list(self.old).index(path), self.old_layout.text[path]] if counts else None

    def _copied(
        self, path: str, grown: list[tuple[int, int, str]], small: Sequence[int], large: Sequence[int]
    ) -> list[dict[str, Any]]:
        """The axes of `duplicate`."""
        if grown and path in self.layout.spectral:
            raise PlanError(
                f"width='net2wider' would copy channels of {self.root}/{path}, which is divided by its largest singular "
                f"value, and copies change that; use width='silent' for {self.root!r}"
            )
        seed, axes = self.options.seed, self.layout.leaf(path).axes
        share = lambda i: {"seed": seed_of(seed, path)} if axes[i].reads else {}
        return [
            {"axis": i, "index": copies(small[j], large[i], seed_of(seed, group)), **share(i)} for i, j, group in grown
        ]

    def _kept(self, shrunk: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The axes of `important`."""
        if shrunk and self.config.resolution != self.old_config.resolution:
            raise PlanError(
                f"narrow='strongest' chooses channels of {self.origin!r} as it is, and at another resolution others are "
                "read: narrow it first, then change the resolution, in two plans"
            )
        return shrunk


def shared(group: str | None, old: str | None) -> str:
    """One name for the channels that two groups hold, such as those of the heads before and after a new block."""
    return min((name for name in (group, old) if name), key=lambda name: (len(name), name))


def vector_role(case: Case, kernel: str, vector: str) -> dict[str, Any]:
    """The arguments of `fit_vector`."""
    role = {**case.role(kernel), "shape": case.leaves[kernel].shape}
    if "view" in (own_role := case.role(vector)):
        role["vector_view"] = own_role["view"]
    chosen = case.role(vector, extra=[kernel]).get("keep") if "keep" in role else None
    return {**role, **({"vector": chosen} if chosen else {})}


# ----------------------------------------------------------------------------------------------------------------------
# The rules of a pair: what its family says of single leaves, then the role of every leaf by the layouts.

GENERATORS = ("g", "g_ema")  # the roots of a pair's generator
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
        part = pair_part(root)
        if part is None:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join((*GENERATORS, 'd'))}")
        origin = _origin(root, source, roots or {})
        config, old_config = (c.reversed if is_reversed(name) else c for c, name in zip(configs, (root, origin)))
        layout, old_layout = layouts(config)[part], layouts(old_config)[part]
        leaves, old = _subtree(target, root), _subtree(source, origin)
        case = Case(root, origin, config, old_config, layout, old_layout, leaves, old, options)
        rules += [*families[part == "d"](case), *derived(case)]
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
    candidates = (root, *GENERATORS) if root in GENERATORS else (root, *origins(root))
    return next((name for name in candidates if name in present), root)
