"""Rules between families: the role of a leaf in one network, and the leaf of that role in the other.

Each family lists its roles and the leaves that play each, by resolution (`Part`). Roles that both have are
moved, each source leaf in one role only; what is left of the target is as fresh as `missing` allows, what is left of the
source is unused.

Layer by layer much is exact: a 3x3 convolution after a doubling is a 4x4 transposed one, one before 2x2 means is a 4x4
with stride 2, a head over summed positions is the same head at every position, a spectrally normalised kernel is its
kernel divided by its singular value, an equalised one its weights times the scale of their use, and a map for each channel
is a dense layer by position of rank one. The network is not: skips, inner layers, norms, styles and other nonlinearities
have no counterpart. So the function is not preserved in any direction, and the plan says so (`pair_notes`).

Networks from images to images have no size of their own: of them, and of what they are filled from, layers are counted
from the image. Among themselves an encoder's first layer becomes the first, and a decoder's last the last.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gan_jax.config import NETS, BigGANConfig, DCGANConfig, NetConfig, ResNetConfig, SNGANConfig, family_title
from gan_jax.nets import biggan, resnet, sngan
from gan_jax.roots import origins, pair_part
from gan_jax.surgery.families.case import GENERATORS, winning
from gan_jax.surgery.families.fit import fit
from gan_jax.surgery.families.layout import families_with, part_of
from gan_jax.surgery.ops import Step, lookup, shape_of_steps
from gan_jax.surgery.ops.basic import Args, OpError, Shape
from gan_jax.surgery.plan import Action, PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten

# ----------------------------------------------------------------------------------------------------------------------
# What plays a role in a family, and how it is stored there.
#
# | role, of G | leaf |
# |---|---|
# | `stem` | from latents to 4x4 maps |
# | `const` | the maps where latents say nothing |
# | `up8` | makes the 8 px maps from those of 4 px |
# | `same8` | a further convolution of the 8 px maps |
# | `skip8` | the linear way from 4 px to 8 px beside convolutions |
# | `norm8` | what 8 px maps pass on their way up |
# | `to_rgb`, `to_rgb8` | from maps to the image; from 8 px maps |
#
# Of D: `from_rgb`, `down8` (from 16 px), `same8`, `skip8` and `head`. Between families a layer is passed on in a plain form:
# the kernel `[k, k, I, O]` that computes, dense layers by position as `[z, (4 4 C)]` and `[(4 4 C), 1]`.
#
# Of networks from images to images, and beside them, a number is not a size in px but how many times smaller than the image
# maps are: `up2`, `norm2`, `down4` (`by_stride`). Their own roles in G, which unconditional families do not have:
#
# | role | leaf |
# |---|---|
# | `read` | the encoder's first convolution |
# | `halve1`, `halve2` | those that halve the size behind it, in their order |
# | `double1`, `double2` | those that double the size, from the image downwards, but for `to_rgb` |
# | `norm_read/scale`, `norm_halve1/scale` | the norm behind each |

POSITIONS = 16  # 4 x 4: where maps begin in G and end in D


class Fill(NamedTuple):
    """How a leaf is filled from the plain form: operations, and what `across` has to know instead of the role's own."""

    takes: tuple[Step, ...] = ()
    about: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """What plays a role.

    Attributes:
      reads: leaves that are read.
      gives: the operations to the plain form.
      fills: leaves that are filled from it.
      beside: kernels of a second input of the layer, which start at zero where the role is filled and the source has none.
    """

    reads: tuple[str, ...]
    gives: tuple[Step, ...] = ()
    fills: Mapping[str, Fill] = dataclasses.field(default_factory=dict)
    beside: tuple[str, ...] = ()


Roles = Mapping[str, Part]


def leaf(path: str, gives: tuple[Step, ...] = (), takes: tuple[Step, ...] = (), **about: Any) -> Part:
    """A role of one leaf."""
    return Part((path,), gives, {path: Fill(takes, about or None)})


# ----------------------------------------------------------------------------------------------------------------------
# Which leaf plays which role in families whose kernels compute as they are stored.

NORM = {"scale": "params", "bias": "params", "mean": "batch_stats", "var": "batch_stats"}


