"""SNGAN as published: its layout, and what of it can grow.

Exact: wider, silently in D, in G by copies too; more latent dimensions; unconditional to conditional; classes chosen
from old ones; and the way back. The image is read and written by 3x3 convolutions within D's first and G's last layers,
so that no other resolution, number of blocks or of image channels has an exact counterpart: those are refused, and
`families.cross` moves such a pair to the ResNet pair, which has them.

Where an evaluation takes stored vectors of both sides, that of the inputs is padded as its kernel is.
"""

from __future__ import annotations

from gan_jax.config import SNGANConfig
from gan_jax.nets.sngan import stages, widths
from gan_jax.surgery.families.case import Case
from gan_jax.surgery.families.cross import sngan_roles as roles
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.families.resnet import generator_layout, projection
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Rule

FIXED = ("resolution", "channels", "upsample", "cut_skips", "estimate")


def generator(case: Case) -> list[Rule]:
    """Nothing beyond the layout."""
    _check(case)
    return []


def discriminator(case: Case) -> list[Rule]:
    """The gain of the projection term."""
    _check(case)
    return projection(case)


def _check(case: Case) -> None:
    """Refuses what has no counterpart."""
    config, was = case.config, case.old_config
    values = {f"net.{name}": (getattr(was, name), getattr(config, name)) for name in FIXED}
    for name in ("g_widths", "d_widths", "d_rest"):
        values[f"the length of net.{name}"] = len(getattr(was, name)), len(getattr(config, name))
    for name, (old, new) in values.items():
        if old != new:
            raise PlanError(
                f"{name} goes from {old} to {new}, which SNGANConfig has no way for; change widths, latents or classes, or "
                "transplant into a ResNetConfig, by role"
            )


def layouts(config: SNGANConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    return {"g": generator_layout(list(widths(config)), bool(config.num_classes)), "d": _discriminator(config)}


def _discriminator(config: SNGANConfig) -> Layout:
    text: dict[str, str] = {}

    def weighted(name: str, read: str, write: str, size: int) -> None:
        spatial = "h w " if size else ""
        text[f"params/{name}/kernel"] = f"{spatial}{read} -> {write}"
        text[f"params/{name}/bias"] = text[f"spectral/{name}/u"] = f"-> {write}"
        if config.estimate == "stored":
            inputs = str(config.channels) if read == "rgb" else read  # no colour can change here
            text[f"spectral/{name}/v"] = f"({size} {size} {inputs}) ->" if size else f"{inputs} ->"

    read = "rgb"
    for stage in stages(config):
        write = f"{stage.name}/out" if stage.has_skip else read  # else the shortcut is the identity
        weighted(f"{stage.name}/conv0", read, f"{stage.name}/conv0", 3)
        weighted(f"{stage.name}/conv1", f"{stage.name}/conv0", write, 3)
        if stage.has_skip:
            weighted(f"{stage.name}/skip", read, write, 1)
        read = write
    weighted("head", read, "logit", 0)
    if config.num_classes:
        text |= {"params/embed/embedding": f"classes {read} ->", "spectral/embed/u": f"-> {read}"}
        text["params/embed/gain"] = "->"
    return Layout(text, spectral=tuple(path for path in text if path.endswith(("kernel", "embedding"))))


__all__ = ["discriminator", "generator", "layouts", "roles"]
