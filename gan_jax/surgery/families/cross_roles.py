"""Which leaf plays which role in families whose kernels compute as they are stored; `families.cross_parts` has the roles."""

from __future__ import annotations

from gan_jax.config import BigGANConfig, DCGANConfig, ResNetConfig, SNGANConfig
from gan_jax.nets import biggan, biggan_d, resnet, sngan
from gan_jax.surgery.families.cross_parts import POSITIONS, Part, Roles, leaf
from gan_jax.surgery.ops import Step

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
    sizes, d_stages = list(biggan.widths(config)), biggan_d.stages(config)
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


def _sizes(resolution: int) -> list[int]:
    return [2**i for i in range(2, resolution.bit_length())]