def resnet_roles(config: ResNetConfig) -> dict[str, Roles]:
    """ResNet: blocks on a stream that is normalised before each block and at the end; D's head sums over positions."""
    sizes, width = _sizes(config.resolution), resnet.widths(config)[4]
    before = {r: f"b{2 * r}/norm0" if r < config.resolution else "to_rgb_norm" for r in sizes}
    layers = {"skip": "skip", "up": "conv0", "same": "conv1"}
    g = {"stem": leaf("params/stem/kernel"), "const": leaf("params/stem/bias")}
    g |= {f"{role}{r}": leaf(f"params/b{r}/{name}/kernel") for r in sizes[1:] for role, name in layers.items()}
    g |= {name: leaf("params/to_rgb/kernel") for name in (f"to_rgb{config.resolution}", "to_rgb")}
    g |= {f"norm{r}/{name}": leaf(f"{kind}/{before[r]}/{name}") for r in sizes for name, kind in NORM.items()}
    d = {"from_rgb": leaf("params/from_rgb/kernel"), "head": _summed(width)}
    layers = {"skip": "skip", "down": "conv1"}
    d |= {f"{role}{r}": leaf(f"params/b{2 * r}/{name}/kernel") for r in sizes[:-1] for role, name in layers.items()}
    d |= {f"same{r}": leaf(f"params/b{r}/conv0/kernel") for r in sizes}
    return {"g": g, "d": d}


def sngan_roles(config: SNGANConfig) -> dict[str, Roles]:
    """SNGAN as published: as ResNet, but D's first block reads the image, and maps may begin and end at any size."""
    width, d_stages = sngan.widths(config), sngan.stages(config)
    sizes, layers = list(width), {"skip": "skip", "up": "conv0", "same": "conv1"}
    before = {r: f"b{2 * r}/norm0" if r < config.resolution else "to_rgb_norm" for r in sizes}
    g = {"stem": leaf("params/stem/kernel"), "const": leaf("params/stem/bias")} if sizes[0] == 4 else {}
    g |= {f"{role}{r}": leaf(f"params/b{r}/{name}/kernel") for r in sizes[1:] for role, name in layers.items()}
    g |= {name: leaf("params/to_rgb/kernel") for name in (f"to_rgb{config.resolution}", "to_rgb")}
    g |= {f"norm{r}/{name}": leaf(f"{kind}/{before[r]}/{name}") for r in sizes for name, kind in NORM.items()}
    d = {"from_rgb": leaf(f"params/{d_stages[0].name}/conv0/kernel"), "head": _summed(d_stages[-1].features)}
    for r, stage in {int(s.name[1:]): s for s in d_stages if s.down}.items():
        d |= {
            f"{role}{r // 2}": leaf(f"params/b{r}/{name}/kernel")
            for role, name in (("skip", "skip"), ("down", "conv1"))
        }
        d |= {} if stage.first else {f"same{r}": leaf(f"params/b{r}/conv0/kernel")}
    return {"g": g, "d": d}


def biggan_roles(config: BigGANConfig) -> dict[str, Roles]:
    """BigGAN: as SNGAN; what its norms multiply by and add is made of class and latents, and plays no role."""
    sizes, d_stages = list(biggan.widths(config)), biggan.stages(config)
    layers = {"skip": "skip", "up": "conv0", "same": "conv1"}
    g = {"stem": leaf("params/stem/kernel"), "const": leaf("params/stem/bias")}
    g |= {f"{role}{r}": leaf(f"params/b{r}/{name}/kernel") for r in sizes[1:] for role, name in layers.items()}
    g |= {name: leaf("params/to_rgb/kernel") for name in (f"to_rgb{config.resolution}", "to_rgb")}
    g |= {f"norm{config.resolution}/{name}": leaf(f"{kind}/to_rgb_norm/{name}") for name, kind in NORM.items()}
    for r in sizes[:-1]:
        g |= {f"norm{r}/{name}": leaf(f"batch_stats/b{2 * r}/norm0/{name}") for name in ("mean", "var")}
    d = {"from_rgb": leaf(f"params/{d_stages[0].name}/conv0/kernel"), "head": _summed(d_stages[-1].features)}
    for stage in (stage for stage in d_stages if "_" not in stage.name):
        r, b = int(stage.name[1:]), f"params/{stage.name}"
        d |= {f"down{r // 2}": leaf(f"{b}/conv1/kernel")} if stage.down else {}
        d |= {} if stage.first else {f"same{r}": leaf(f"{b}/conv0/kernel")}
        d |= {f"skip{r // 2}": leaf(f"{b}/skip/kernel")} if stage.down and not stage.first else {}
    return {"g": g, "d": d}


def _summed(width: int) -> Part:
    """A head `[C, 1]` over features that are summed over positions."""
    tile: Step = ("tile", {"axis": 0, "repeats": POSITIONS})
    everywhere = (tile, ("reshape", {"shape": [POSITIONS * width, 1]}))
    return leaf("params/head/kernel", everywhere, inputs=[0], heads="mean")


