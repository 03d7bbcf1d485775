"""What a run trains on and what it is measured against."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gan_jax.config import Config, ConfigError, DataConfig, EvalConfig, ResNetConfig
from gan_jax.data import DataError, prepare
from gan_jax.data.tfds_source import TfdsSource
from gan_jax.metrics import load_features, make_protocol
from gan_jax.transfer.dataset import load_dataset
from gan_jax.transfer.recipes import few_shot
from gan_jax.transfer.run import run
from tests.train.toy import build_toy, images, run_config


@pytest.fixture
def source(tmp_path):
    x, y = images(24, classes=3)
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    return f"npz:{tmp_path / 'data.npz'}"


def config_of(source, num_classes=0, **data) -> Config:
    net = ResNetConfig(resolution=16, num_classes=num_classes)
    return Config(data=DataConfig(source=source, **data), net=net)


def test_the_reference_is_what_is_not_trained_on(source):
    dataset = load_dataset(config_of(source, shots=10))
    both = np.concatenate([dataset.train.images, dataset.reference.images])
    assert len(dataset.train) == 10 and len(dataset.reference) == 14
    assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for x in images(24)[0])
    other = load_dataset(config_of(source, shots=10, subset_seed=1))
    assert dataset.train_hash != other.train_hash


def test_hashes_name_the_images_and_not_their_places():
    """Boots and coats of one seed are the same places among as many images; a protocol must tell them apart."""
    boots, coats = (load_dataset(few_shot(target, transfer=False)) for target in ("boot", "coat"))
    assert len(boots.train) == len(coats.train) == 100 and len(boots.reference) == len(coats.reference) == 900
    assert boots.train_hash != coats.train_hash and boots.reference_hash != coats.reference_hash
    net, config = load_features("fashion-v1"), EvalConfig(n_fake=1000)
    of = lambda data: make_protocol(
        net, channels=1, n_real=900, n_fake=config.n_fake, reference_hash=data.reference_hash
    )
    assert of(boots).id != of(coats).id
    again = load_dataset(few_shot("boot", transfer=True))
    assert (again.train_hash, again.reference_hash) == (boots.train_hash, boots.reference_hash)


def test_a_decoded_few_shot_set_is_named_by_its_classes_too(tmp_path, source):
    folder = prepare(source, tmp_path / "tfds", "toys")
    of = lambda c: load_dataset(config_of(f"tfds:{folder}:train", shots=2, classes=(c,), pipeline="grain"))
    assert of(0).train_hash != of(1).train_hash and of(0).reference_hash != of(1).reference_hash
    assert of(0).train_hash == of(0).train_hash


def test_labels_are_numbered_in_the_order_of_the_classes(source):
    dataset = load_dataset(config_of(source, num_classes=2, classes=(2, 0)))
    old = images(24, classes=3)[1]
    assert set(dataset.train.labels.tolist()) == {0, 1}
    assert (dataset.train.labels == 0).sum() == (old == 2).sum()
    with pytest.raises(ConfigError, match=r"net.num_classes is 4, but the data have 3 classes; use 3"):
        load_dataset(config_of(source, num_classes=4))


@pytest.mark.slow  # as it is read: `tests/data/test_tfds.py`
def test_a_tfds_set_is_decoded_as_it_goes(tmp_path, source, monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)
    folder = prepare(source, tmp_path / "tfds", "toys")
    config = run_config(f"tfds:{folder}:train", kimg=0.032)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, pipeline="grain"))
    dataset = load_dataset(config)
    assert isinstance(dataset.train, TfdsSource) and len(dataset.reference) == 24
    result = run(config, tmp_path / "run")
    assert int(result.state.images) == 32
    with pytest.raises(ConfigError, match="renumbers labels in memory"):
        net = dataclasses.replace(config.net, num_classes=2)
        load_dataset(dataclasses.replace(config, net=net, data=dataclasses.replace(config.data, classes=(0, 1))))


def test_a_held_out_reference_is_the_same_for_every_subset(source):
    few, many = (load_dataset(config_of(source, shots=n, subset_seed=s, reference=12)) for n, s in ((4, 0), (8, 1)))
    assert few.reference_hash == many.reference_hash and len(few.reference) == 12
    assert (len(few.train), len(many.train)) == (4, 8) and few.train_hash != many.train_hash
    held = {x.tobytes() for x in few.reference.images}
    assert not any(x.tobytes() in held for x in (*few.train.images, *many.train.images))
    rest = load_dataset(config_of(source, reference=12))
    assert len(rest.train) == 12 and rest.reference_hash == few.reference_hash
    with pytest.raises(ConfigError, match="use at most 16"):
        load_dataset(config_of(source, shots=8, reference=17))


def test_all_the_images_are_a_training_set_and_their_own_reference(source):
    """As many shots as images, and no number of shots, are the same set; one more is refused with both numbers."""
    every, none = (load_dataset(config_of(source, shots=n)) for n in (24, None))
    assert every.train_hash == none.train_hash == every.reference_hash and not every.held_out and not none.held_out
    assert every.notes[-1].startswith("no held-out reference: evaluations compare with all 24 images")
    unmeasured = dataclasses.replace(config_of(source), evaluate=EvalConfig(features=None))
    assert not any("reference" in note for note in load_dataset(unmeasured).notes)  # nothing is compared
    assert (
        load_dataset(config_of(source, shots=23)).held_out and len(load_dataset(config_of(source, shots=1)).train) == 1
    )
    with pytest.raises(ConfigError, match=r"data.shots is 25, but npz:.* has 24 images; use None for all"):
        load_dataset(config_of(source, shots=25))
    with pytest.raises(ConfigError, match="use fewer data.shots, or data.reference None"):
        load_dataset(config_of(source, shots=24, reference=1))


def test_labels_that_are_not_used_and_classes_without_an_image_are_said(source):
    assert any("labels are not used" in note and "3 classes" in note for note in load_dataset(config_of(source)).notes)
    few = load_dataset(config_of(source, num_classes=3, shots=1))
    assert any(note.startswith("no image of class") and "among the 1 to train on" in note for note in few.notes)
    assert not any("labels" in note or "class" in note for note in load_dataset(config_of(source, num_classes=3)).notes)


def test_doubled_classes_are_refused(source):
    for num_classes in (1, 2):
        with pytest.raises((ConfigError, DataError), match="named twice"):
            load_dataset(config_of(source, num_classes=num_classes, classes=(2, 2)))


def test_a_tfds_set_that_is_decoded_as_it_goes_can_be_its_own_reference(tmp_path, source):
    folder = prepare(source, tmp_path / "tfds", "toys")
    of = lambda shots: load_dataset(config_of(f"tfds:{folder}:train", shots=shots, pipeline="grain"))
    every = of(24)
    assert len(every.train) == len(every.reference) == 24 and not every.held_out and of(3).held_out
    assert every.notes[-1].startswith("no held-out reference")
    with pytest.raises(ConfigError, match="data.shots is 25, but tfds:.* has 24 images"):
        of(25)
