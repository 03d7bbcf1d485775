"""What of a run may change when it goes on, and what is said of its data: no run is needed to tell."""

from __future__ import annotations

import dataclasses
import json
import shlex

import numpy as np
import pytest

from gan_jax.config import (
    AnnealConfig,
    AugmentConfig,
    CheckpointConfig,
    Config,
    ConfigError,
    DataConfig,
    DCGANConfig,
    DiagnoseConfig,
    EvalConfig,
    LogConfig,
    OptimConfig,
    TrainConfig,
    to_dict,
)
from gan_jax.data import Images
from gan_jax.transfer.claim import check_place, make_claim
from gan_jax.transfer.dataset import Dataset, check_data, data_changes, describe_data, read_data
from gan_jax.transfer.folder import RunFolder, read_record
from gan_jax.transfer.resume import changes, check_changes, length_command, option_of, schedule_notes

OLD = Config(train=TrainConfig(kimg=10.0, devices=2))


def refused(new, old=OLD, **known):
    return [one.field for one in changes(old, new, **known) if one.refused is not None]


def longer(config, kimg):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, kimg=kimg))


def test_what_moves_no_weight_may_change():
    new = dataclasses.replace(
        OLD,
        log=LogConfig(every_dispatches=3),
        checkpoint=CheckpointConfig(every_kimg=None),
        evaluate=EvalConfig(features=None),
        diagnose=DiagnoseConfig(images=0),
        train=dataclasses.replace(OLD.train, devices=None),
    )
    assert refused(new) == [] and len(changes(OLD, new)) == 5


def test_a_run_is_made_longer_where_its_length_is_in_no_schedule():
    assert refused(longer(OLD, 20.0)) == []
    assert refused(longer(OLD, 5.0)) == ["train.kimg"], "shorter"
    warm = dataclasses.replace(OLD, optim=OptimConfig(warmup_kimg=1.0))
    assert refused(longer(warm, 20.0), warm) == [], "the warm-up has a length of its own"
    for schedule in ("linear", "cosine"):
        falls = dataclasses.replace(OLD, optim=OptimConfig(schedule=schedule))
        (one,) = changes(falls, longer(falls, 20.0))
        assert f"optim.schedule {schedule} falls to 0 over train.kimg" in (one.refused or "")


def test_where_schedules_stand_is_said():
    falls = dataclasses.replace(
        OLD, optim=OptimConfig(schedule="linear"), train=dataclasses.replace(OLD.train, kimg=10.0)
    )
    (said,) = schedule_notes(longer(falls, 40.0), 10_000, falls)
    assert (
        "go on at 75% of optim.lr (it was 0% of its optim.lr before): optim.schedule linear falls over train.kimg 40"
        in said
    )
    slow = dataclasses.replace(OLD, anneal=AnnealConfig(kimg=4.0, lr=1e-5))
    assert schedule_notes(slow, 4000) == ["annealed values are at their ends since 4 kimg and stay there: lr 1e-05"]
    assert "which they reach at 4 kimg, whatever train.kimg is: lr 1e-05" in schedule_notes(slow, 3999)[0]
    (said,) = schedule_notes(dataclasses.replace(OLD, augment=AugmentConfig(ada="blit")), 5)
    assert "p goes on from where it stood" in said
    assert schedule_notes(OLD, 5) == [] == schedule_notes(longer(OLD, 9.0), 5, OLD)


def test_everything_else_is_refused_with_the_way_out(tmp_path):
    new = dataclasses.replace(OLD, optim=OptimConfig(lr=1e-3), data=DataConfig(mirror=True), log=LogConfig(2))
    with pytest.raises(ConfigError) as caught:
        check_changes(tmp_path, changes(OLD, new), ("table", "table"))
    text = str(caught.value)
    assert "data.mirror: False -> True" in text and "optim.lr: 0.0002 -> 0.001" in text and "log." not in text
    assert f"gan-jax train {tmp_path} --fork NEW --data.mirror --optim.lr 0.001" in text
    with pytest.raises(ConfigError, match="method: table -> mine.stay"):
        check_changes(tmp_path, [], ("table", "mine.stay"))
    other = changes(OLD, dataclasses.replace(OLD, net=DCGANConfig()))
    assert [one.field for one in other if option_of(one) is None and one.field.endswith("kind")] == ["net.kind"]
    with pytest.raises(ConfigError, match=f"from its weights: gan-jax transfer --transfer.source {tmp_path}"):
        check_changes(tmp_path, other, ("table", "table"))


def test_data_may_lie_elsewhere_where_it_is_known_what_they_were():
    new = dataclasses.replace(OLD, data=DataConfig(source="folder:elsewhere"))
    assert refused(new) == ["data.source"] and refused(new, data_known=True) == []


# -- data ----------------------------------------------------------------------------------------------------


def images(*values, labels=None, names=None):
    pixels = np.stack([np.full((4, 4, 1), value, np.uint8) for value in values])
    return Images(pixels, None if labels is None else np.array(labels), "folder:x", names)


