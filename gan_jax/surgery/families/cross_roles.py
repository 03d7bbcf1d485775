"""Which leaf plays which role in each family, and how it is stored there.

| role, of G | leaf |
|---|---|
| `stem` | from latents to 4x4 maps |
| `const` | the maps where latents say nothing |
| `up8` | makes the 8 px maps from those of 4 px |
| `same8` | a further convolution of the 8 px maps |
| `skip8` | the linear way from 4 px to 8 px beside convolutions |
| `norm8` | what 8 px maps pass on their way up |
| `to_rgb`, `to_rgb8` | from maps to the image; from 8 px maps |

Of D: `from_rgb`, `down8` (from 16 px), `same8`, `skip8` and `head`. Between families a layer is passed on in a plain form:
the kernel `[k, k, I, O]` that computes, dense layers by position as `[z, (4 4 C)]` and `[(4 4 C), 1]`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gan_jax.config import DCGANConfig, R3GANConfig, ResNetConfig, SNGANConfig, StyleGAN2Config
from gan_jax.nets import r3gan, resnet, sngan, stylegan2
from gan_jax.nets.stylegan2_d import HALF
from gan_jax.surgery.ops import Step

NORM = {"scale": "params", "bias": "params", "mean": "batch_stats", "var": "batch_stats"}
POSITIONS = 16  # 4 x 4: where maps begin in G and end in D
ROOT2 = math.sqrt(2)  # that follows StyleGAN2's leaky ReLUs


class Fill(NamedTuple):
    """How a leaf is filled from the plain form: operations, and what `across` has to know instead of the role's own."""

    takes: tuple[Step, ...] = ()
    about: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """What plays a role: leaves that are read, the operations to the plain form, and leaves that are filled from it."""

    reads: tuple[str, ...]
    gives: tuple[Step, ...] = ()
    fills: Mapping[str, Fill] = dataclasses.field(default_factory=dict)


Roles = Mapping[str, Part]


def leaf(path: str, gives: tuple[Step, ...] = (), takes: tuple[Step, ...] = (), **about: Any) -> Part:
    """A role of one leaf."""
    return Part((path,), gives, {path: Fill(takes, about or None)})


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
    width, found = sngan.widths(config), sngan.stages(config)
    sizes, layers = list(width), {"skip": "skip", "up": "conv0", "same": "conv1"}
    before = {r: f"b{2 * r}/norm0" if r < config.resolution else "to_rgb_norm" for r in sizes}
    g = {"stem": leaf("params/stem/kernel"), "const": leaf("params/stem/bias")} if sizes[0] == 4 else {}
    g |= {f"{role}{r}": leaf(f"params/b{r}/{name}/kernel") for r in sizes[1:] for role, name in layers.items()}
    g |= {name: leaf("params/to_rgb/kernel") for name in (f"to_rgb{config.resolution}", "to_rgb")}
    g |= {f"norm{r}/{name}": leaf(f"{kind}/{before[r]}/{name}") for r in sizes for name, kind in NORM.items()}
    d = {"from_rgb": leaf(f"params/{found[0].name}/conv0/kernel"), "head": _summed(found[-1].features)}
    for r, stage in {int(s.name[1:]): s for s in found if s.down}.items():
        d |= {
            f"{role}{r // 2}": leaf(f"params/b{r}/{name}/kernel")
            for role, name in (("skip", "skip"), ("down", "conv1"))
        }
        d |= {} if stage.first else {f"same{r}": leaf(f"params/b{r}/conv0/kernel")}
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