def dcgan_roles(config: DCGANConfig) -> dict[str, Roles]:
    """DCGAN: the layer next to the image changes the size too, so maps end at half the image's."""
    sizes = _sizes(config.resolution)[:-1]
    norms = {f"norm{r}/{name}": leaf(f"{kind}/norm{r}/{name}") for r in sizes for name, kind in NORM.items()}
    g = {"stem": leaf("params/b4/kernel"), "to_rgb": leaf("params/to_rgb/kernel"), **norms}
    g |= {f"up{r}": leaf(f"params/b{r}/kernel") for r in sizes[1:]}
    d = {"from_rgb": leaf("params/from_rgb/kernel"), "head": leaf("params/head/kernel")}
    d |= {f"down{r}": leaf(f"params/b{r}/kernel") for r in sizes[:-1]}
    d |= {role: part for role, part in norms.items() if not role.startswith(f"norm{sizes[-1]}/")}
    return {"g": g, "d": d}


def by_stride(roles: Roles, resolution: int) -> dict[str, Part]:
    """The roles, of maps of so many px, by how many times smaller than the image they are."""
    stride = lambda m: f"{m[1]}{resolution // int(m[2])}"
    return {
        re.sub(r"^(stem|const|up|same|skip|norm|to_rgb|down)(\d+)", stride, role): part for role, part in roles.items()
    }


def _sizes(resolution: int) -> list[int]:
    return [2**i for i in range(2, resolution.bit_length())]


# ----------------------------------------------------------------------------------------------------------------------
# Operations from a leaf of one family to the leaf of the same role in another.

# role, without its resolution -> the arguments of `across`
KINDS: dict[str, Mapping[str, Any]] = {
    "stem": {"inputs": [0], "fused": True},
    "const": {"fused": True},
    "up": {"inputs": [2], "resample": "fuse_up"},
    "same": {"inputs": [2]},
    "skip": {"inputs": [2]},
    "to_rgb": {"inputs": [2], "resample": "fuse_up", "colour": ("out", 3)},
    "down": {"inputs": [2], "resample": "fuse_down"},
    "from_rgb": {"inputs": [2], "resample": "fuse_down", "colour": ("in", 2)},
    "head": {"inputs": [1], "heads": "positions"},
    "read": {"inputs": [2], "resample": "fuse_down", "colour": ("in", 2)},
    "read_strided": {"inputs": [2], "colour": ("in", 2)},
    "halve": {"inputs": [2], "resample": "fuse_down"},
    "double": {"inputs": [2], "resample": "fuse_up"},
    "inner": {"inputs": [2]},
}


