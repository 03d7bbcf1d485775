"""What a run is: frozen dataclasses, one per concern, checked once by `validate`.

Every field says what it is, its unit, and what None or 0 turns off. A `Config` goes to JSON and back
without loss (`to_dict`, `from_dict`), and a run can be started from that file alone. Choices that exclude
each other (networks, transfer methods) are unions of dataclasses, so an impossible mixture cannot be written.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar, Union

from gan_jax.trees import did_you_mean, flatten

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot run; the message says which field and what to change."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: str = "embedded:fashion-mnist"  # embedded:NAME, tfds:NAME[:SPLIT], folder:PATH, zip:PATH or npz:PATH
    classes: tuple[int, ...] | None = None  # labels to keep; None = all
    shots: int | None = None  # size of a seeded subset to train on; None = all images
    subset_seed: int = 0  # which subset
    mirror: bool = False  # random horizontal flips of real images
    pipeline: Literal["auto", "device", "grain"] = "auto"  # device = the set lives on the device; auto = by its size


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """ResNet pair of SNGAN: generator with batch norm, discriminator with spectral norm."""

    resolution: int = 32  # height and width, px; a power of two from 16
    channels: int = 1  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else conditional normalisation and a projection discriminator
    z_dim: int = 64  # latent size
    channel_base: int = 1024  # width of a block at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 32  # largest width of a block
    kernel: int = 3  # size of the residual branches' convolutions, px; odd
    depth: int = 1  # residual blocks at each resolution
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; parameters, statistics and losses stay float32


@dataclasses.dataclass(frozen=True)
class DCGANConfig:
    """DCGAN pair: transposed convolutions in G, strided ones in D, batch norm in both."""

    resolution: int = 64  # height and width, px; a power of two from 16
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    z_dim: int = 100  # latent size
    channel_base: int = 4096  # width at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 512  # largest width
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config:
    """StyleGAN2 pair, in its ADA version: mapping and modulated convolutions in G, no batch norm anywhere."""

    resolution: int = 256  # height and width, px; a power of two from 8
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels enter the mapping, and D projects on them
    z_dim: int = 512  # latent size
    w_dim: int = 512  # style size
    mapping_layers: int = 8  # of G's mapping network
    channel_base: int = 32768  # width at resolution r is min(channel_base / r, channel_max)
    channel_max: int = 512  # largest width
    style_mixing: float = 0.9  # share of training images whose upper layers take another latent's styles; 0 = off
    discriminator: Literal["residual", "skip", "orig"] = "residual"  # D's architecture
    d_mapping_layers: int = 8  # of D's mapping network, where conditional
    mbstd_group: int = 4  # examples in a group of minibatch standard deviation; 0 = off
    clamp: float | None = None  # cut activations at +- this; 256 where dtype is bfloat16
    low_precision: int = 4  # how many of the highest resolutions compute in dtype
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype of the highest resolutions


@dataclasses.dataclass(frozen=True)
class R3GANConfig:
    """R3GAN pair: residual blocks with grouped convolutions, no norm, no style; lists go from 4 px upwards.

    The last value of a list holds at all higher resolutions, and those above `resolution` wait for growth.
    """

    resolution: int = 64  # height and width, px; a power of two from 8
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA
    num_classes: int = 0  # 0 = unconditional; else labels enter G beside the latents, and D projects on them
    z_dim: int = 64  # latent size
    widths: tuple[int, ...] = (768, 768, 768, 768, 384, 192, 96)  # channels at 4, 8, .. px
    cardinality: tuple[int, ...] = (96, 96, 96, 96, 48, 24, 12)  # groups of the 3x3 convolutions
    blocks: tuple[int, ...] = (2,)  # residual blocks at each resolution
    expansion: int = 2  # channels inside a block, in multiples of its width
    g_embed: int | None = None  # size of G's class embedding; None = z_dim
    d_embed: int | None = None  # size of D's class embedding; None = the width at 4 px
    low_precision: int = 4  # how many of the highest resolutions compute in dtype; 4 px never does
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype of the highest resolutions


@dataclasses.dataclass(frozen=True)
class LossConfig:
    # adversarial loss
    name: Literal["non_saturating", "hinge", "wasserstein", "least_squares", "relativistic"] = "hinge"
    r1_gamma: float = 0.0  # weight of gamma/2 |grad D(real)|^2; 0 = off
    r2_gamma: float = 0.0  # the same on generated images; 0 = off
    gp_lambda: float = 0.0  # weight of WGAN-GP's (|grad D(mix)| - 1)^2; 0 = off
    penalty_interval: int = 1  # penalties every so many D updates, scaled up by as much (lazy regularisation)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    policy: tuple[Literal["color", "translation", "cutout"], ...] = ()  # DiffAugment on what D sees; empty = off
    # ADA pipeline on what D sees, in place of a policy; None = off
    ada: (
        Literal["blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"] | None
    ) = None
    ada_p: float = 0.0  # probability of each of its transforms at the start
    ada_target: float | None = 0.6  # mean sign of D's logits of real images that p aims at; None = p stays
    ada_kimg: float = 500.0  # thousand images in which p can go from 0 to 1; 100 suits fine-tuning


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    lr: float = 2e-4  # Adam step size of G and, unless d_lr says otherwise, of D
    d_lr: float | None = None  # step size of D; None = lr
    b1: float = 0.0  # Adam beta 1
    b2: float = 0.9  # Adam beta 2
    eps: float = 1e-8  # Adam epsilon
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # decay of the step size to 0 over train.kimg
    warmup_kimg: float = 0.0  # linear warm-up, thousand images; 0 = off
    clip_norm: float | None = None  # global gradient norm to clip at; None = off


@dataclasses.dataclass(frozen=True)
class EMAConfig:
    half_life_kimg: float = 10.0  # half-life of G's moving average, thousand images
    rampup: float | None = 0.05  # half-life is at most this share of the images seen; None = off


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    kimg: float = 100.0  # length: thousand real images shown to D
    batch: int = 32  # images in a batch, over all devices
    d_steps: int = 1  # D updates per G update
    steps_per_dispatch: int = 8  # steps inside one compiled loop; part of what makes a run reproducible
    seed: int = 0  # of weights, latents, data order and augmentation
    compile: Literal["jit", "pmap"] = "jit"  # jit over a mesh of devices, or pmap; both compute the same
    devices: int | None = None  # how many devices; None = all


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    every_kimg: float | None = 50.0  # thousand images between saves; None = no checkpoints
    keep_last: int = 2  # newest checkpoints to keep
    keep_best: bool = False  # also keep the best by evaluation


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    every_kimg: float | None = None  # thousand images between evaluations; None = at the end only
    n_fake: int = 2000  # generated images per evaluation
    features: str | None = "fashion-v1"  # feature network; None = no evaluation
    seed: int = 0  # of the latents
    stats_batches: int = 16  # batches of fresh latents to re-estimate batch statistics on; 0 = use the running ones


@dataclasses.dataclass(frozen=True)
class LogConfig:
    every_dispatches: int = 1  # dispatches between rows of metrics
    grid_every_kimg: float | None = None  # thousand images between sample grids; None = at the end only
    tensorboard: bool = True  # event files beside metrics.jsonl, where a writer is installed


@dataclasses.dataclass(frozen=True)
class ScratchConfig:
    """Train from fresh weights."""


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Transplant a pretrained pair, then train what was copied (TransferGAN)."""

    source: str = "embedded:fashion16"  # weights file, run folder or embedded pair
    networks: Literal["both", "g", "d"] = "both"  # which networks start from the source
    d_warmup_kimg: float = 0.0  # train D alone for so many thousand images first; wants > 0 when only G is copied
    missing: Literal["error", "init"] = "init"  # a target leaf that the source lacks
    unused: Literal["error", "drop"] = "error"  # a source leaf that the target lacks
    shape: str = "adapt"  # a leaf of another shape: error, adapt (by its role), or the operations allowed: slice,widen
    width: Literal["silent", "net2wider"] = "silent"  # wider by new silent channels, or by copies that share the work
    d_width: Literal["silent", "net2wider"] | None = None  # the same for D, silent under spectral norm; None = width
    narrow: Literal["leading", "strongest"] = "leading"  # narrower: the first channels, or the most important ones
    classes: tuple[int, ...] | None = None  # source class that each class starts from, -1 = mean; None = the same ones