def stylegan2_roles(config: StyleGAN2Config) -> dict[str, Roles]:
    """StyleGAN2: stored weights times 1 / sqrt(fan-in), styles as they are on average, sqrt(2) behind nonlinearities.

    Demodulated kernels have no size. Those that make maps larger are convolved, all others correlated.
    """
    width = stylegan2.widths(config)

    def styled(name: str, up: bool = False) -> Part:
        path, turn = f"params/synthesis/{name}", (("flip", {}),) * up
        reads = (f"{path}/kernel", f"{path}/affine/bias")
        gives = (("modulated", {"demodulated": True, "gain": ROOT2}), *turn)
        return Part(reads, gives, {reads[0]: Fill((("unit_rms", {}), *turn))})

    def to_rgb(r: int) -> Part:
        path, root = f"params/synthesis/b{r}/to_rgb", math.sqrt(width[r])
        reads = (f"{path}/kernel", f"{path}/affine/bias")
        return Part(reads, (("modulated", {"gain": 1 / root}),), {reads[0]: Fill((("scale", {"factor": root}),))})

    const = "params/synthesis/b4/const"
    g = {"const": leaf(const, takes=(("unit_rms", {}),)), "same4": styled("b4/conv1")}
    for r in list(width)[1:]:
        g |= {f"up{r}": styled(f"b{r}/conv0", up=True), f"same{r}": styled(f"b{r}/conv1")}
    g |= {f"to_rgb{r}": to_rgb(r) for r in width} | {"to_rgb": to_rgb(config.resolution)}

    def conv(name: str, inputs: int, gain: float, size: int = 3, more: int = 0) -> Part:
        root, cut = math.sqrt((inputs + more) * size**2) / gain, {"inputs": [2], "limit": [2, inputs]} if more else {}
        first: tuple[Step, ...] = (("slice", {"shape": [size, size, inputs, inputs]}),) if more else ()
        gives, takes = ({"factor": x} for x in (1 / root, root))
        return leaf(f"params/{name}/kernel", (*first, ("scale", gives)), (("scale", takes),), **cut)

    half = HALF if config.discriminator == "residual" else 1.0
    d = {"from_rgb": conv(f"b{config.resolution}/from_rgb", config.channels, ROOT2, 1)}
    for r in list(width)[1:]:
        if config.discriminator == "residual":
            d[f"skip{r // 2}"] = conv(f"b{r}/skip", width[r], half, 1)
        d[f"down{r // 2}"] = conv(f"b{r}/conv1", width[r], ROOT2 * half)
        d[f"same{r}"] = conv(f"b{r}/conv0", width[r], ROOT2)
    d["same4"] = conv("b4/conv", width[4], ROOT2, more=int(config.mbstd_group > 0))
    if not config.num_classes:  # the last two layers, as if they were linear; a head does not make two layers
        steps = [
            [["scale", {"factor": x}]] for x in (0.6 * ROOT2 / math.sqrt(POSITIONS * width[4]), 1 / math.sqrt(width[4]))
        ]
        inputs = [{"sources": [i], "steps": own} for i, own in enumerate(steps)]
        fold: Step = ("nested", {"op": "fold_linear", "args": {}, "inputs": inputs})
        d["head"] = Part(("params/b4/fc/kernel", "params/b4/out/kernel"), (fold,))
    return {"g": g, "d": d}


def r3gan_roles(config: R3GANConfig) -> dict[str, Roles]:
    """R3GAN: transitions where widths differ are all that leads from size to size; blocks are given as one kernel."""
    all_stages = r3gan.stages(config)
    kernel, maps = "params/stem/kernel", "params/stem/basis"
    z, stem = config.z_dim, {"side": "first"}
    latents = {"sources": [0], "steps": [["slice", {"shape": [z, all_stages[4].width]}]]}
    made: Step = ("nested", {"op": "spread", "args": stem, "inputs": [latents, {"sources": [1], "steps": []}]})
    part = lambda side, name: (("rank_one", {"side": side, "part": name}),)
    fills = {
        kernel: Fill(part("first", "weights"), {"inputs": [0], "limit": [0, z]}),
        maps: Fill(part("first", "maps"), {}),
    }
    g = {"stem": Part((kernel, maps), (made,), fills), "const": leaf(maps, takes=(("unit_rms", {}),))}
    g |= {name: leaf("params/to_rgb/kernel") for name in (f"to_rgb{config.resolution}", "to_rgb")}
    d = {"from_rgb": leaf("params/from_rgb/kernel")}
    for r, stage in all_stages.items():
        transition = leaf(f"params/b{r}/transition/kernel")
        if r > 4 and stage.width != all_stages[r // 2].width:
            g |= {f"skip{r}": transition, f"up{r}": transition}
            d |= {f"skip{r // 2}": transition, f"down{r // 2}": transition}
        blocks = [f"params/b{r}/res{i}/conv{j}/kernel" for i in range(stage.blocks) for j in range(3)]
        if blocks:
            g[f"same{r}"] = d[f"same{r}"] = Part(tuple(blocks), (("fold_residual", {}),))
    if not config.num_classes:
        kernel, maps = "params/head/kernel", "params/head/basis"
        fills = {kernel: Fill(part("last", "weights"), {"inputs": [0]}), maps: Fill(part("last", "maps"), {})}
        d["head"] = Part((kernel, maps), (("spread", {"side": "last"}),), fills)
    return {"g": g, "d": d}


def _sizes(resolution: int) -> list[int]:
    return [2**i for i in range(2, resolution.bit_length())]


ROLES: dict[type, Callable[[Any], dict[str, Roles]]] = {
    ResNetConfig: resnet_roles,
    DCGANConfig: dcgan_roles,
    StyleGAN2Config: stylegan2_roles,
    R3GANConfig: r3gan_roles,
    SNGANConfig: sngan_roles,
}
