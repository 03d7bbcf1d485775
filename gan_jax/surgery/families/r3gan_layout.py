"""What the axes of every leaf of an R3GAN pair are. Nothing is normalised, so that all scales are free.

A stream of channels runs through all blocks of a stage, and on through stages of the same width, between which there is
no transition. Within a block, channels are numbered by the group of the 3x3 convolution and by the place in the group:
whole groups may change places. Places could too, in each group by itself; here they are numbered in all groups at once
and alignment leaves them as they are.
"""

from __future__ import annotations

from gan_jax.config import R3GANConfig
from gan_jax.nets.r3gan import stages
from gan_jax.surgery.families.layout import Layout


def layouts(config: R3GANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def streams(config: R3GANConfig) -> dict[int, str]:
    """The stream at each resolution, named after the lowest one that it runs through."""
    names: dict[int, str] = {}
    width = {r: stage.width for r, stage in stages(config).items()}
    for r in width:
        names[r] = names[r // 2] if width[r] == width.get(r // 2) else f"b{r}"
    return names


def _blocks(config: R3GANConfig, r: int, stream: str) -> dict[str, str]:
    """The leaves of a stage's residual blocks."""
    stage, text = stages(config)[r], {}
    for block in (f"b{r}/res{i}" for i in range(stage.blocks)):
        runs = f"{block}/groups={stage.cardinality}"
        inner, outer = (f"{block}/{name}/place:{block}/{name}" for name in ("conv0", "conv1"))
        text |= {
            f"params/{block}/conv0/kernel": f"h w {stream} -> ({runs} {inner})",
            f"params/{block}/conv0/bias": f"-> ({runs} {inner})",
            f"params/{block}/conv1/kernel": f"h w {inner} -> ({runs} {outer})",
            f"params/{block}/conv1/bias": f"-> ({runs} {outer})",
            f"params/{block}/conv2/kernel": f"h w ({runs} {outer}) -> {stream}",
        }
    return text


def _layout(text: dict[str, str], free: set[str]) -> Layout:
    """With the scales of what blocks have inside: a factor for each channel, of any group and place."""
    convs = [path[7:-7] for path in text if path.endswith(("/conv0/kernel", "/conv1/kernel"))]
    joint = {name: (f"{name.rpartition('/')[0]}/groups", f"{name}/place") for name in convs}
    return Layout(text, frozenset(free | joint.keys()), (), joint, frozenset(place for _, place in joint.values()))


def _generator(config: R3GANConfig) -> Layout:
    stream = streams(config)
    text = {"params/embed/embedding": "classes -> joined"} if config.num_classes else {}
    text["params/stem/kernel"] = f"{'joined' if config.num_classes else 'z'} -> b4:stem"
    text["params/stem/basis"] = "h w -> b4:stem>b4"
    for r, name in stream.items():
        if name != stream.get(r // 2, "b4"):
            text[f"params/b{r}/transition/kernel"] = f"h w {stream[r // 2]} -> {name}"
        text |= _blocks(config, r, name)
    text["params/to_rgb/kernel"] = f"h w {stream[config.resolution]} -> rgb"
    return _layout(text, {"stem", *stream.values()})


def _discriminator(config: R3GANConfig) -> Layout:
    stream = streams(config)
    text = {"params/from_rgb/kernel": f"h w rgb -> {stream[config.resolution]}"}
    for r in reversed(stream):
        text |= _blocks(config, r, stream[r])
        if r > 4 and stream[r] != stream[r // 2]:
            text[f"params/b{r}/transition/kernel"] = f"h w {stream[r]} -> {stream[r // 2]}"
    labels = bool(config.num_classes)
    text["params/head/basis"] = "h w 1 -> b4:b4>head"
    text["params/head/kernel"] = f"b4:head -> {'features' if labels else 'logit'}"
    text |= {"params/embed/embedding": "classes features ->"} if labels else {}
    return _layout(text, {"head", *stream.values(), *(["features"] if labels else [])})
