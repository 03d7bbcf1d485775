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

from gan_jax.trees import did_you_mean

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
class LossConfig:
    name: Literal["non_saturating", "hinge", "wasserstein", "least_squares", "relativistic"] = "hinge"  # adversarial loss
    r1_gamma: float = 0.0  # weight of gamma/2 |grad D(real)|^2; 0 = off
    r2_gamma: float = 0.0  # the same on generated images; 0 = off
    gp_lambda: float = 0.0  # weight of WGAN-GP's (|grad D(mix)| - 1)^2; 0 = off
    penalty_interval: int = 1  # penalties every so many D updates, scaled up by as much (lazy regularisation)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    policy: tuple[Literal["color", "translation", "cutout"], ...] = ()  # DiffAugment on what D sees; empty = off


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
    features: str = "fashion-v1"  # feature network
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
    shape: Literal["error", "adapt"] = "adapt"  # a leaf of another shape; adapt = widen, slice, resize by its role


@dataclasses.dataclass(frozen=True)
class FreezeDConfig(FinetuneConfig):
    """Fine-tune with the image-side blocks of D frozen (Freeze-D)."""

    blocks: int = 1  # how many of D's blocks stay frozen, counted from the image


NetConfig = Union[ResNetConfig, DCGANConfig]
MethodConfig = Union[ScratchConfig, FinetuneConfig, FreezeDConfig]


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
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise ConfigError("this configuration cannot run:\n" + "\n".join(f"  - {text}" for text in problems))
        return self

    def _checks(self) -> list[tuple[bool, str]]:
        net, loss, optim, train, data = self.net, self.loss, self.optim, self.train, self.data
        dispatch = train.batch * train.steps_per_dispatch
        num_classes = getattr(net, "num_classes", 0)
        transfer = self.transfer
        checks = [
            (net.resolution < 16 or net.resolution & (net.resolution - 1) != 0,
             f"net.resolution is {net.resolution}; use a power of two from 16"),
            (net.channels not in (1, 3, 4), f"net.channels is {net.channels}; use 1 (grey), 3 (RGB) or 4 (RGBA)"),
            (net.z_dim < 1, f"net.z_dim is {net.z_dim}; use at least 1"),
            (min(net.channel_base // net.resolution, net.channel_max) < 1,
             f"net.channel_base {net.channel_base} leaves no channel at {net.resolution} px; use at least {net.resolution}"),
            (num_classes < 0 or num_classes == 1, f"net.num_classes is {num_classes}; use 0 (unconditional) or at least 2"),
            (train.batch < 1 or train.kimg <= 0 or train.d_steps < 1 or train.steps_per_dispatch < 1,
             "train.batch, train.kimg, train.d_steps and train.steps_per_dispatch must be positive"),
            (train.devices is not None and train.devices > 0 and train.batch % train.devices != 0,
             f"train.batch {train.batch} does not divide over {train.devices} devices; use a multiple of {train.devices}"),
            (train.devices is not None and train.devices < 1, "train.devices must be positive, or None for all"),
            (0 < train.kimg * 1000 < dispatch,
             f"train.kimg {train.kimg:g} is shorter than one dispatch of {dispatch} images (batch x steps_per_dispatch); "
             "lower train.steps_per_dispatch"),
            (loss.penalty_interval < 1, "loss.penalty_interval must be at least 1"),
            (loss.name == "wasserstein" and loss.gp_lambda <= 0,
             "loss.name wasserstein wants a gradient penalty; set loss.gp_lambda (10 in the paper)"),
            (min(loss.r1_gamma, loss.r2_gamma, loss.gp_lambda) < 0, "penalty weights must not be negative"),
            (loss.gp_lambda > 0 and isinstance(net, DCGANConfig),
             "loss.gp_lambda takes the gradient of each image by itself, but DCGAN's discriminator has batch norm; "
             "use net:res-net-config, or r1_gamma"),
            (optim.lr <= 0 or (optim.d_lr is not None and optim.d_lr <= 0), "optim.lr and optim.d_lr must be positive"),
            (not (0 <= optim.b1 < 1 and 0 <= optim.b2 < 1), "optim.b1 and optim.b2 must lie in [0, 1)"),
            (optim.clip_norm is not None and optim.clip_norm <= 0, "optim.clip_norm must be positive, or None"),
            (self.ema.half_life_kimg < 0, "ema.half_life_kimg must not be negative"),
            (data.shots is not None and data.shots < 1, "data.shots must be positive, or None for all images"),
            (self.checkpoint.keep_last < 1, "checkpoint.keep_last must be at least 1; to save nothing set every_kimg None"),
            (self.checkpoint.keep_best and self.evaluate.every_kimg is None,
             "checkpoint.keep_best wants evaluations to compare; set evaluate.every_kimg"),
            (self.evaluate.n_fake < 2, "evaluate.n_fake must be at least 2"),
            (isinstance(transfer, FreezeDConfig) and transfer.blocks < 1,
             "transfer.blocks must be at least 1; to freeze nothing use finetune"),
            (isinstance(transfer, FreezeDConfig) and transfer.networks == "g",
             "transfer.networks g leaves a fresh D, whose blocks must not be frozen; use both or d"),
            (isinstance(transfer, FinetuneConfig) and transfer.networks == "g" and transfer.d_warmup_kimg <= 0,
             "transfer.networks g starts from a fresh D, which would destroy the pretrained G; set transfer.d_warmup_kimg"),
            (isinstance(transfer, FinetuneConfig) and transfer.d_warmup_kimg >= train.kimg,
             "transfer.d_warmup_kimg must be shorter than train.kimg"),
        ]
        return checks


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
            raise ConfigError(f"{where} has no field {name!r}{did_you_mean(name, names)}; its fields are {', '.join(names)}")
    return cls(**{name: _parse(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def differences(a: Any, b: Any) -> list[str]:
    """One line for every field in which two configurations differ: `train.seed: 0 -> 1`."""
    from gan_jax.trees import flatten

    as_flat = lambda c: {k: v for k, v in flatten(_wrap_none(to_dict(c))).items()}  # noqa: E731
    old, new = as_flat(a), as_flat(b)
    show = lambda flat, key: repr(flat[key]) if key in flat else "absent"  # noqa: E731
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
    return [option for option in options if dataclasses.is_dataclass(option)]


def _parse(hint: Any, value: Any, where: str) -> Any:
    if members := _dataclasses_in(hint):
        if isinstance(value, dict) and len(members) > 1:
            kinds = {member.__name__: member for member in members}
            value = dict(value)
            kind = value.pop("kind", None)
            if kind not in kinds:
                raise ConfigError(f"{where}.kind is {kind!r}; use one of {', '.join(kinds)}{did_you_mean(str(kind), kinds)}")
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
            raise ConfigError(f"{where} is {value!r}; use one of {', '.join(map(repr, args))}{did_you_mean(str(value), args)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and (type(value) is not hint):
        raise ConfigError(f"{where} must be {hint.__name__}, not {value!r}")
    return value
