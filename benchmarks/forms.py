"""Full training steps on CPU: convolutions as single XLA operations, and in the form of gan_jax/nets/conv.py.

Both forms are closed under differentiation. Ours pads the input of a larger kernel beforehand, and convolves groups one
after the other. The two take turns in one process, on one device each. A ratio is within one round; the median over rounds
is reported, of clock seconds and of processor seconds. Run it again with every new JAX: where the ratio is 1, a remedy can
be removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks._timing import in_turns, used
from gan_jax.config import Config, LossConfig, NetConfig, R3GANConfig, StyleGAN2Config, TrainConfig
from gan_jax.nets import build
from gan_jax.nets.conv import single_operations
from gan_jax.train.feed import resident_feed
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.recipes import few_shot

TITLE = "One D and one G update, convolutions as single operations (xla) and as ours, one CPU device"
ROUNDS, STEPS, IMAGES = 5, 2, 64
FORMS: Mapping[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "xla": single_operations,
    "ours": contextlib.nullcontext,
}


def config_of(net: NetConfig, batch: int, **loss: Any) -> Config:
    """A run on one device."""
    train = TrainConfig(batch=batch, devices=1, steps_per_dispatch=STEPS)
    return Config(net=net, loss=LossConfig("relativistic", **loss), train=train)


STYLEGAN2 = StyleGAN2Config(resolution=32, z_dim=128, w_dim=128, mapping_layers=2, channel_base=1024, channel_max=128)
R3GAN = R3GANConfig(resolution=32, widths=(384, 384, 192, 96), cardinality=(48, 48, 24, 12), blocks=(1,))
CASES: dict[str, Config] = {
    "the demo's pair": config_of(few_shot("boot", transfer=False).net, 16),
    "StyleGAN2, 32 px": config_of(STYLEGAN2, 16),
    "StyleGAN2, 32 px, R1": config_of(STYLEGAN2, 16, r1_gamma=1.0),
    "R3GAN, 32 px, R1 and R2": config_of(R3GAN, 8, r1_gamma=1.0, r2_gamma=1.0),
}


def run() -> list[dict[str, Any]]:
    """One row for each pair."""
    return [row(name, config) for name, config in CASES.items()]


def row(name: str, config: Config) -> dict[str, Any]:
    """The row that compares both forms on one pair."""
    programs = {form: _compiled(config, context) for form, context in FORMS.items()}
    seconds = in_turns({form: call for form, (call, _) in programs.items()}, ROUNDS)
    compiling = {form: cost for form, (_, cost) in programs.items()}
    ratio = lambda clock: float(np.median(np.divide(*(np.array(seconds[form])[:, clock] for form in ("xla", "ours")))))
    return {
        "pair": name,
        **{f"{form}_ms": 1000 * float(np.median(np.array(seconds[form])[:, 0])) / STEPS for form in FORMS},
        "xla_over_ours": ratio(0),
        "xla_over_ours_cpu": ratio(1),
        **{f"{form}_compile_cpu_s": compiling[form] for form in FORMS},
        "compile_xla_over_ours_cpu": compiling["xla"] / compiling["ours"],
    }


def _compiled(config: Config, context: Callable[[], Any]) -> tuple[Callable[[], Any], float]:
    """A function that runs one dispatch and carries its state to the next call; processor seconds of its compilation."""
    net = config.net
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, net.resolution, net.resolution, net.channels), np.uint8)
    trainer = make_trainer(config, make_method(config.transfer, build(net)), resident_feed(images, None, mirror=False))
    program = trainer.compile()[trainer.stages()[-1]]
    begin = lambda key: trainer.init(trainer.init_networks(key), key)
    with context():
        state, data = program.put(jax.jit(begin)(jax.random.key(0))), program.put_data(trainer.feed.resident or {})
        start = used()
        compiled = program.run.lower(state, data).compile()
        cost = used() - start

    def call() -> Any:
        nonlocal state
        state, metrics = compiled(state, data)
        return state, metrics

    return call, cost
