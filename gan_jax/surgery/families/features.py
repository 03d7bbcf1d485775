"""Feature networks as sources of encoders, for networks from images to images.

A translator's encoder has one convolution for each halving of the size, a feature network several. Those that stand
between two of them are folded into one, as if they were linear: a ReLU counts as its mean slope, a maximum as a mean,
batch norm as the scale that its stored variance gives, and depthwise and 1x1 kernels as the kernel that they are together.
Where nothing is folded, the layer computes what it did, on the images in [-1, 1] that translators read: the scale of the
network's own pixels is part of the first kernel. Biases play no role: what follows them in a translator is a norm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from gan_jax.nets.features.classifiers import EFFICIENTNET_LITE0_STEPS, MOBILENET_V2_STEPS, STD
from gan_jax.nets.features.perceptual import SCALE, VGG16, VGG19
from gan_jax.nets.features.steps import Conv, Pool, Residual, Steps, width_of
from gan_jax.surgery.families.cross import Part, Roles
from gan_jax.surgery.ops import Step
from gan_jax.surgery.ops.grids import RELU_SLOPE
from gan_jax.trees import did_you_mean


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """A feature network whose first layers can be an encoder, in the place of a pair's configuration.

    Attributes:
      name: as `gan-jax weights get` knows it.
      title: for notes.
      steps: its layers from the image on.
      scale: what images in [-1, 1] are divided by before the first of them, for each colour.
    """

    name: str
    title: str
    steps: Steps
    scale: tuple[float, ...]
    roles_file: ClassVar[str] = "features"  # this file, for `families.layout`
    translates: ClassVar[bool] = False


_flat = lambda stages: tuple(step for steps in stages for step in steps)
_imagenet = tuple(2 * std for std in STD)  # of pixels in 0 .. 1
ENCODERS: dict[str, FeatureNetwork] = {
    "vgg16": FeatureNetwork("vgg16", "VGG16", _flat(VGG16), SCALE),
    "vgg19": FeatureNetwork("vgg19", "VGG19", _flat(VGG19), _imagenet),
    "mobilenetv2": FeatureNetwork("mobilenetv2", "MobileNetV2", MOBILENET_V2_STEPS, _imagenet),
    "efficientnet-lite0": FeatureNetwork(
        "efficientnet-lite0", "EfficientNet-Lite0", EFFICIENTNET_LITE0_STEPS, (256 / 255,) * 3
    ),
}


def encoder(name: str) -> FeatureNetwork:
    """The feature network of a name.

    Raises:
      ValueError: there is none whose layers make an encoder.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"no feature network {name!r} to take an encoder from{did_you_mean(name, ENCODERS)}; there are "
            f"{', '.join(ENCODERS)}"
        )
    return ENCODERS[name]


def roles(network: FeatureNetwork) -> dict[str, Roles]:
    """The first convolution (`read`), those that halve the size (`halve1`, ..), and those of one size behind `halve2`."""
    (first, colours), *groups = layers(network.steps)
    stem = first[0]
    scale: Step = ("mix", {"axis": 2, "matrix": _diagonal([1 / x for x in network.scale])})
    g: dict[str, Part] = {}
    if stem.stride == 2:
        g["read_strided"] = _folded(first, colours, -1, 4, scale)
    g["read"] = _folded(first, colours, -_before(stem), stem.size[0], scale)
    for i, (group, width) in enumerate(groups, 1):
        g[f"halve{i}"] = _folded(group, width, -1, 4)
    for i, step in enumerate(_same_size(groups[2][0])[:2] if len(groups) > 2 else (), 1):
        g[f"inner{i}"] = _folded([step], width_of(groups[2][0][: i - 1], groups[2][1]), -_before(step), step.size[0])
    return {"g": g, "d": {}}


def layers(steps: Steps, colours: int = 3) -> list[tuple[list[Any], int]]:
    """The first convolution, then groups of steps that halve the size, each with the number of channels that it reads.

    A group ends with the first convolution of new channels at the new size; what is left behind the last has no role.
    """
    groups: list[tuple[list[Any], int]] = []
    current: list[Any] = []
    width, halved = colours, False
    for step in steps:
        current.append(step)
        halved = halved or not groups or getattr(step, "stride", 1) == 2
        if halved and isinstance(step, Conv) and step.features is not None:
            groups.append((current, width))
            width, current, halved = width_of(current, width), [], False
    return groups


def _same_size(group: Sequence[Any]) -> list[Conv]:
    """The plain 3x3 convolutions with which a group begins."""
    out = []
    for step in group:
        if not isinstance(step, Conv) or step.features is None or step.stride != 1 or step.size != (3, 3):
            break
        out.append(step)
    return out


def _before(step: Conv) -> int:
    """Pixels of padding before the first row, for images of even size."""
    return (step.size[0] - step.stride) // 2 if step.padding == "SAME" else step.padding[0]


def _folded(steps: Sequence[Any], channels: int, start: int, size: int, *then: Step) -> Part:
    """The role of steps that become one kernel: its inputs, the place of its first tap beside its output, its size."""
    reads: list[str] = []

    def described(step: Any, last: bool) -> list[Any]:
        if isinstance(step, Residual):
            return ["add", [described(inner, False) for inner in step.steps]]
        if isinstance(step, Pool):
            return ["mean", {"size": step.size, "stride": step.stride, "pad": step.padding}]
        assert isinstance(step, Conv), f"{step} is no layer of an encoder"
        names = ("kernel",) if step.eps is None else ("kernel", "scale", "var")
        about = {name: len(reads) + i for i, name in enumerate(names)} | {"stride": step.stride, "pad": _before(step)}
        reads.extend(f"params/{step.path}/{name}" for name in names)
        about |= {"eps": step.eps} if step.eps is not None else {}
        about |= {"depthwise": True} if step.features is None else {}
        return ["conv", about | ({} if last or step.activation is None else {"slope": RELU_SLOPE})]

    described_steps = [described(step, i == len(steps) - 1) for i, step in enumerate(steps)]
    fold: Step = ("fold_convs", {"layers": described_steps, "channels": channels, "start": start, "size": size})
    return Part(tuple(reads), (fold, *then))


def _diagonal(values: Sequence[float]) -> list[list[float]]:
    return [[value if i == j else 0.0 for j in range(len(values))] for i, value in enumerate(values)]
