"""Scratch, fine-tuning and Freeze-D: what starts from where, what trains, resumed to the bit."""

import jax
import numpy as np
import pytest

from gan_jax.config import FinetuneConfig, FreezeDConfig, ScratchConfig
from gan_jax.nets.build import build
from gan_jax.transfer.methods import make_method
from gan_jax.trees import flatten
from tests.train.toy import build_toy
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.resumed import NET, assert_resumes

FREEZE_D = FreezeDConfig(blocks=1)
FROZEN = ("d/params/from_rgb/", "d/params/b4/")  # the first layer and one block


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("name", ["finetune", "freeze_d"])
def test_it_begins_as_its_source_and_trains_the_rest(name):
    frozen = FROZEN if name == "freeze_d" else ()
    begun = ask.conform(ask.make_config(FREEZE_D if frozen else FinetuneConfig()))
    ask.assert_identity(begun)
    ask.assert_trains(begun, lambda path: not path.startswith(frozen))


def test_what_starts_from_the_source_is_what_was_asked_for():
    pair = build(ask.make_config(None).net)
    starts = lambda transfer: tuple(make_method(transfer, pair).starts)
    assert starts(FinetuneConfig()) == ("g", "d") and starts(FinetuneConfig(networks="g")) == ("g",)
    assert starts(FreezeDConfig(networks="d")) == ("d",) and starts(ScratchConfig()) == ()
    scratch = make_method(ScratchConfig(), pair)
    assert not scratch.grafts and not scratch.extension.regularisers and scratch.prepare is None
    for name, net in (("g", pair.g), ("d", pair.d)):
        assert all(scratch.trains(name)(path) for path in flatten(net.specs()["params"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["freeze_d", "finetune"])
def test_resumes_to_the_bit(name, tmp_path):
    left = assert_resumes({"freeze_d": FREEZE_D, "finetune": FinetuneConfig(d_warmup_kimg=0.032)}[name], tmp_path)
    source = build(NET).d.init(jax.random.key(1))["params"]
    kept = flatten(left.state.nets["d"]["params"])
    still = {path for path, leaf in flatten(source).items() if (np.asarray(leaf) == np.asarray(kept[path])).all()}
    first = {"fc0/kernel", "fc1/kernel"} if name == "freeze_d" else set()
    assert {path for path in still if path.endswith("kernel")} == first
