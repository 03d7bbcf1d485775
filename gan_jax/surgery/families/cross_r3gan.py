"""The roles of R3GAN's leaves: see `families.cross_parts`."""

from __future__ import annotations

from gan_jax.config import R3GANConfig
from gan_jax.nets import r3gan
from gan_jax.surgery.families.cross_parts import Fill, Part, Roles, leaf
from gan_jax.surgery.ops import Step


def roles(config: R3GANConfig) -> dict[str, Roles]:
    """R3GAN: transitions where widths differ are all that leads from size to size; blocks are given as one kernel."""
    all_stages = r3gan.stages(config)
    kernel, maps = "params/stem/kernel", "params/stem/basis"
    z, stem = config.z_dim, {"side": "first"}
    latents = {"sources": [0], "steps": [["slice", {"shape": [z, all_stages[4].width]}]]}
    spread: Step = ("nested", {"op": "spread", "args": stem, "inputs": [latents, {"sources": [1], "steps": []}]})
    part = lambda side, name: (("rank_one", {"side": side, "part": name}),)
    fills = {
        kernel: Fill(part("first", "weights"), {"inputs": [0], "limit": [0, z]}),
        maps: Fill(part("first", "maps"), {}),
    }
    g = {"stem": Part((kernel, maps), (spread,), fills), "const": leaf(maps, takes=(("unit_rms", {}),))}
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
