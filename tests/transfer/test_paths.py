from __future__ import annotations

import dataclasses

from gan_jax.config import Config, DataConfig, FinetuneConfig, GradientFusionConfig, ScratchConfig
from gan_jax.transfer.claim import absolute, followed, relative_to


def test_paths_that_are_there_become_absolute(tmp_path, monkeypatch):
    for name in ("photos", "a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    transfer = GradientFusionConfig(source="a", donors=("b", "embedded:fashion16", "absent"))
    config = absolute(Config(data=DataConfig(source="folder:photos"), transfer=transfer))
    assert config.data.source == f"folder:{tmp_path / 'photos'}"
    assert config.transfer.source == str(tmp_path / "a")
    assert config.transfer.donors == (str(tmp_path / "b"), "embedded:fashion16", "absent")
    assert absolute(config) == config
    assert absolute(Config()) == Config() and absolute(Config(transfer=FinetuneConfig())).transfer == FinetuneConfig()


def test_splits_and_names_stay(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = lambda source: absolute(Config(data=DataConfig(source=source))).data.source
    assert spec("idx:digits:test") == f"idx:{tmp_path / 'digits'}:test"
    assert spec("tfds:digits:test") == "tfds:digits:test", "the name of a set, not the folder"
    assert spec("tfds:./digits:test") == f"tfds:{tmp_path / 'digits'}:test"
    assert spec("folder:absent") == "folder:absent" and spec("embedded:emoji") == "embedded:emoji"


def test_both_sides_of_pairs_are_paths(tmp_path, monkeypatch):
    for name in ("a,x", "b", "c"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    spec = lambda source: absolute(Config(data=DataConfig(source=source))).data.source
    assert spec("pairs:a,x,b") == f"pairs:{tmp_path}/a,x,{tmp_path}/b"
    assert spec("layouts:b,c,b") == f"layouts:{tmp_path}/b,{tmp_path}/c,{tmp_path}/b"
    assert spec("joined:b:BtoA") == f"joined:{tmp_path}/b:BtoA"
    assert spec("unpaired:absent,b") == f"unpaired:absent,{tmp_path}/b"
    assert spec("joined:absent:BtoA") == "joined:absent:BtoA"
    assert spec("tfds:./b@x,y") == f"tfds:{tmp_path}/b@x,y"
    assert spec("tfds:./b:test@x,y") == f"tfds:{tmp_path}/b:test@x,y" and spec("tfds:b@x,y") == "tfds:b@x,y"


def test_pairs_that_moved_with_the_run_are_followed(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for name in ("a", "b", "r"):
        (old / name).mkdir(parents=True)
    for spec in ("pairs:{0}/a,{0}/b", "joined:{0}/a:BtoA"):
        config = Config(data=DataConfig(source=spec.format(old)), transfer=ScratchConfig())
        relative = relative_to(config, old / "r")
        old.rename(new)
        assert followed(config, relative, new / "r")[0].data.source == spec.format(new)
        new.rename(old)


def test_what_moved_with_the_run_is_followed(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for name in ("photos", "runs/r"):
        (old / name).mkdir(parents=True)
    config = Config(data=DataConfig(source=f"folder:{old / 'photos'}"), transfer=ScratchConfig())
    relative = relative_to(config, old / "runs" / "r")
    assert relative == {str(old / "photos"): "../../photos"}
    assert followed(config, relative, old / "runs" / "r") == (config, [])
    old.rename(new)
    moved, notes = followed(config, relative, new / "runs" / "r")
    assert moved == dataclasses.replace(config, data=DataConfig(source=f"folder:{new / 'photos'}"))
    assert notes == [f"{old / 'photos'} has moved with the run: {new / 'photos'}"]
    (new / "photos").rmdir()
    assert followed(config, relative, new / "runs" / "r") == (config, []), "nothing is there: the error is the data's"
