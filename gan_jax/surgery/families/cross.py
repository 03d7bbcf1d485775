"""Rules between families, by role: what a leaf is for in one network, in another network's leaf for the same.

Each family lists its roles and the path of the leaf that plays each, by resolution: `up8` makes the 8 px maps of G from
those of 4 px, `down8` those of D from 16 px, `norm8` is what G's 8 px maps pass on their way up. Roles that both have are
moved; what is left of the target is as fresh as `missing` allows, what is left of the source is unused.

Layer by layer much is exact: a 3x3 convolution after a doubling is a 4x4 transposed one, one before 2x2 means is a 4x4
with stride 2, a head over summed positions is the same head at every position, and a spectrally normalised kernel is its
kernel divided by its singular value. The network is not: skips, inner layers and other nonlinearities have no
counterpart. So the function is not preserved in either direction, and the plan says so (`pair_notes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gan_jax.config import DCGANConfig, NetConfig, ResNetConfig
from gan_jax.surgery.families.cross_fit import KINDS
from gan_jax.surgery.families.roles import DISCRIMINATORS, GENERATORS
from gan_jax.surgery.plan import Move, PlanError
from gan_jax.trees import Flat, Rule, Tree, flatten, match

Roles = dict[str, str]  # role -> path of its leaf, without the root
BY_POSITION = (DCGANConfig,)  # families whose head of D has a weight for each position of the last maps
NORM = {"scale": "params", "bias": "params", "mean": "batch_stats", "var": "batch_stats"}


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
    for config in (target_config, source_config):
        if type(config) not in ROLES:
            known = ", ".join(cls.__name__ for cls in ROLES)
            raise PlanError(
                f"no roles for {type(config).__name__}, only for {known}; write your own rules for make_plan"
            )
    target, source = flatten(target_specs), flatten(source_specs)
    rules: list[Rule] = []
    for root in dict.fromkeys(path.split("/")[0] for path in target):
        if root not in GENERATORS + DISCRIMINATORS:
            raise PlanError(f"no roles for {root!r}; a pair has {', '.join(GENERATORS + DISCRIMINATORS)}")
        net, origin = "g" if root in GENERATORS else "d", _origin(root, source, roots or {})
        new, old = ROLES[type(target_config)](target_config)[net], ROLES[type(source_config)](source_config)[net]
        for role in new:
            if role in old and f"{root}/{new[role]}" in target:
                args = _arguments(role, type(target_config), type(source_config), classes)
                rules += _rules(f"{root}/{new[role]}", f"{origin}/{old[role]}", target, source, args)
        rules.append(Rule(f"{root}/**", Move("fit")))  # plays a role of its own, so the source lacks it
    won = lambda rule, i: any(match(rule.pattern, p) and not any(match(r.pattern, p) for r in taken(i)) for p in target)
    taken = lambda i: [*first, *rules[:i]]
    return [*first, *(rule for i, rule in enumerate(rules) if won(rule, i))]


def pair_notes(target_config: NetConfig, source_config: NetConfig) -> tuple[str, ...]:
    """What a reader of the plan must know; empty within a family."""
    if type(target_config) is type(source_config):
        return ()
    old, new = (type(config).__name__.removesuffix("Config") for config in (source_config, target_config))
    return (
        f"{old} -> {new}: leaves are moved by their role and the function is not preserved; the shares say how much",
    )


def _arguments(role: str, target: type, source: type, classes: Any) -> dict[str, Any]:
    """The arguments of `across` for a role."""
    if role.startswith("norm"):
        return {"classes": classes}
    args = dict(KINDS[role.rstrip("0123456789")])
    if role == "head" and (target in BY_POSITION) != (source in BY_POSITION):
        args |= {"inputs": [1], "heads": "tile"} if target in BY_POSITION else {"heads": "mean"}
    return args


def _rules(path: str, origin: str, target: Flat, source: Flat, args: dict[str, Any]) -> list[Rule]:
    """The rule for the leaf of a role, and for its kernel's singular vector where the target has one."""
    vector = lambda path: path.replace("/params/", "/spectral/").removesuffix("kernel") + "u"
    if vector(origin) in source:
        args["unit"] = True
    if vector(path) not in target:
        return [Rule(path, Move("across", (origin,), args))]
    args["spectral"] = True
    shape = tuple(target[path].shape)
    return [
        Rule(path, Move("across", (origin,), args)),
        Rule(vector(path), Move("across_vector", (origin,), {**args, "shape": shape})),
    ]


def _origin(root: str, source: Flat, roots: Mapping[str, str]) -> str:
    """Where a network comes from: as named, or its own root, or the other generator."""
    present = {path.split("/")[0] for path in source}
    if root in roots and roots[root] not in present:
        raise PlanError(f"{root!r} should come from {roots[root]!r}, but the source has {', '.join(sorted(present))}")
    candidates = (roots.get(root, root), *(GENERATORS if root in GENERATORS else ()))
    return next((name for name in candidates if name in present), root)


def resnet_roles(config: ResNetConfig) -> dict[str, Roles]:
    """ResNet: blocks on a stream that is normalised before each block and at the end."""
    sizes = _sizes(config.resolution)
    before = {r: f"b{2 * r}/norm0" if r < config.resolution else "to_rgb_norm" for r in sizes}
    g = {"stem": "params/stem/kernel", "to_rgb": "params/to_rgb/kernel"}
    g |= {f"up{r}": f"params/b{r}/conv0/kernel" for r in sizes[1:]}
    g |= {f"norm{r}/{leaf}": f"{kind}/{before[r]}/{leaf}" for r in sizes for leaf, kind in NORM.items()}
    d = {"from_rgb": "params/from_rgb/kernel", "head": "params/head/kernel"}
    d |= {f"down{r}": f"params/b{2 * r}/conv1/kernel" for r in sizes[:-1]}
    return {"g": g, "d": d}


def dcgan_roles(config: DCGANConfig) -> dict[str, Roles]:
    """DCGAN: the layer next to the image changes the size too, so maps end at half the image's."""
    sizes = _sizes(config.resolution)[:-1]
    norms = {f"norm{r}/{leaf}": f"{kind}/norm{r}/{leaf}" for r in sizes for leaf, kind in NORM.items()}
    g = {"stem": "params/b4/kernel", "to_rgb": "params/to_rgb/kernel", **norms}
    g |= {f"up{r}": f"params/b{r}/kernel" for r in sizes[1:]}
    d = {"from_rgb": "params/from_rgb/kernel", "head": "params/head/kernel"}
    d |= {f"down{r}": f"params/b{r}/kernel" for r in sizes[:-1]}
    d |= {role: path for role, path in norms.items() if not role.startswith(f"norm{sizes[-1]}/")}
    return {"g": g, "d": d}


def _sizes(resolution: int) -> list[int]:
    return [2**i for i in range(2, resolution.bit_length())]


ROLES: dict[type, Callable[[Any], dict[str, Roles]]] = {ResNetConfig: resnet_roles, DCGANConfig: dcgan_roles}
