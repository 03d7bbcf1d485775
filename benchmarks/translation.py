"""A step of pix2pix and of CycleGAN at 128 px, beside the official PyTorch networks where `--peer` names their clone.

Networks as published: a U-Net of 7 halvings with batch norm and dropout and a conditional D of 70 px patches; two ResNets of
6 blocks and two such D. `GAN_JAX_TRANSLATION_WIDTH` is the width of all of them, 64 as published. The clone is one of
github.com/taesungp/contrastive-unpaired-translation, whose networks without anti-aliasing are those of CycleGAN and pix2pix;
PyTorch has to be installed. Updates, losses and optimisers around its networks are written here as published: one D and one
G update, an image pool of 50, Adam.

Where the machine does other work too, threads that wait for each other make PyTorch slow. `OMP_NUM_THREADS=1 taskset -c 0 python
-m benchmarks translation` runs both on one core, and processor seconds (`cpu_ratio`) compare the work of the two.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._timing import in_turns
from gan_jax.config import (
    Config,
    LossConfig,
    OptimConfig,
    PairedTask,
    TrainConfig,
    TranslatorConfig,
    UNetConfig,
    UnpairedTask,
)
from gan_jax.tasks import task_of
from gan_jax.train.compile import use_all_cores
from gan_jax.train.feed import Feed
from gan_jax.train.trainer import Trainer

TITLE = "One D and one G update of translators at 128 px, batch 1, ms (medians of rounds in turns)"
PX, ROUNDS = 128, 5
WIDTH = int(os.environ.get("GAN_JAX_TRANSLATION_WIDTH", "64"))
OPTIM = OptimConfig(lr=2e-4, b1=0.5, b2=0.999)
PEER: str | None = None  # folder of the clone, set by --peer

CASES: dict[str, tuple[Any, Any, str]] = {
    "pix2pix": (UNetConfig(resolution=PX, depth=7, width=WIDTH, d_width=WIDTH), PairedTask(), "non_saturating"),
    "cyclegan": (
        TranslatorConfig(resolution=PX, blocks=6, width=WIDTH, d_width=WIDTH),
        UnpairedTask(),
        "least_squares",
    ),
}


def run() -> list[dict[str, Any]]:
    """One row for each task: ms of a step here and in PyTorch, and theirs over ours, by the clock and in processor seconds."""
    use_all_cores()
    rows = []
    for name, (net, task, loss) in CASES.items():
        functions = {"gan_jax": _ours(net, task, loss)}
        if PEER is not None:
            functions["pytorch"] = PEERS[name](_peer_networks(PEER))
        seconds = in_turns(functions, ROUNDS)
        ms = {key: 1000 * statistics.median(clock for clock, _ in values) for key, values in seconds.items()}
        row: dict[str, Any] = {"task": name, "width": WIDTH, "ms": ms["gan_jax"]}
        if PEER is not None:
            ratios = [b[0] / a[0] for a, b in zip(seconds["gan_jax"], seconds["pytorch"], strict=True)]
            row |= {"pytorch_ms": ms["pytorch"], "ratio": statistics.median(ratios)}
            row |= {"ratio_least": min(ratios), "ratio_most": max(ratios)}
            cpu = [b[1] / a[1] for a, b in zip(seconds["gan_jax"], seconds["pytorch"], strict=True)]
            row |= {"cpu_ratio": statistics.median(cpu), "cpu_ratio_least": min(cpu), "cpu_ratio_most": max(cpu)}
        rows.append(row)
    return rows


def _images(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, PX, PX, 3)).astype(np.float32)


def _ours(net: Any, task: Any, loss: str) -> Callable[[], Any]:
    """A function that runs one step and carries its state to the next call."""
    train = TrainConfig(batch=1, devices=1, steps_per_dispatch=1)
    config = Config(net=net, task=task, loss=LossConfig(loss), optim=OPTIM, train=train)  # type: ignore[arg-type]
    images = _images(8)

    def draw(data: dict[str, jax.Array], keys: jax.Array, _: Any) -> dict[str, jax.Array]:
        index = jax.vmap(lambda key: jax.random.randint(key, (), 0, 8))(keys)
        return {"input": data["input"][index], "image": data["image"][index]}

    feed = Feed(draw, resident={"input": images, "image": images[::-1].copy()})
    trainer = Trainer(config, task_of(), feed)
    (program,) = trainer.compile().values()
    begin = jax.jit(lambda key: trainer.init(trainer.init_networks(key), key))
    state, data = program.put(begin(jax.random.key(0))), program.put_data(feed.resident or {})

    def call() -> Any:
        nonlocal state
        state, metrics = program.run(state, data)
        return metrics

    return call


# -- the official networks in PyTorch ---------------------------------------------------------------------------------


def _peer_networks(folder: str) -> Any:
    sys.path.insert(0, folder)
    import torch  # type: ignore[import-not-found]  # not a dependency
    from models import networks  # type: ignore[import-not-found]

    torch.manual_seed(0)
    return networks


def _peer_images() -> Any:
    import torch  # type: ignore[import-not-found]

    return torch.from_numpy(_images(2).transpose(0, 3, 1, 2).copy()).split(1)


def _pix2pix(networks: Any) -> Callable[[], Any]:
    import torch  # type: ignore[import-not-found]

    g = networks.define_G(3, 3, WIDTH, "unet_128", "batch", use_dropout=True)
    d = networks.define_D(6, WIDTH, "basic", norm="batch", no_antialias=True)
    gan, l1 = networks.GANLoss("vanilla"), torch.nn.L1Loss()
    g_adam, d_adam = (torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (g, d))
    x, y = _peer_images()

    def call() -> Any:
        fake = g(x)
        d.requires_grad_(True)
        d_adam.zero_grad()
        of_fake = gan(d(torch.cat((x, fake.detach()), 1)), False)
        ((of_fake + gan(d(torch.cat((x, y), 1)), True)) * 0.5).mean().backward()
        d_adam.step()
        d.requires_grad_(False)
        g_adam.zero_grad()
        (gan(d(torch.cat((x, fake), 1)), True).mean() + 100 * l1(fake, y)).backward()
        g_adam.step()

    return call


def _cyclegan(networks: Any) -> Callable[[], Any]:
    import torch  # type: ignore[import-not-found]
    from util.image_pool import ImagePool  # type: ignore[import-not-found]

    generator = lambda: networks.define_G(3, 3, WIDTH, "resnet_6blocks", "instance", False, "normal", 0.02, True, True)
    discriminator = lambda: networks.define_D(3, WIDTH, "basic", norm="instance", no_antialias=True)
    g_ab, g_ba, d_a, d_b = generator(), generator(), discriminator(), discriminator()
    gan, l1, pools = networks.GANLoss("lsgan"), torch.nn.L1Loss(), (ImagePool(50), ImagePool(50))
    adam = lambda *nets: torch.optim.Adam(
        itertools.chain(*(net.parameters() for net in nets)), lr=2e-4, betas=(0.5, 0.999)
    )
    g_adam, d_adam = adam(g_ab, g_ba), adam(d_a, d_b)
    a, b = _peer_images()

    def call() -> Any:
        fake_b, fake_a = g_ab(a), g_ba(b)
        for net in (d_a, d_b):
            net.requires_grad_(False)
        g_adam.zero_grad()
        loss = gan(d_b(fake_b), True).mean() + gan(d_a(fake_a), True).mean()
        loss = loss + 10 * (l1(g_ba(fake_b), a) + l1(g_ab(fake_a), b)) + 5 * (l1(g_ab(b), b) + l1(g_ba(a), a))
        loss.backward()
        g_adam.step()
        for net in (d_a, d_b):
            net.requires_grad_(True)
        d_adam.zero_grad()
        for net, real, fake, pool in ((d_b, b, fake_b, pools[0]), (d_a, a, fake_a, pools[1])):
            shown = pool.query(fake)
            ((gan(net(real), True) + gan(net(shown.detach()), False)) * 0.5).mean().backward()
        d_adam.step()

    return call


PEERS: dict[str, Callable[[Any], Callable[[], Any]]] = {"pix2pix": _pix2pix, "cyclegan": _cyclegan}
