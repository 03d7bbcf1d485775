"""Runs of networks that translate: data, numbers, weights, resuming, and transfer from one task to another."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax.config import (
    CheckpointConfig,
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    FinetuneConfig,
    LogConfig,
    LossConfig,
    PairedTask,
    SPADEConfig,
    TrainConfig,
    TranslatorConfig,
    UnpairedTask,
    from_dict,
)
from gan_jax.data import Pairs
from gan_jax.interop.weights import load_weights
from gan_jax.nets import build
from gan_jax.roots import average_of, is_network, is_reversed, network_of, origins, pair_part
from gan_jax.tasks import networks_of
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.models import load
from gan_jax.transfer.record import Callbacks
from gan_jax.transfer.run import plan_transfer, run
from gan_jax.transfer.translation import load_pair_dataset, translation_painter
from tests.nets.families import drawn
from tests.train.checkpoint_states import assert_same

NET = TranslatorConfig(resolution=16, in_channels=1, channels=3, width=4, blocks=0, d_width=4, d_layers=1)
PAIRS = PairedTask()
PAIRED = dataclasses.replace(NET, d_condition=True)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A spec of 40 smooth pairs: grey inputs, and images that are their negatives in colour."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (40, 4, 4, 1), np.uint8).repeat(4, 1).repeat(4, 2)
    images = np.concatenate([255 - inputs, inputs // 2, inputs], -1)
    path = tmp_path_factory.mktemp("data") / "pairs.npz"
    np.savez(path, inputs=inputs, images=images)
    return f"npz:{path}"


def config_of(source, task=PAIRS, net=PAIRED, **parts):
    base = Config(
        data=DataConfig(source=source, reference=16), net=net, task=task, loss=LossConfig("least_squares"),
        train=TrainConfig(batch=4, steps_per_dispatch=2, kimg=0.032, devices=1),
        checkpoint=CheckpointConfig(every_kimg=0.016), evaluate=EvalConfig(), log=LogConfig(tensorboard=False),
    )  # fmt: skip
    return dataclasses.replace(base, **parts)


class StopAt(Callbacks):
    """Ends a run by an exception after so many images, as a killed process does; keeps the grids."""

    def __init__(self, images=-1):
        self.images, self.grids, self.notes = images, [], []

    def row(self, row):
        if row["images"] == self.images:
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)

    def grid(self, images, samples):
        self.grids.append(samples)


@pytest.fixture(scope="module")
def paired(pairs, tmp_path_factory):
    """A finished paired run: (folder, result, callbacks)."""
    folder, callbacks = tmp_path_factory.mktemp("runs") / "paired", StopAt()
    return folder, run(config_of(pairs), folder, callbacks), callbacks


def test_a_paired_run_is_measured_pair_by_pair_beside_baselines(paired):
    folder, result, callbacks = paired
    row = result.evaluation
    assert {"kid", "l1", "psnr", "ssim"} <= row.keys()
    translated = load(folder).translate(result.dataset.reference.inputs)
    targets = result.dataset.reference.images
    expected = np.abs(translated.astype(float) - targets).mean() / 255
    np.testing.assert_allclose(row["l1"], expected, rtol=1e-6)
    assert any(note.startswith("baselines on the 16 held-out pairs") for note in callbacks.notes)


def test_a_grid_shows_input_translation_and_target(paired):
    _, result, callbacks = paired
    reference, grid = result.dataset.reference, callbacks.grids[-1]
    assert grid.shape == (16, 16, 3 * 16, 3)
    np.testing.assert_array_equal(grid[:, :, :16], reference.inputs.repeat(3, -1))
    np.testing.assert_array_equal(grid[:, :, 32:], reference.images)


def test_a_grid_shows_labels_in_a_colour_each():
    net = SPADEConfig(resolution=32, num_labels=3, edges=False, width=1, d_width=1, d_layers=2, d_scales=1)
    pair = build(net)
    maps = np.arange(32 * 32, dtype=np.uint8).reshape(1, 32, 32) % 4  # the last one is don't care
    images = np.zeros((1, 32, 32, 3), np.uint8)
    layouts = Pairs(maps, images, "layout", num_labels=3)
    state: Any = SimpleNamespace(ema={"g": drawn(pair.g)})
    grid = translation_painter(pair, Dataset(layouts, layouts))(state)
    assert grid.shape == (1, 32, 96, 3)
    colours = {tuple(grid[0, 0, column].tolist()) for column in range(4)}
    assert len(colours) == 4 and tuple(grid[0, 0, 3]) == (0, 0, 0)


def test_a_run_goes_on_to_the_same_bits(paired, pairs, tmp_path):
    _, whole, _ = paired
    with pytest.raises(KeyboardInterrupt):
        run(config_of(pairs), tmp_path / "r", StopAt(24))
    assert_same(run(config_of(pairs), tmp_path / "r", StopAt()).state, whole.state)


def test_weights_name_their_task_and_their_history(paired):
    folder, result, _ = paired
    variables, manifest = load_weights(folder / "weights")
    assert set(variables) == {"g_ema", "d"}
    assert from_dict(Config, {"task": manifest["task"]}).task == PairedTask()
    assert "moving average" in gan_jax.provenance(folder, "g_ema/params/to_rgb/kernel")


def test_two_translators_start_from_one(paired, pairs, tmp_path):
    source, result, _ = paired
    config = config_of(pairs, UnpairedTask(pool=3, identity=0.0), NET, transfer=FinetuneConfig(source=str(source), missing="init",
                       unused="drop"))  # fmt: skip
    plan = plan_transfer(config)
    taken = {entry.target: entry.sources for entry in plan.entries if entry.sources}
    assert taken["g_ab/params/to_rgb/kernel"] == ("g_ema/params/to_rgb/kernel",)
    assert taken["d_b/params/head/kernel"] == ("d/params/head/kernel",)
    callbacks = StopAt()
    two = run(config, tmp_path / "r", callbacks)
    variables, _ = load_weights(tmp_path / "r" / "weights")
    assert set(variables) == {"g_ab_ema", "g_ba_ema", "d_a", "d_b"}
    assert {"back_kid", "l1"} <= two.evaluation.keys()
    assert callbacks.grids[-1].shape == (16, 16, 4 * 16, 3)
    model = load(tmp_path / "r")
    there = model.translate(two.dataset.reference.inputs)
    back = model.translate(two.dataset.reference.images, direction="ba")
    assert there.shape[-1] == 3 and back.shape[-1] == 1


def test_a_set_of_another_kind_is_refused(pairs, tmp_path):
    labels = np.zeros((4, 16, 16), np.uint8)
    np.savez(tmp_path / "layout.npz", inputs=labels, images=np.zeros((4, 16, 16, 3), np.uint8))
    with pytest.raises(ConfigError, match="layout set, and the task needs a paired one"):
        load_pair_dataset(config_of(f"npz:{tmp_path / 'layout.npz'}"))


def test_pairs_without_their_pairing_keep_held_out_pairs(pairs):
    dataset = load_pair_dataset(config_of(pairs, UnpairedTask(), NET))
    assert dataset.train.kind == "unpaired" and len(dataset.train) == 24
    assert dataset.reference.kind == "paired" and len(dataset.reference) == 16
    rows = {row.tobytes() for row in dataset.train.inputs}
    assert not any(row.tobytes() in rows for row in dataset.reference.inputs)


def test_roots_of_networks():
    names = ["g", "g_ema", "d", "g_ab_ema", "g_ba", "d_a", "d_b", "f", "opt_g", "ema"]
    assert [pair_part(name) for name in names] == ["g", "g", "d", "g", "g", "d", "d", None, None, None]
    assert [is_reversed(name) for name in names] == [False] * 4 + [True, True] + [False] * 4
    assert [is_network(name) for name in names] == [True, False, True, False, True, True, True, True, False, False]
    assert origins("g_ba") == ("g_ba_ema", "g_ema", "g_ab_ema") and origins("d") == ("d", "d_b")
    assert network_of(average_of("g_ab")) == "g_ab"


def test_networks_of_a_task_have_leaves_by_these_names(pairs):
    networks = networks_of(config_of(pairs, UnpairedTask(), NET))
    assert set(networks.nets) == {"g_ab", "g_ba", "d_a", "d_b"}
    specs = {name: jax.tree_util.tree_leaves(net.specs()["params"]) for name, net in networks.nets.items()}
    assert {leaf.shape for leaf in specs["g_ab"]} != {leaf.shape for leaf in specs["g_ba"]}  # 1 -> 3 channels, 3 -> 1