def across(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """As `fit`, for a leaf of another family.

    Args:
      shapes: of the sources; all are read.
      target: shape to reach.
      args: those of `fit`, and `unit`: the source's kernel is divided by its largest singular value; `gives`: the steps
        from the sources to the plain form (`Part`); `takes`: from there to the form of the target;
        `limit`: `[axis, n]`, of an axis that holds more than channels; `resample`: the operation between a kernel
        beside a resampling and one that resamples; `even`: the size of the latter, which the steps `then` make the
        target's kernel of; `fused`: the last axis holds positions and channels; `heads`: `positions` where the first
        axis does, `mean` where it does not any more: the weights of all for one, `kernel` where a kernel has them.
    """
    steps: list[Step] = []

    def current() -> Shape:
        return shape_of_steps(steps, shapes) if steps else tuple(shapes[0])

    role = {key: args[key] for key in ("inputs", "colour", "classes", "spectral") if key in args}
    if args.get("unit"):
        steps.append(("unit", {}))
    steps += [(name, arguments) for name, arguments in (*args.get("gives", ()), *args.get("takes", ()))]
    if "limit" in args:
        axis, n = args["limit"]
        if (shape := list(current()))[axis] > n:
            shape[axis] = n
            steps.append(("slice", {"shape": shape}))
    if "resample" in args:
        size = args.get("even")
        steps += _resampled(current(), (size, size, *target[2:]) if size else target, args["resample"])
    steps += [(name, arguments) for name, arguments in args.get("then", ())]
    if "fused" in args:
        steps += _fused(current(), target)
        if len(target) < 3:
            role["view"] = [_by_position(shape, len(shape) - 1) for shape in (current(), target)]
    if args.get("heads") == "positions":
        role["view"] = [_by_position(shape, 0) for shape in (current(), target)]
    elif args.get("heads") == "mean":
        width, outputs = current()
        steps.append(("reshape", {"shape": [POSITIONS, width // POSITIONS, outputs]}))
        steps.append(("mean", {"axis": 0}))
    elif args.get("heads") == "kernel":
        width, outputs = current()
        side = math.isqrt(POSITIONS)
        steps.append(("reshape", {"shape": [side, side, width // POSITIONS, outputs]}))
    return len(shapes), [*steps, *fit([current()], target, role)[1]]


def across_vector(shapes: Sequence[Shape], target: Shape, args: Args) -> tuple[int, list[Step]]:
    """The singular vector of a kernel that `across` makes, from that kernel's source; `args["shape"]` is the kernel's."""
    _, steps = across(shapes, tuple(args["shape"]), {k: v for k, v in args.items() if k != "shape"})
    steps = [*(step for step in steps if not lookup(step[0]).fresh), ("top_vector", {})]
    reached = shape_of_steps(steps, shapes)
    view = {"view": [_by_position(reached, 0), _by_position(target, 0)]} if "fused" in args else {}
    return len(shapes), steps if reached == target else [*steps, ("pad", {"shape": list(target), **view})]


def _resampled(shape: Shape, target: Shape, name: str) -> list[Step]:
    """From an odd kernel beside a resampling to an even one that resamples, or back; sizes that differ else are `fit`'s."""
    if len(shape) != 4 or len(target) != 4:
        raise OpError(f"{list(shape)} -> {list(target)} are no kernels [k, k, I, O]")
    old, new = shape[0], target[0]
    if (old - new) % 2 == 0:
        return []
    if old % 2:
        size = max(new, old + 1)
        fused: list[Step] = [(name, {"shape": [size, size, *shape[2:]]})]
        middle = {"shape": [new, new, *shape[2:]], "starts": [(size - new) // 2] * 2 + [0, 0]}
        return fused if size == new else [*fused, ("slice", middle)]
    size = min(new, old - 1)
    return [(name, {"shape": [size, size, *shape[2:]]})]


def _by_position(shape: Shape, axis: int) -> list[int]:
    """The shape with positions and channels along this axis taken apart."""
    sizes = [*shape]
    return [*sizes[:axis], POSITIONS, sizes[axis] // POSITIONS, *sizes[axis + 1 :]]


def _fused(shape: Shape, target: Shape) -> list[Step]:
    """From maps `[4, 4, C]` to the bias `[(4 4 C)]` of a dense layer, or back."""
    if len(shape) == 3 and len(target) == 1:
        return [("reshape", {"shape": [math.prod(shape)]})]
    return (
        [("reshape", {"shape": [*target[:2], shape[0] // POSITIONS]})] if len(shape) == 1 and len(target) == 3 else []
    )


# ----------------------------------------------------------------------------------------------------------------------
# Rules between families, and what a plan says about them.

RESOLVERS: dict[str, Callable[[Sequence[Shape], Shape, Args], tuple[int, list[Step]]]] = {
    "across": across,
    "across_vector": across_vector,
}


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
    new_roles, old_roles = _roles_of_both(target_config, source_config)
    target, source = flatten(target_specs), flatten(source_specs)
    rules: list[Rule] = []
    for root in dict.fromkeys(path.split("/")[0] for path in target):
        net, origin = pair_part(root), _origin(root, source, roots or {})
        if net is None:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join((*GENERATORS, 'd'))}")
        new, old = new_roles[net], old_roles[net]
        moved = moves(new, old)
        for path, role in moved.items():
            if f"{root}/{path}" in target:
                reads = tuple(f"{origin}/{name}" for name in old[role].reads)
                args = _arguments(role, old[role], new[role].fills[path], classes)
                rules += _rules(f"{root}/{path}", reads, target, source, args)
        beside = dict.fromkeys(path for role in moved.values() for path in new[role].beside if path not in moved)
        rules += [Rule(f"{root}/{path}", Action("zero", ())) for path in beside if f"{root}/{path}" in target]
        for path in (path for path in target if path.startswith(f"{root}/") and path in source):
            name = f"{path} as {title_of(target_config)} has it"  # the path alone is shared
            rules.append(Rule(path, Action("fit", (name,))))
        rules.append(Rule(f"{root}/**", Action("fit")))  # plays a role of its own, so the source lacks it
    return winning(first, rules, target)


def pair_notes(target_config: NetConfig, source_config: NetConfig) -> tuple[str, ...]:
    """Notes for the reader of a plan between families; none within a family."""
    if type(target_config) is type(source_config):
        return ()
    old, new = title_of(source_config), title_of(target_config)
    return (
        f"{old} -> {new}: leaves are moved by their role and the function is not preserved; the shares say how much",
    )


def title_of(config: NetConfig) -> str:
    """The title of a family, or of a feature network."""
    return getattr(config, "title", None) or family_title(config)


def _roles_of_both(target: NetConfig, source: NetConfig) -> tuple[Mapping[str, Roles], Mapping[str, Roles]]:
    """The roles of the target and of the source, maps named alike in both."""
    new, old = roles_of(target), roles_of(source)
    if target.translates != source.translates and hasattr(source, "resolution"):  # a feature network has no size
        strides = lambda config, roles: {net: by_stride(parts, config.resolution) for net, parts in roles.items()}
        return (new, strides(source, old)) if target.translates else (strides(target, new), old)
    return new, old


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
    candidates = (roots.get(root, root), *(GENERATORS if root in GENERATORS else origins(root)))
    return next((name for name in candidates if name in present), root)
