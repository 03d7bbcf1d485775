"""The roles of StyleGAN2's leaves: see `families.cross_parts`."""

from __future__ import annotations

import math

from gan_jax.config import StyleGAN2Config
from gan_jax.nets import stylegan2
from gan_jax.nets.stylegan2_d import HALF
from gan_jax.surgery.families.cross_parts import POSITIONS, Fill, Part, Roles, leaf
from gan_jax.surgery.ops import Step
from gan_jax.surgery.ops.forms import SLOPE

ROOT2 = math.sqrt(2)  # that follows StyleGAN2's leaky ReLUs


def roles(config: StyleGAN2Config) -> dict[str, Roles]:
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
            [["scale", {"factor": x}]]
            for x in (SLOPE * ROOT2 / math.sqrt(POSITIONS * width[4]), 1 / math.sqrt(width[4]))
        ]
        inputs = [{"sources": [i], "steps": own} for i, own in enumerate(steps)]
        fold: Step = ("nested", {"op": "fold_linear", "args": {}, "inputs": inputs})
        d["head"] = Part(("params/b4/fc/kernel", "params/b4/out/kernel"), (fold,))
    return {"g": g, "d": d}
