"""Choices for options that the user left out: networks, channels, size, method, features and length, from data and source.

A pure function of what is known before anything is loaded. The user's options always win. Every choice is a line of text,
and so is everything that a choice loses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from gan_jax.config import (
    Config,
    ConfigError,
    DCGANConfig,
    FinetuneConfig,
    FreezeDConfig,
    LossConfig,
    MLPConfig,
    NetConfig,
    OptimConfig,
    R3GANConfig,
    ScratchConfig,
    SNGANConfig,
    StyleGAN2Config,
    family_title,
    has_field,
    kind_of,
)
from gan_jax.data import Survey

FEW = 1000  # images below which a transfer is few-shot: augmentation, a short run, D's first block frozen
SHORT_KIMG, LONG_KIMG, FAST_KIMG = 10.0, 30.0, 100.0  # length: few-shot, with more images, on an accelerator
LEAST, MOST = 32, 64  # px: a smaller source grows to the first; networks from fresh weights have at most the second
PHOTOGRAPHS = ("mobilenetv2", "efficientnet-lite0")  # feature networks trained on photographs, the faster first
EVALUATIONS = 4  # in a run
FEW_FAKES = 500  # generated images where there are too few for a Frechet distance
AUGMENT: tuple[Any, ...] = ("color", "translation", "cutout")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A source, as its manifest describes it.

    Attributes:
      name: as `transfer.source` takes it.
      net: configuration of its networks.
      has: the networks that it holds, such as `{"g_ema", "d"}`.
      why: reason for the choice; empty where the user named it.
    """

    name: str
    net: NetConfig
    has: frozenset[str] = frozenset({"g_ema", "d"})
    why: str = ""

    def __str__(self) -> str:
        """`digiface64 (DCGAN, 64 px, colour, generator and discriminator)`."""
        both = {"g_ema": "generator", "d": "discriminator"}
        parts = " and ".join(word for root, word in both.items() if root in self.has)
        parts = parts if len(self.has & both.keys()) == 2 else f"{parts} only"
        return (
            f"{self.name} ({family_title(self.net)}, {self.net.resolution} px, {COLOURS[self.net.channels]}, {parts})"
        )


@dataclasses.dataclass(frozen=True)
class Choices:
    """A complete configuration, and a line for every choice."""

    config: Config
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine that a run can use.

    Attributes:
      features: feature networks in the cache.
      accelerator: whether there is one.
      cores: of the CPU.
      gflops: billions of operations of a core in a second.
    """

    features: tuple[str, ...] = ()
    accelerator: bool = False
    cores: int = 2
    gflops: float = 20.0


def choose(
    config: Config, options: Collection[str], survey: Survey, source: Pretrained | None, machine: Machine | None = None
) -> Choices:
    """Chooses the options that the user did not give.

    Args:
      config: of the run; the options in `options` are the user's, the others are chosen.
      options: dotted names of the user's options, such as `net.resolution`; `net` and `method` for the kinds.
      survey: of the data.
      source: of the transfer, named by `config.transfer.source`; None = fresh weights.
      machine: that the run is for.

    Raises:
      ConfigError: an option does not fit the data.
    """
    chooser = _Chooser(config, frozenset(options), survey, source, machine or Machine())
    chooser.data()
    chooser.source()
    chooser.channels()
    chooser.size()
    chooser.classes()
    chooser.shots()
    chooser.length()
    chooser.method()
    chooser.features()
    return Choices(chooser.config, tuple(chooser.lines))


def choose_colour(config: Config, options: Collection[str], survey: Survey) -> Choices:
    """Changes one thing in a user's own configuration: colour images are not trained on in grey unless an option says so."""
    chooser = _Chooser(config, frozenset(options), survey, None, Machine())
    if survey.channels > config.net.channels and chooser.free("net.channels") and chooser.free("data.channels"):
        chooser.channels()
    return Choices(chooser.config, tuple(chooser.lines))


