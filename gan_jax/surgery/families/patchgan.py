"""What the families from images to images share: layers with a norm, and the discriminator of patches or pixels.

Wider layers are exact, silently or by copies: every norm is of one channel. D sees the image that goes in by a kernel of
its own, which starts at zero where only the new D is conditional: exact. Scale and bias of instance norm start at 1 and 0
where only the new networks have them. A D of more layers, of another kind or with filters in place of strides reads its
kernels at other sizes: that is refused.

From an unconditional D: layers of stride 2 as they are, the last layer of stride 1 as one of stride 2 that is read at
every position, and the head, which reads a map of 4x4 positions, at every such part of the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.nets import patchgan
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross import KINDS, NORM, POSITIONS, Fill, Part, leaf
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

FROM_RGB, INPUT = "params/from_rgb/conv/kernel", "params/from_rgb/input/kernel"


def norm_text(name: str, group: str, kind: str, affine: bool) -> dict[str, str]:
    """The lines of a norm of a group's channels, whose scale is called as the norm is."""
    text = {f"batch_stats/{name}/{leaf}": f"-> {group}" for leaf in ("mean", "var")} if kind == "batch" else {}
    if kind == "batch" or (kind == "instance" and affine):
        text |= {f"params/{name}/{leaf}": f"-> {group}:{name}" for leaf in ("scale", "bias")}
    return text


def layer_text(name: str, read: str, write: str, bias: bool, conv: str = "conv") -> dict[str, str]:
    """The lines of a convolution."""
    text = {f"params/{name}/{conv}/kernel": f"h w {read} -> {write}"}
    return text | ({f"params/{name}/{conv}/bias": f"-> {write}"} if bias else {})


def behind(group: str, norm: str, kind: str) -> str:
    """How a kernel reads a group behind its norm."""
    return group if kind == "none" else f"{group}:{norm}"


def free_scales(text: dict[str, str], kind: str, plain: Sequence[str]) -> frozenset[str]:
    """The scales that the function does not see: those before batch norm, and those that scale and bias write.

    Instance norm forgets the size of what it reads only up to its epsilon, which counts where an image is nearly flat:
    there only layers without a norm, `plain`, have a free scale of their own.
    """
    written = {name for line in text.values() for name in line.split("->")[1].split()}
    scales = {name.partition(":")[2] or name for name in written} - {"rgb", "logit"}
    return frozenset(scales if kind != "instance" else {s for s in scales if "/norm" in s or s in plain})


def discriminator_layout(config: Any) -> Layout:
    """The axes of D's leaves."""
    norm = config.d_norm or config.norm
    names = patchgan.blocks(config)
    text = layer_text("from_rgb", "rgb", "from_rgb", True)
    if config.d_condition:
        text |= layer_text("from_rgb", "rgb", "from_rgb", False, "input")
    read = "from_rgb"
    for name in names[1:]:
        text |= layer_text(name, read, name, norm == "instance") | norm_text(f"{name}/norm", name, norm, config.affine)
        read = behind(name, f"{name}/norm", norm)
    text["params/head/kernel"] = f"h w {read} -> logit"
    if config.d_kind == "patch" or norm == "instance":
        text["params/head/bias"] = "-> logit"
    return Layout(text, free_scales(text, norm, ("from_rgb",)))


def discriminator_roles(config: Any) -> dict[str, Part]:
    """What each leaf of D is for: first for a D of the same kind, leaf by leaf, then for any (`families.cross`)."""
    smooth = getattr(config, "antialias", False)
    kind = f"{config.d_kind} D of {config.d_layers}{' smooth' if smooth else ''} layers"
    text = discriminator_layout(config).text
    about = lambda path: (
        {} if not path.endswith("kernel") else {"inputs": [2]} | ({"colour": ("in", 2)} if "from_rgb" in path else {})
    )
    beside = lambda path: (INPUT,) if path == FROM_RGB else ()
    roles = {f"{kind}: {path}": Part((path,), (), {path: Fill((), about(path))}, beside(path)) for path in text}
    roles["from_rgb"] = Part((FROM_RGB,), (), {FROM_RGB: Fill()}, (INPUT,))
    if config.d_condition:
        roles["from_input"] = leaf(INPUT, **KINDS["from_rgb"])
    if config.d_kind == "pixel":
        return roles
    for i, name in enumerate(patchgan.blocks(config)):
        if i:  # from_rgb is the first to halve the size
            roles[f"down{2 ** (i + 1)}"] = leaf(f"params/{name}/conv/kernel")
            roles |= norm_roles(f"norm{2 ** (i + 1)}", f"{name}/norm", text)
    width = patchgan.widths(config)[-1]
    by_position = (("reshape", {"shape": [POSITIONS * width, 1]}),)
    roles["head"] = leaf("params/head/kernel", by_position, inputs=[2], heads="kernel")
    return roles


def norm_roles(role: str, name: str, text: Mapping[str, str]) -> dict[str, Part]:
    """The roles `role/scale` and so on of a norm, as far as it has leaves."""
    paths = {f"{role}/{part}": f"{kind}/{name}/{part}" for part, kind in NORM.items()}
    return {role: leaf(path) for role, path in paths.items() if path in text}


def discriminator(case: Case) -> list[Rule]:
    """A condition that says nothing yet, and norms that change nothing yet."""
    check(case, ("d_kind", "d_layers", "antialias"))
    fresh = [case.create(INPUT, "zero")] if INPUT in case.leaves and case.old and INPUT not in case.old else []
    return [*fresh, *new_affine(case)]


def new_affine(case: Case) -> list[Rule]:
    """Scale and bias of instance norms that had none."""
    kinds = [(c.d_norm or c.norm) if case.root == "d" else c.norm for c in (case.config, case.old_config)]
    if kinds != ["instance", "instance"] or not case.config.affine or case.old_config.affine or not case.old:
        return []
    shared = [path for path in case.leaves if path.endswith("/scale") and _kernel(path) in case.old]
    return [
        rule
        for path in shared
        for rule in (case.create(path, "fill", value=1.0), case.create(path[: -len("scale")] + "bias", "zero"))
    ]


def _kernel(scale: str) -> str:
    """The kernel before a norm: `params/layer1/conv/kernel`, `params/block0/conv1/kernel`."""
    return f"{scale.rpartition('/')[0].replace('norm', 'conv')}/kernel"


def check(case: Case, fields: Sequence[str]) -> None:
    """Refuses another value of a field that has no counterpart.

    Raises:
      PlanError: names the field.
    """
    for name in fields if case.old else ():
        old, new = (getattr(config, name, None) for config in (case.old_config, case.config))
        if old != new:
            raise PlanError(
                f"net.{name} goes from {old} to {new}, by which kernels read other sizes; keep it, or write rules of your "
                "own for make_plan"
            )