def said(train, reference=None):
    return json.loads(json.dumps(describe_data(Dataset(train, reference or train), Config())))


def test_what_changed_of_the_data_is_counted():
    old = said(images(1, 2, 3, 4))
    assert data_changes(old, said(images(1, 2, 3, 4))) == []
    assert data_changes(old, said(images(1, 2, 9)), measured=False) == [
        "4 training images then, 3 now",
        "2 of them are gone and 1 is new (by their pixels and labels)",
    ]
    assert data_changes(old, said(images(2, 1, 3, 4)), measured=False) == [
        "the same training images in another order (were files renamed?)"
    ]
    assert data_changes(old, said(images(1, 2, 3, 4), images(5))) == [
        "the images that it is measured against are others"
    ]
    assert data_changes(old, said(images(1, 2, 3, 4), images(5)), measured=False) == []
    a = said(images(1, 2, labels=[0, 1], names=("cat", "dog")))
    b = said(images(1, 2, labels=[0, 2], names=("cat", "emu", "dog")))
    assert "classes cat, dog then, cat, emu, dog now" in data_changes(a, b)
    many = {**old, "digests": None}
    assert data_changes(many, {**said(images(4, 3, 2, 1)), "digests": None}, False) == [
        "as many training images, of other pixels or labels"
    ]


def test_changed_data_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(
        ConfigError, match=r"(?s)changed since it was started: 2 training images then, 1 now.*--fork NEW"
    ):
        check_data(tmp_path, said(images(1, 2)), said(images(1)), True)
    assert read_data(tmp_path) is None
    (tmp_path / "data.json").write_text('{"train": 3}')
    with pytest.raises(ConfigError, match="data.json is damaged: it has no fingerprints; remove it"):
        read_data(tmp_path)


# -- the folder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is damaged: not JSON"),
        ("[" * 100_000, "nested more than 100 deep"),
        ("[1]", "must be a mapping, not [1]"),
        ('{"config": 3}', "holds no configuration"),
        ('{"config": {"train": {"kimgs": 3}}}', "has no field 'kimgs'"),
        ('{"config": {"net": {"kind": "ResNet"}}}', "net.kind is 'ResNet'"),
        ('{"config": {}, "changed": 3}', "`changed` is not a list"),
    ],
)
def test_a_damaged_config_is_one_sentence(tmp_path, text, why):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_record(tmp_path)
    assert why in str(caught.value) and str(tmp_path / "config.json") in str(caught.value)
    assert "another folder" in str(caught.value) and "\n" not in str(caught.value)


def test_a_config_of_an_older_version_is_read(tmp_path):
    values = to_dict(OLD)
    del values["data"]["mirror"], values["diagnose"]
    (tmp_path / "config.json").write_text(json.dumps({"config": values}))
    record = read_record(tmp_path)
    assert record is not None and record["config"] == values


def test_a_start_that_failed_leaves_what_was_there(tmp_path):
    there = tmp_path / "mine"
    there.mkdir()
    (there / "notes.jsonl").write_text("my own")
    folder = RunFolder(there)
    for name in ("config.json", ".lock", "data.json"):
        (there / name).write_text("x")
    (there / "checkpoints" / "16").mkdir(parents=True)
    folder.undo()
    assert [path.name for path in there.iterdir()] == ["notes.jsonl"]

    made = RunFolder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / ".lock").touch()
    made.undo()
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=r"cannot be made .*file is a file.; use another folder .--out."):
            RunFolder(path)


def test_halves_of_files_are_removed(tmp_path):
    folder = RunFolder(tmp_path)
    left = [".config.json.123-0a1b2c3d.part", "weights/.manifest.json.9-00000000.part", "config.tmp"]
    left.append("checkpoints/16/manifest/.manifest.json.9-00000000.part")
    kept = ["my.part", ".mine.part", "checkpoints/16/manifest/manifest.json"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder.clean()
    assert [name for name in (*left, *kept) if (tmp_path / name).exists()] == kept


def test_commands_in_messages_can_be_typed(tmp_path):
    folder = tmp_path / "my run's"
    typed = shlex.quote(str(folder))
    assert length_command(folder, OLD) == f"gan-jax train {typed} --train.kimg 20"
    with pytest.raises(ConfigError) as raised:
        check_changes(folder, changes(OLD, dataclasses.replace(OLD, optim=OptimConfig(lr=0.5))), ("table", "table"))
    assert f"gan-jax train {typed} --fork NEW --optim.lr 0.5" in str(raised.value)


def test_a_folder_of_images_does_not_become_a_run(tmp_path):
    (tmp_path / "log.txt").touch()
    check_place(tmp_path)
    check_place(tmp_path / "new")
    (tmp_path / "a.JPG").touch()
    with pytest.raises(ConfigError, match=r"holds images \(a.JPG\).*name a new folder"):
        make_claim(OLD, tmp_path)
