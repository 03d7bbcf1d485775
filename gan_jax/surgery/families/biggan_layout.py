"""What the axes of every leaf of a BigGAN pair are.

No scale is free: kernels are divided by their largest singular value, and a norm's gain is 1 more than what is stored.
D's stream is named after the block that writes it; a block without a layer beside it ties what it reads to what it
writes. Queries and keys of attention share a number of channels, over which their product sums: the keys' kernel counts
as reading them, so that new ones are read with zero.
"""

from __future__ import annotations

from gan_jax.config import BigGANConfig
from gan_jax.nets.biggan import modulation, widths
from gan_jax.nets.biggan_d import stages
from gan_jax.surgery.families.layout import Layout

Text = dict[str, str]


def layouts(config: BigGANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": _generator(config), "d": _discriminator(config)}


def streams(config: BigGANConfig) -> dict[str, str]:
    """What each of D's blocks writes: a stream named after the block, or that which it reads."""
    names: dict[str, str] = {}
    before = "rgb"
    for stage in stages(config):
        before = names[stage.name] = stage.name if stage.has_skip else before
    return names


def _conv(name: str, read: str, write: str, spectral: bool, bias: bool = True) -> Text:
    """A convolution, or with `read` without height and width a dense layer."""
    text = {f"params/{name}/kernel": f"{read} -> {write}"}
    text |= {f"params/{name}/bias": f"-> {write}"} if bias else {}
    return text | ({f"spectral/{name}/u": f"-> {write}"} if spectral else {})


def _attention(name: str, stream: str, spectral: bool) -> Text:
    key, value = f"{name}/key", f"{name}/value"
    text = {f"params/{name}/gamma": "->"}
    text |= _conv(f"{name}/theta", f"h w {stream}", key, spectral, bias=False)
    text |= {
        **_conv(f"{name}/phi", "", key, spectral, bias=False),
        f"params/{name}/phi/kernel": f"h w {stream} {key} ->",
    }
    text |= _conv(f"{name}/g", f"h w {stream}", value, spectral, bias=False)
    return text | _conv(f"{name}/o", f"h w {value}", stream, spectral, bias=False)


def _norm(config: BigGANConfig, name: str, stream: str) -> Text:
    """A norm in a block: two layers that read class and latents, or two tables or vectors."""
    text = {f"batch_stats/{name}/{leaf}": f"-> {stream}" for leaf in ("mean", "var")}
    shared, part = modulation(config)
    for leaf in ("gain", "bias"):
        if shared or part:
            read = "joined" if part else "shared"
            text |= _conv(f"{name}/{leaf}", read, stream, config.g_spectral, bias=False)
        else:
            text[f"params/{name}/{leaf}"] = f"classes -> {stream}" if config.num_classes else f"-> {stream}"
    return text


def _generator(config: BigGANConfig) -> Layout:
    spectral, (shared, part) = config.g_spectral, modulation(config)
    text = _conv("stem", "z", "(4 4 b4)", spectral)
    if shared:
        text["params/shared/embedding"] = f"classes -> {'joined' if part else 'shared'}"
    for r in list(widths(config))[1:]:
        b, before = f"b{r}", f"b{r // 2}"
        text |= _norm(config, f"{b}/norm0", before) | _norm(config, f"{b}/norm1", f"{b}/conv0")
        text |= _conv(f"{b}/conv0", f"h w {before}", f"{b}/conv0", spectral)
        text |= _conv(f"{b}/conv1", f"h w {b}/conv0", b, spectral) | _conv(f"{b}/skip", f"h w {before}", b, spectral)
        text |= _attention(f"{b}/attention", b, spectral) if r in config.attention else {}
    top = f"b{config.resolution}"
    text |= {f"batch_stats/to_rgb_norm/{leaf}": f"-> {top}" for leaf in ("mean", "var")}
    text |= {f"params/to_rgb_norm/{leaf}": f"-> {top}" for leaf in ("scale", "bias")}
    return _layout(text | _conv("to_rgb", f"h w {top}", "rgb", spectral), spectral)


def _discriminator(config: BigGANConfig) -> Layout:
    text: Text = {}
    before, stream = "rgb", streams(config)
    for stage in stages(config):
        b, write = stage.name, stream[stage.name]
        text |= _conv(f"{b}/conv0", f"h w {before}", f"{b}/conv0", True) | _conv(
            f"{b}/conv1", f"h w {b}/conv0", write, True
        )
        text |= _conv(f"{b}/skip", f"h w {before}", write, True) if stage.has_skip else {}
        text |= _attention(f"{b}/attention", write, True) if stage.attends else {}
        before = write
    text |= _conv("head", before, "logit", True)
    if config.num_classes:
        text |= _conv("embed", before, "classes", True, bias=False)
        text |= {"params/embed/gain": "->"} if config.d_gain else {}
    return _layout(text, True)


def _layout(text: Text, spectral: bool) -> Layout:
    return Layout(text, spectral=tuple(path for path in text if path.endswith("kernel")) if spectral else ())