@dataclasses.dataclass(frozen=True)
class FreezeDConfig(FinetuneConfig):
    """Fine-tune with the image-side blocks of D frozen (Freeze-D)."""

    blocks: int = 1  # how many of D's blocks stay frozen, counted from the image


NetConfig = ResNetConfig | DCGANConfig | StyleGAN2Config | R3GANConfig
MethodConfig = ScratchConfig | FinetuneConfig | FreezeDConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = DataConfig()
    net: NetConfig = ResNetConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    ema: EMAConfig = EMAConfig()
    train: TrainConfig = TrainConfig()
    transfer: MethodConfig = ScratchConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()

    def validate(self) -> Config:
        """Returns self, or raises `ConfigError` with every combination that cannot run and what to change."""
        from gan_jax.checks import problems  # which knows the classes of this module

        if found := list(problems(self)):
            raise ConfigError("this configuration cannot run:\n" + "\n".join(f"  - {text}" for text in found))
        return self


# -- JSON and back -------------------------------------------------------------------------------


def to_dict(config: Any) -> Any:
    """A dataclass as plain JSON values. Members of a union carry their class name under `kind`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        hints = typing.get_type_hints(type(config))
        out: dict[str, Any] = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            out[field.name] = to_dict(value)
            if len(_dataclasses_in(hints[field.name])) > 1:
                out[field.name] = {"kind": type(value).__name__, **out[field.name]}
        return out
    if isinstance(config, (tuple, list)):
        return [to_dict(value) for value in config]
    return config


def from_dict(cls: type[T], values: Any, where: str = "config") -> T:
    """Builds a dataclass from what `to_dict` gave; fields left out take their defaults.

    Raises:
      ConfigError: an unknown field (with the nearest known one), or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping of fields, not {values!r}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, cls))]
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{where} has no field {name!r}{did_you_mean(name, names)}; its fields are {', '.join(names)}"
            )
    return cls(**{name: _parse(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def net_to_dict(config: NetConfig) -> dict[str, Any]:
    """A network's configuration by itself, its class name under `kind`: what travels with weights."""
    return {"kind": type(config).__name__, **to_dict(config)}


def net_from_dict(values: Any, where: str = "net") -> NetConfig:
    """The inverse of `net_to_dict`."""
    return _parse(NetConfig, values, where)


def differences(a: Any, b: Any) -> list[str]:
    """One line for every field in which two configurations differ: `train.seed: 0 -> 1`."""
    as_flat = lambda c: flatten(_wrap_none(to_dict(c)))
    old, new = as_flat(a), as_flat(b)
    show = lambda flat, key: repr(flat[key]) if key in flat else "absent"
    return [
        f"{key.replace('/', '.')}: {show(old, key)} -> {show(new, key)}"
        for key in sorted({*old, *new})
        if key not in old or key not in new or old[key] != new[key]
    ]


def _wrap_none(value: Any) -> Any:
    """None would vanish from a pytree, and a list is one value here: both become leaves."""
    if isinstance(value, dict):
        return {k: _wrap_none(v) for k, v in value.items()}
    return "None" if value is None else str(value) if isinstance(value, list) else value


def _dataclasses_in(hint: Any) -> list[type]:
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]


def _parse(hint: Any, value: Any, where: str) -> Any:
    if members := _dataclasses_in(hint):
        if isinstance(value, dict) and len(members) > 1:
            kinds = {member.__name__: member for member in members}
            value = dict(value)
            kind = value.pop("kind", None)
            if kind not in kinds:
                raise ConfigError(
                    f"{where}.kind is {kind!r}; use one of {', '.join(kinds)}{did_you_mean(str(kind), kinds)}"
                )
            return from_dict(kinds[kind], value, where)
        return from_dict(members[0], value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _parse(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, not {value!r}")
        return tuple(_parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Literal:
        if value not in args:
            raise ConfigError(
                f"{where} is {value!r}; use one of {', '.join(map(repr, args))}{did_you_mean(str(value), args)}"
            )
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and (type(value) is not hint):
        raise ConfigError(f"{where} must be {hint.__name__}, not {value!r}")
    return value
