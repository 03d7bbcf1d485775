"""The fully connected pair: how it grows and shrinks, beyond what follows from its layout.

Width: silently or by copies. Latents: new ones unread. Depth: a new layer comes last and passes on the units before it.
Behind a ReLU they are not negative, so that the identity passes another ReLU; behind a leaky one a unit h passes as the
pair (h, -h), for h = (lrelu(h) - lrelu(-h)) / (1 + slope), which takes a layer twice as wide. Resolution: G repeats
pixels, D sees an image as it was at the old size. Labels: rows that start at zero.

Exact: wider, both ways; more latents; deeper, where new layers have that width; a multiple of the resolution; grey to
colour on grey images; unconditional to conditional; classes chosen from old ones; and the way back from each of these,
before training. Not exact: other things smaller, other sizes, other slopes, a linear end in place of a tanh.

No leaf plays the role of one of a convolutional family, so there are no rules between those and this one.
"""

from __future__ import annotations

from typing import Any

from gan_jax.config import MLPConfig
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops.dense import width_of
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule


def generator(case: Case) -> list[Rule]:
    """Layers that pass units on, pixels, and labels that say nothing yet."""
    config, was = case.config, case.old_config
    depth = _Depth(case, was.g_widths, config.g_widths, config.g_slope)
    reason = "another slope below zero" if config.g_slope != was.g_slope else ""
    if config.bounded != was.bounded:
        reason = "G ends in a tanh in one of both only"
    rules = [*depth.layers(), _moved(case, "params/to_rgb/kernel", "out", reason, depth)]
    return [*rules, _moved(case, "params/to_rgb/bias", "out", reason), *_labels(case)]


def discriminator(case: Case) -> list[Rule]:
    """The mirror image."""
    config, was = case.config, case.old_config
    depth = _Depth(case, was.d_widths, config.d_widths, config.d_slope)
    reason = "another slope below zero" if config.d_slope != was.d_slope else ""
    rules = [*depth.layers(), _moved(case, "params/fc0/kernel", "in", reason), *_labels(case)]
    for path in ("params/head/kernel", "params/embed/embedding") if depth.changes else ():
        if path in case.leaves and path in case.old:
            rules.append(_moved(case, path, None, "", depth))
    return rules


class _Depth:
    """The layers that only one of both networks has, and how the units before them are read.

    Attributes:
      changes: whether there are any.
    """

    def __init__(self, case: Case, old: tuple[int, ...], new: tuple[int, ...], slope: float):
        self.case, self.old, self.new = case, old, new
        shared = min(len(old), len(new)) - 1  # the last layer that both have
        self.changes = len(old) != len(new) and bool(case.old)
        self.units = min(old[shared], new[shared])
        self.kind, self.value = ("plain", 1.0) if slope == 0 else ("pairs", 1 / (1 + slope))
        self.wide = all(width >= width_of(self.kind, self.units) for width in new[len(old) :])
        if self.changes and new[shared] < old[shared] and case.options.of("narrow", case.root) != "leading":
            raise PlanError(
                f"narrow='strongest' chooses channels of {case.root}/params/fc{shared} by the layers behind it, and "
                "their number changes too: narrow first, then change the depth, in two plans"
            )

    def layers(self) -> list[Rule]:
        """New layers, which pass units on."""
        if not self.changes or not self.wide:
            return []  # no way through: new layers are missing
        rules = []
        for i in range(len(self.old), len(self.new)):
            reads = self.kind if i > len(self.old) else "plain"
            value = self.value if reads == "pairs" else 1.0
            about = {"units": self.units, "reads": reads, "writes": self.kind, "value": value}
            rules.append(self.case.create(f"params/fc{i}/kernel", "pass_on", **about))
            rules.append(self.case.create(f"params/fc{i}/bias", "zero"))
        return rules

    def reader(self) -> tuple[dict[str, Any], list[str]]:
        """(arguments of `fit_dense`, further sources) of what reads the last layer."""
        if len(self.new) > len(self.old):
            pairs = {"pairs": self.value} if self.kind == "pairs" and self.wide else {}
            return {"units": self.units, **pairs}, []
        gone = [f"params/fc{i}/kernel" for i in range(len(self.new), len(self.old))]
        passed = 1.0 if self.kind == "plain" else 1 / (2 * self.value)  # of a pair, were its layer linear
        return {"fold": passed}, gone


def _moved(case: Case, path: str, side: str | None, reason: str, depth: _Depth | None = None) -> Rule:
    if path not in case.old:
        return case.move(path, "fit", [path])  # the planner says that it is missing
    role = case.role(path)
    new, old = case.layout.leaf(path), case.old_layout.leaf(path)
    views = [list(old.view(tuple(case.old[path].shape))), list(new.view(tuple(case.leaves[path].shape)))]
    about: dict[str, Any] = {"shapes": views, "fused": [list(span) for span in new.fused], "side": side}
    about |= {"reason": reason} if reason else {}
    if depth is None or not depth.changes:
        sources = case.sources(path) if "keep" in role else [path]
        return case.move(path, "fit_dense", sources, **role, **about)
    arguments, gone = depth.reader()
    kept = {key: value for key, value in role.items() if key not in ("copies", "keep")}
    return case.move(path, "fit_dense", [path, *gone], **kept, **about, **arguments)


def _labels(case: Case) -> list[Rule]:
    table = "params/embed/embedding"
    return [case.create(table, "zero")] if table in case.leaves and case.old and table not in case.old else []


def layouts(config: MLPConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`. All scales are free: leaky ReLUs pass them on."""
    pixels = f"({config.resolution} {config.resolution} rgb)"

    def dense(name: str, read: str, write: str) -> dict[str, str]:
        return {f"params/{name}/kernel": f"{read} -> {write}", f"params/{name}/bias": f"-> {write}"}

    def hidden(read: str, count: int) -> dict[str, str]:
        names = [f"fc{i}" for i in range(count)]
        return {
            path: text for pair in zip(names, [read, *names]) for path, text in dense(pair[0], pair[1], pair[0]).items()
        }

    g_last, d_last = (f"fc{len(widths) - 1}" for widths in (config.g_widths, config.d_widths))
    g = {**hidden("z", len(config.g_widths)), **dense("to_rgb", g_last, pixels)}
    d = {**hidden(pixels, len(config.d_widths)), **dense("head", d_last, "logit")}
    if config.num_classes:
        g["params/embed/embedding"], d["params/embed/embedding"] = "classes -> fc0", f"classes {d_last} ->"
    free = lambda widths: frozenset(f"fc{i}" for i in range(len(widths)))
    return {"g": Layout(g, free(config.g_widths)), "d": Layout(d, free(config.d_widths))}
