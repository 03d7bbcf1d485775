"""What the axes of every leaf of a StyleGAN2 pair are, and which scales its function does not see.

Of G: each output filter of a demodulated kernel has a scale of its own that nothing sees; each style trades with what
it multiplies (the affine layer's column against the kernel's input axis); the mapping's leaky ReLUs pass scales on.
Of D: every activation does, unless it is clamped, or read by the minibatch deviation.

Two axes hold several things side by side and are left as they are (`joined`): the latents and the embedded label that
a conditional mapping reads, and the features at 4 px with the minibatch deviation.
"""

from __future__ import annotations

from gan_jax.config import StyleGAN2Config
from gan_jax.nets.stylegan2 import widths
from gan_jax.surgery.families.layout import Layout


def layouts(config: StyleGAN2Config) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def _dense(name: str, read: str, write: str) -> dict[str, str]:
    return {f"params/{name}/kernel": f"{read} -> {write}", f"params/{name}/bias": f"-> {write}"}


def _mapping(layers: int, labels: bool, read: str, write: str) -> tuple[dict[str, str], set[str]]:
    """(leaves, free scales) of a mapping network, whose last layer writes `write`."""
    text = _dense("mapping/embed", "classes", read if layers else write) if labels else {}
    hidden = [f"mapping/fc{i}" for i in range(layers - 1)]
    for i, (before, after) in enumerate(zip([read, *hidden], [*hidden, write])):
        text |= _dense(f"mapping/fc{i}", before, after) if layers else {}
    return text, set(hidden)


def _generator(config: StyleGAN2Config) -> Layout:
    labels = bool(config.num_classes)
    text, free = _mapping(config.mapping_layers, labels, "joined" if labels else "z", "styles")
    text["moving/mapping/w_avg"] = "-> styles"

    def modulated(name: str, read: str, write: str) -> None:
        style, leaf = f"{read}:{name}/style", f"params/synthesis/{name}"
        text.update(_dense(f"synthesis/{name}/affine", "styles", style))
        text.update({f"{leaf}/kernel": f"h w {style} -> {write}", f"{leaf}/bias": f"-> {write.partition(':')[0]}"})
        free.add(f"{name}/style")

    def styled(name: str, read: str) -> None:
        modulated(name, read, f"{name}:{name}/filter")
        free.add(f"{name}/filter")
        text[f"params/synthesis/{name}/noise_strength"] = "->"
        text[f"constants/synthesis/{name}/noise"] = "h w ->"

    before = "b4/const"
    text["params/synthesis/b4/const"] = "h w -> b4/const"
    for r in widths(config):
        if r > 4:
            styled(f"b{r}/conv0", before)
            before = f"b{r}/conv0"
        styled(f"b{r}/conv1", before)
        before = f"b{r}/conv1"
        modulated(f"b{r}/to_rgb", before, "rgb")
    return Layout(text, frozenset(free | {"styles"}))


def _discriminator(config: StyleGAN2Config) -> Layout:
    text: dict[str, str] = {}
    free: set[str] = set()
    sizes = [*reversed(widths(config))]
    at = {r: f"b{r}" if r > 4 or not config.mbstd_group else "joined" for r in sizes}

    def conv(name: str, read: str, write: str, bias: bool = True) -> None:
        text[f"params/{name}/kernel"] = f"h w {read} -> {write}"
        text.update({f"params/{name}/bias": f"-> {write}"} if bias else {})

    for r in sizes:
        if r == sizes[0] or config.discriminator == "skip":
            conv(f"b{r}/from_rgb", "rgb", at[r])
        if r > 4:
            conv(f"b{r}/conv0", at[r], f"b{r}/conv0")
            conv(f"b{r}/conv1", f"b{r}/conv0", at[r // 2])
            if config.discriminator == "residual":
                conv(f"b{r}/skip", at[r], at[r // 2], bias=False)
            free |= {at[r], f"b{r}/conv0"}
    conv("b4/conv", at[4], "b4/conv")
    free = set() if config.clamp else (free | {"b4/conv", at[4]}) - {"joined"}
    text |= _dense("b4/fc", "(4 4 b4/conv)", "fc")
    text |= _dense("b4/out", "fc", "cmap" if config.num_classes else "logit")
    free.add("fc")
    if config.num_classes:
        leaves, hidden = _mapping(config.d_mapping_layers, True, "embed", "cmap")
        text, free = text | leaves, free | hidden
    return Layout(text, frozenset(free))