class _Chooser:
    """The configuration as it is completed, and the lines."""

    def __init__(
        self, config: Config, options: frozenset[str], survey: Survey, source: Pretrained | None, machine: Machine
    ):
        self.config, self.options, self.survey, self.pretrained, self.machine = config, options, survey, source, machine
        self.lines: list[str] = []

    def say(self, what: str, text: str) -> None:
        self.lines.append(f"{what}: {text}")

    def free(self, name: str) -> bool:
        """Whether the user left a dotted option open; an option that the networks do not have is not free."""
        part, _, field = name.partition(".")
        return name not in self.options and has_field(getattr(self.config, part), field)

    def set(self, **parts: Mapping[str, Any]) -> None:
        """Sets those of the options, `net={"channels": 3}`, that are free."""
        for part, values in parts.items():
            old: Any = getattr(self.config, part)
            new = {name: value for name, value in values.items() if self.free(f"{part}.{name}")}
            self.config = dataclasses.replace(self.config, **{part: dataclasses.replace(old, **new)})

    @property
    def net(self) -> Any:
        return self.config.net

    @property
    def images(self) -> int:
        """Images to train on."""
        return min(self.config.data.shots or self.survey.count, self.survey.count)

    def data(self) -> None:
        survey, left_out = self.survey, self.survey.left_out
        out = ""
        if left_out:
            examples = ", ".join(f"{name} ({why})" for name, why in left_out[:3])
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            out = f"; {len(left_out)} left out, since they cannot be read: {examples}{more}"
        headers = (
            ""
            if survey.whole
            else " by their headers; those whose pixels are damaged are left out and named as they are read"
        )
        self.say("data", f"{survey.count:,} images of {survey.name}{headers}{out}")

    def source(self) -> None:
        source = self.pretrained
        if source is None:
            self.say("source", "none, the networks begin from fresh weights")
            self.say("network", f"{family_title(self.net)}{' as asked' if 'net' in self.options else ''}")
            return
        self.say("source", f"{source}{f': {source.why}' if source.why else ''}")
        same = type(self.net) is type(source.net)
        how = (
            "as the source's" if same else "as asked; weights of the source move by their role, which keeps no function"
        )
        self.say("network", f"{family_title(self.net)}, {how}")

    def channels(self) -> None:
        survey = self.survey
        colour = {1: "in grey", 3: "in colour"}[survey.channels]
        option = self.config.data.channels
        if option is not None and self.free("net.channels"):
            self.set(net={"channels": option})
        if not self.free("net.channels") or option is not None:
            channels = self.net.channels
            lost = "; their colours are lost" if survey.channels > channels else ""
            self.say(
                "channels", f"{channels} ({COLOURS.get(channels, 'numbers')}) as asked, the images are {colour}{lost}"
            )
        else:
            of_source = 0 if self.pretrained is None else self.pretrained.net.channels
            channels = max(survey.channels, of_source)
            if channels == 4 and not survey.alpha:
                channels = 3
            self.set(net={"channels": channels})
            flat = "; their transparency is laid on white" if survey.alpha and channels < 4 else ""
            if not of_source:
                how = f"the images are {colour}"
            elif channels == of_source and of_source > 1 and survey.channels == 1:
                how = (
                    "as the source's; the images are in grey, alike in all channels, and G learns to make such ones "
                    "(--net.channels 1 makes the source grey)"
                )
            elif channels == of_source:
                how = f"as the source's, the images are {colour}"
            else:
                how = f"the source is {COLOURS[of_source]} and grows, the images are {colour}"
            self.say("channels", f"{channels} ({COLOURS[channels]}), {how}{flat}")

    def size(self) -> None:
        survey, sides = self.survey, [min(size) for size in self.survey.sizes]
        if self.free("net.resolution"):
            self.set(net={"resolution": self._resolution()})
        size = self.net.resolution
        of_source = None if self.pretrained is None else self.pretrained.net.resolution
        how = (
            "as asked"
            if "net.resolution" in self.options
            else "as the source's"
            if size == of_source
            else "of the networks"
        )
        if of_source is not None and size != of_source and "net.resolution" not in self.options:
            how = f"the source's {of_source} px grow, the images allow it"
        span = f"{min(sides)} px" if min(sides) == max(sides) else f"{min(sides)} to {max(sides)} px"
        changed = [] if min(sides) == max(sides) == size else [f"shorter sides are {span}"]
        changed += [text for text, some in (("larger ones are reduced", max(sides) > size),
                                            ("smaller ones are enlarged", min(sides) < size)) if some]  # fmt: skip
        if oblong := sum(n for (width, height), n in survey.sizes.items() if width != height):
            fits = {"crop": "cut to their centre", "pad": "padded", "stretch": "stretched"}
            fit = self.config.data.fit
            offer = " (--data.fit pad or stretch keeps all of them)" if fit == "crop" else ""
            changed.append(f"{oblong:,} of {survey.count:,} are not square and {fits[fit]}{offer}")
        more = ""
        if self.net.doubles and max(sides) >= 2 * size and self.free("net.resolution"):
            more = f"; twice as large: --net.resolution {2 * size}"
        self.say("size", f"{size} px, {how}{'; ' if changed else ''}{', '.join(changed)}{more}")

    def _resolution(self) -> int:
        """The source's resolution, doubled while the images allow it where it is small; without a source, the images'."""
        worth = max(self.survey.resolution, 1)
        if self.pretrained is None:
            if isinstance(self.net, MLPConfig):
                return min(worth, self.net.resolution)
            return max(LEAST, min(MOST, 1 << (worth.bit_length() - 1)))
        size = self.pretrained.net.resolution
        while self.net.doubles and size < LEAST and 2 * size <= worth:
            size *= 2
        return size

    def classes(self) -> None:
        classes, net = self.survey.classes, self.net
        count = net.num_classes
        if count and not classes and "net.num_classes" in self.options:
            raise ConfigError(
                f"net.num_classes is {count}, but {self.survey.name} has no labels; leave it out, or put the images into one "
                "folder for each class"
            )
        if "net.num_classes" in self.options:
            self.say("classes", f"{count} as asked")
            return
        of_source = 0 if self.pretrained is None else self.pretrained.net.num_classes
        if not of_source:
            if len(classes) > 1:
                offer = f"; --net.num-classes {len(classes)} uses them" if has_field(net, "num_classes") else ""
                named = {"transfer.source", "transfer.donors", "donors"} & self.options
                if not offer and self.pretrained is not None and not named:
                    offer = f"; --net.num-classes {len(classes)} takes a source whose networks can have classes"
                self.say("classes", f"none, so the labels of {len(classes)} classes are not used{offer}")
            return
        if not classes:
            self.set(net={"num_classes": 0})
            self.say(
                "classes",
                f"none, since the images have no labels: the mean of the source's {of_source} classes is taken",
            )
            return
        self.set(net={"num_classes": len(classes)})
        if len(classes) != of_source and "transfer.classes" not in self.options:
            self.set(transfer={"classes": (-1,) * len(classes)})
            self.say(
                "classes",
                f"{len(classes)} of the images, each begins as the mean of the source's {of_source}; --transfer.classes names "
                "one of the source's for each",
            )
        elif "transfer.classes" in self.options:
            self.say("classes", f"{len(classes)} of the images, on those of the source as asked")
        else:
            named = ", ".join(f"{i} {name}" for i, (_, name, _) in enumerate(classes[:5]))
            more = ", .." if len(classes) > 5 else ""
            self.say(
                "classes",
                f"{len(classes)} of the images ({named}{more}), each begins as the source's of this number; "
                "--transfer.classes names others",
            )

    def shots(self) -> None:
        survey, data = self.survey, self.config.data
        if data.shots is not None and data.shots > survey.count:
            raise ConfigError(
                f"data.shots is {data.shots}, but {survey.name} has {survey.count} images; use at most so many, or leave it "
                "out for all of them"
            )
        held_out = "" if data.reference is None else f", {data.reference:,} of them held out for evaluations"
        if data.shots is None:
            self.say("shots", f"all {survey.count:,} images{'' if survey.whole else ' that can be read'}{held_out}")
        else:
            self.say("shots", f"{data.shots:,} of {survey.count:,} images{held_out}")
        if self.images < FEW and not self.config.augment.ada and "augment.policy" not in self.options:
            self.set(augment={"policy": AUGMENT})
            self.say("augmentation", f"{', '.join(AUGMENT)} of what D sees, since there are few images")

    def length(self) -> None:
        kimg = FAST_KIMG if self.machine.accelerator else SHORT_KIMG if self.images < FEW else LONG_KIMG
        self.set(train={"kimg": kimg})
        self.groups()
        kimg, train = self.config.train.kimg, self.config.train
        fitting = int(kimg * 1000 / max(1, train.batch * train.d_steps)) if 0 < kimg < math.inf else 1
        if fitting < train.steps_per_dispatch:  # a run is at least one dispatch long
            self.set(train={"steps_per_dispatch": max(1, fitting)})
        part = kimg / EVALUATIONS
        self.set(evaluate={"every_kimg": part}, log={"grid_every_kimg": part}, checkpoint={"every_kimg": part})
        recipe = RECIPES.get(type(self.net))
        if recipe is not None:
            loss, optim = recipe
            if not any(name.startswith("loss.") for name in self.options):
                self.config = dataclasses.replace(self.config, loss=loss)
            if not any(name.startswith("optim.") for name in self.options):
                self.config = dataclasses.replace(self.config, optim=optim)
        loss, optim = self.config.loss, self.config.optim
        self.say(
            "training",
            f"{kimg * 1000:,.0f} images shown in batches of {self.config.train.batch}{self._time(kimg)}; loss {loss.name}, "
            f"Adam {optim.lr:g}; longer or shorter: --train.kimg",
        )

    def groups(self) -> None:
        """Makes the batch a multiple of the groups that D compares; where the user gave the batch, makes the groups divide it."""
        group, batch = getattr(self.net, "mbstd_group", 0), self.config.train.batch
        if group < 1 or batch < 1 or batch % group == 0:
            return
        if self.free("train.batch"):
            self.set(train={"batch": max(1, batch // group) * group})
            self.say("batch", f"{self.config.train.batch}, in which D compares whole groups of {group} images")
        elif self.free("net.mbstd_group") and batch > 1:
            fitting = min((n for n in range(2, batch + 1) if batch % n == 0), key=lambda n: abs(n - group))
            self.set(net={"mbstd_group": fitting})
            self.say(
                "groups",
                f"D compares groups of {fitting} images; the source's {group} do not divide batches of {batch}",
            )

    def _time(self, kimg: float) -> str:
        """`, about 7 min on 2 CPU cores`, estimated from the operations of a step; empty on an accelerator."""
        if self.machine.accelerator:
            return ""
        seconds = kimg * 1000 * step_gflop(self.net) / (self.machine.gflops * self.machine.cores)
        more = "compilation" if self.config.evaluate.features is None else "compilation and evaluations"
        return f", about {time_text(seconds)} on {self.machine.cores} CPU cores, without {more}"

    def method(self) -> None:
        transfer: Any = self.config.transfer
        if isinstance(transfer, ScratchConfig):
            self.say("method", "scratch: everything is trained from fresh weights")
            return
        source = self.pretrained
        assert source is not None
        alone = next((short for root, short in (("d", "g"), ("g_ema", "d")) if root not in source.has), None)
        net = source.net
        grown = type(self.net) is not type(net) or (self.net.resolution, self.net.channels) != (
            net.resolution,
            net.channels,
        )
        if "method" not in self.options and type(transfer) is FinetuneConfig:
            few = alone is None and not grown and self.images < FEW and not isinstance(self.net, MLPConfig)
            few = few and can_freeze(self.net)  # D of 8 px has one block
            kind: type[Any] = FreezeDConfig if few else FinetuneConfig
            fields = {f.name for f in dataclasses.fields(kind)}
            common = {f.name: getattr(transfer, f.name) for f in dataclasses.fields(transfer) if f.name in fields}
            self.config = dataclasses.replace(self.config, transfer=kind(**common))
            why = "what D learned of pixels is kept, since there are few images" if few else "all leaves are trained"
            self.say("method", f"{'freeze_d' if few else 'finetune'}: {why}")
        else:
            name = kind_of(transfer)
            self.say("method", f"{name}{' as asked' if 'method' in self.options else ''}")
        if alone is not None and self.free("transfer.networks"):
            self.set(transfer={"networks": alone})
            if alone == "g" and self.config.transfer.adversarial:
                self.set(transfer={"d_warmup_kimg": self.config.train.kimg / 10})
                now: Any = self.config.transfer
                warm = now.d_warmup_kimg
                self.say(
                    "networks", f"g alone, the source has no D: a fresh D trains alone for the first {warm:g} kimg"
                )
            else:
                self.say("networks", f"{alone} alone, the source has no other")

    def features(self) -> None:
        colour = self.net.channels > 1 and self.survey.channels > 1
        here = [name for name in PHOTOGRAPHS if name in self.machine.features]
        if self.free("evaluate.features") and colour and here:
            self.set(evaluate={"features": here[0]})
        name = self.config.evaluate.features
        if "evaluate.features" in self.options:
            self.say("features", f"{name} as asked" if name else "none, so nothing is evaluated")
        elif name in PHOTOGRAPHS:
            self.say("features", f"{name}, which knows photographs and is in the cache")
        elif colour:
            self.say(
                "features",
                f"{name}, a small classifier of grey clothing: it sees no colour and only ranks runs on these images; "
                f"one that knows photographs: gan-jax weights get {PHOTOGRAPHS[0]}",
            )
        else:
            self.say("features", f"{name}, a small classifier of clothing, which only ranks runs on these images")
        if name is not None and self.images <= DIMENSIONS.get(name, 0) and self.config.data.shots is None:
            self.set(evaluate={"n_fake": FEW_FAKES})


def time_text(seconds: float) -> str:
    """`40 s`, `7 min`, `3 h`."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def can_freeze(net: NetConfig) -> bool:
    """Whether D still has a block to train with its first layer and the next block frozen."""
    from gan_jax.nets import build

    return len(build(net).d_blocks) > 2


def step_gflop(net: NetConfig) -> float:
    """Estimates the billions of operations that a step of D and G takes for an image, from the shapes of kernels.

    The estimate is right within a factor of two. Nothing is traced: sizes of maps come from the names of blocks.
    """
    from gan_jax.nets import build
    from gan_jax.trees import flatten

    pair = build(net)
    forward = {"g": 0.0, "d": 0.0}
    for name, specs in (("g", pair.g.specs()), ("d", pair.d.specs())):
        for path, leaf in flatten(specs).items():
            if path.endswith("kernel"):
                size = next(
                    (int(part[1:]) for part in path.split("/") if part[0] == "b" and part[1:].isdecimal()), None
                )
                place = net.resolution if size is None and len(leaf.shape) == 4 else size or 1
                positions = place**2 if len(leaf.shape) == 4 else 1
                if len(leaf.shape) == 4 and leaf.shape[0] % 2 == 0:
                    positions /= 2  # DCGAN's, which double or halve the size
                forward[name] += 2 * positions * _size(leaf.shape)
    # D's phase: G forward, D forward and backward on two images; G's phase: both forward and backward, D for its input only
    return (4 * forward["g"] + 8 * forward["d"]) / 1e9


def _size(shape: tuple[int, ...]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out


COLOURS = {1: "grey", 3: "colour", 4: "colour with transparency"}
DIMENSIONS = {"fashion-v1": 64, "mobilenetv2": 1280, "efficientnet-lite0": 1280}  # features of an image
RECIPES: dict[type, tuple[LossConfig, OptimConfig]] = {  # loss and optimiser of a family where no file gives others
    DCGANConfig: (
        LossConfig("non_saturating", r1_gamma=1.0, penalty_interval=16),
        OptimConfig(lr=2e-4, b1=0.5, b2=0.999),
    ),
    StyleGAN2Config: (
        LossConfig("non_saturating", r1_gamma=10.0, penalty_interval=16, path_length=2.0),
        OptimConfig(lr=2e-3, b1=0.0, b2=0.99),
    ),
    R3GANConfig: (LossConfig("relativistic", r1_gamma=1.0, r2_gamma=1.0), OptimConfig(lr=2e-4, b1=0.0, b2=0.99)),
    SNGANConfig: (LossConfig("hinge"), OptimConfig(lr=2e-4, b1=0.0, b2=0.9)),
}
