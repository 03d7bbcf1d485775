"""The page of a run folder in every state that a run can leave it in; folders are written by hand."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest

pytest.importorskip("matplotlib")
from gan_jax.config import Config, ConfigError, DataConfig, EvalConfig, FreezeDConfig, MLPConfig  # noqa: E402
from gan_jax.report.grids import make_grid, write_png  # noqa: E402
from gan_jax.report.run import read_run, write_run_page  # noqa: E402
from gan_jax.report.run.findings import averaged
from gan_jax.report.run.pictures import cut, newest, smaller, spread  # noqa: E402
from gan_jax.surgery.plan import Plan, PlanEntry  # noqa: E402
from tests.report.pages import Page, refers_outside  # noqa: E402
from tests.report.run_folders import (  # noqa: E402
    FUSED,
    NET,
    PROTOCOL,
    SCRATCH,
    SIDE,
    evaluation,
    images,
    metric_row,
    write_grid,
    write_rows,
    write_run,
    write_weights,
)

EVIL = "<script>alert('x')</script> \x1b[31m http://example.org/a.png"


def text_of(folder, **options):
    """The words of a page that is whole and refers to nothing outside."""
    options = {"quick": True, **options}
    text = write_run_page(folder, **options).read_text(encoding="utf-8")
    assert refers_outside(text) == []
    assert text.count("could not be shown") == 0
    return " ".join(" ".join(Page(text).texts).split()), text


def test_a_finished_run(tmp_path):
    run = write_run(tmp_path / "r")
    write_rows(run / "metrics.jsonl", [metric_row(at) for at in (512, 1024)])
    write_rows(run / "evaluations.jsonl", [evaluation(512, 43.5), evaluation(1024, 21.75, spread=0.125)])
    write_rows(run / "notes.jsonl", [{"images": 0, "text": EVIL}, {"images": 512, "text": "mode collapse: look"}])
    (run / "data.json").write_text(
        json.dumps({"train": "ab" * 32, "count": 20, "name": "photos", "digests": ["x"] * 20})
    )
    for at in (512, 1024):
        write_grid(run, at)
    write_weights(run, 1024)
    words, text = text_of(run)
    for said in (
        "gone.npz, trained from scratch", "Finished: 1,024 of 1,024 images", "4 x TPU v9 (tpu)", "43.500", "21.750", "2.175",
        f"Protocol {PROTOCOL}", "517 images/s", "2:08", "mode collapse: look", "ab" * 32, "Frechet distance", "Losses",
        "generated images lie 0.12 times as far apart as real ones", "Nothing was transplanted", "train.kimg", "1.024",
        "jax==1.2.3", "--train.kimg 2.048", "What became of each leaf", "trained from fresh values", "negative transfer",
    ):  # fmt: skip
        assert said in words, said
    assert "parameters of G" in words and "Saves that" not in words and "digests" not in words
    assert "&lt;script&gt;" in text and "\x1b" not in text
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert {attrs["href"][1:] for attrs in page.all("a")} <= set(ids) and len(ids) == len(set(ids))
    assert len(page.all("img")) == 2 * 10 + 1, "two moments, and the newest grid whole"


def test_a_run_that_was_stopped_and_one_that_was_killed(tmp_path):
    run = write_run(
        tmp_path / "r", forked_from={"folder": "/runs/a", "images": 2000, "forked_from": {"folder": "/runs/b"}}
    )
    lines = [json.dumps(metric_row(at)) for at in (64, 128, 192)]
    (run / "metrics.jsonl").write_text(
        "\n".join([lines[0], "{damaged", '{"images": "many"}', *lines[1:], '{"images": 25'])
    )
    write_rows(run / "evaluations.jsonl", [evaluation(64, None, not_finite={"fd": "nan"}), {"images": 128, "fd": 1.0}])
    (run / "checkpoints" / "256.orbax-checkpoint-tmp").mkdir(parents=True)
    words, _ = text_of(run)
    for said in (
        "Not finished: 192 of 1,024 images so far, and no weights yet", "it has no checkpoint", "256.orbax-checkpoint-tmp",
        "2 of 5 rows of metrics.jsonl are damaged and left out (lines 2, 3)", "The last row of metrics.jsonl was cut off",
        "1 of 2 rows of evaluations.jsonl is damaged", "After 64 images: fd was nan", "There is one evaluation",
        "/runs/a at 2,000 images, itself forked from /runs/b", f"gan-jax train {run}", "nothing that images could be drawn with",
    ):  # fmt: skip
        assert said in words, said
    write_weights(run, 128)
    assert "It was stopped, or made longer, after 192 of 1,024 images; its weights are of 128" in _capital(
        text_of(run)[0]
    )


def _capital(words):
    return words.replace("it was stopped", "It was stopped")


def test_a_run_that_has_not_begun_and_damaged_files(tmp_path):
    run = write_run(tmp_path / "r", dataclasses.replace(SCRATCH, evaluate=EvalConfig(features=None)))
    words, _ = text_of(run)
    assert "It has not trained yet" in words and "evaluate.features is None" in words and "kept no notes" in words
    for name in ("plan.json", "history.json", "prepared.json", "data.json", "metrics.jsonl", "config.json"):
        (run / name).write_bytes(b"\xff{")
    write_grid(run, 64)
    (run / "samples" / "000000128.png").write_bytes(b"no picture")
    (run / "weights").mkdir()
    words, _ = text_of(run)
    for name in ("config.json", "plan.json", "history.json", "prepared.json", "data.json", "the manifest of weights"):
        assert f"{name[:1].upper()}{name[1:]} could not be read" in words, name
    assert "cannot read the configuration" in words
    write_run(run)
    words, _ = text_of(run)
    assert "Samples/000000128.png could not be read" in words and "All 64 images after 64" in words


@pytest.mark.parametrize(
    "record", ['{"config": {"net": {"kind": "NextConfig", "resolution": 4}}}', "[]", '{"config": 3}', "{}"]
)
def test_a_configuration_of_another_version(tmp_path, record):
    run = write_run(tmp_path / "r")
    (run / "config.json").write_text(record)
    write_grid(run, 64)
    write_rows(run / "metrics.jsonl", [metric_row(64)])
    words, _ = text_of(run, quick=False)
    assert ("All 64 images after 64" in words) == ("resolution" in record)
    assert "which images the run was trained on" in words or "Every option" in words or "no generated images" in words


def test_a_conditional_colour_run_of_two_protocols(tmp_path):
    net = dataclasses.replace(NET, channels=3, num_classes=2)
    run = write_run(tmp_path / "r", dataclasses.replace(SCRATCH, net=net))
    (run / "data.json").write_text(json.dumps({"class_names": ["cat", "dog"], "count": 20}))
    write_grid(run, 1024, channels=3)
    write_rows(run / "evaluations.jsonl", [evaluation(512, 4.0, protocol="old"), evaluation(1024, 2.0)])
    words, text = text_of(run)
    assert "Classes come in turn, 2 of them: cat, dog." in words and "4 x 4 px, colour" in words
    assert "2 protocols: rows of different ones must not be compared" in words and "old" in words
    assert "<strong>" not in text


def test_a_transfer_and_a_fusion(tmp_path):
    config = dataclasses.replace(SCRATCH, transfer=FreezeDConfig(source="embedded:fashion16"))
    run = write_run(tmp_path / "r", config)
    entries = (
        PlanEntry("d/params/head/bias", ("d/params/head/bias",), "copy", {}, (3,), "float32", ((3,),), frozen=True),
        PlanEntry("g/params/stem/bias", (), "init", {"shape": [4]}, (4,), "float32", ()),
    )
    (run / "plan.json").write_text(
        Plan(entries, unused=("g_ema/params/old",), notes=("d: function preserved",)).to_json()
    )
    words, _ = text_of(run)
    for said in ("gone.npz, adapted from fashion16 with freeze_d", "Not used of the source: g_ema/params/old.",
                 "d: function preserved", "Where each of 2 leaves comes from", "D 1 3 3 0 0 3 G 1 4 0 0 4 0"):  # fmt: skip
        assert said in words, said
    fused = write_run(tmp_path / "f", dataclasses.replace(SCRATCH, transfer=FUSED))
    found = {"target": "runs/boots", "donors": [{"donor": "runs/bags", "g": [0.125, 0.5]}], "by": "weights",
             "shares": {"g": {"b8": [0.25], "to_rgb": [0.875]}}, "gates": {"b8": 0.75}}  # fmt: skip
    (fused / "prepared.json").write_text(json.dumps({"fusion": found}))
    words, _ = text_of(fused)
    for said in ("gone.npz, fused from boots and bags with gradient_fusion", "0.750 0.250", "0.125 0.875",
                 "cosine of weights 0.125 -> 0.500", '"b8": 0.75'):  # fmt: skip
        assert said in words, said
    (fused / "prepared.json").write_text(
        json.dumps({"fusion": {"shares": {"g": {"b8": [0.25]}}}, "encoder": {"loss": 0.5}})
    )
    text = write_run_page(fused, quick=True).read_text()
    assert "could not be shown: KeyError" in text and "encoder" in text, "a damaged part costs no other part"


def test_neighbours_are_those_of_the_data(tmp_path):
    real = images(30, seed=5)
    np.savez(tmp_path / "set.npz", images=real)
    data = DataConfig(source=f"npz:{tmp_path / 'set.npz'}", shots=20)
    run = write_run(tmp_path / "r", dataclasses.replace(SCRATCH, data=data, evaluate=EvalConfig(features=None)))
    from gan_jax.transfer.dataset import load_dataset

    train = load_dataset(Config(net=NET, data=data)).train
    write_png(run / "samples" / "000000064.png", make_grid(np.concatenate([train.images[:1], images(63)])))
    (run / "data.json").write_text(json.dumps({"train": train.fingerprint, "spec": data.source}))
    words, _ = text_of(run, quick=False)
    assert "Median distance of 64 generated images to their nearest training image, in pixels from 0 to 1" in words
    assert "distance 0.00" in words and "have changed" not in words
    np.savez(tmp_path / "set.npz", images=images(30, seed=6))
    assert f"their fingerprint was {train.fingerprint[:16]}" in text_of(run, quick=False)[0]
    assert "were not read, as asked" in text_of(run)[0]
    (tmp_path / "set.npz").unlink()
    words, _ = text_of(run, quick=False)
    assert "The training images (npz:" in words and "put the data back" in words


def test_data_that_a_run_names_relatively_are_found_where_it_found_them(tmp_path, monkeypatch):
    np.savez(tmp_path / "set.npz", images=images(30))
    config = dataclasses.replace(SCRATCH, data=DataConfig(source="npz:set.npz"), evaluate=EvalConfig(features=None))
    run = write_run(tmp_path / "r", config)
    write_grid(run, 64)
    (run / "data.json").write_text(json.dumps({"spec": f"npz:{tmp_path / 'set.npz'}"}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "nearest training image, in pixels" in text_of(run, quick=False)[0]


def test_the_newest_state_is_drawn_with_the_latents_of_the_grids(tmp_path):
    from gan_jax.nets import build
    from gan_jax.tasks.sample import make_sampler
    from gan_jax.train.checkpoint.manager import Checkpointer

    run = write_run(tmp_path / "r")
    g = write_weights(run, 512)
    lost = []
    drawn = newest(read_run(run), 5, lost)
    sampler = make_sampler(build(NET))
    np.testing.assert_array_equal(drawn.images, sampler(g, jax.random.key(0), 5))
    assert (drawn.at, drawn.origin, lost) == (512, "weights", [])
    later = build(NET).g.init(jax.random.key(9))
    with Checkpointer(run / "checkpoints") as saver:
        saver.save(768, {"g_ema": later, "opt": {"m": np.zeros(2)}})
        saver.wait()
    drawn = newest(read_run(run), 5, lost)
    np.testing.assert_array_equal(drawn.images, sampler(later, jax.random.key(0), 5))
    assert (drawn.at, lost) == (768, [])
    words, _ = text_of(run, quick=False, n=70)
    assert "All 64 images after 768 (checkpoint of 768 images)" in words and "could not be read" in words, (
        "the data are gone"
    )
    for file in (run / "checkpoints" / "768" / "manifest").iterdir():
        file.write_text("{}")
    drawn = newest(read_run(run), 5, lost)
    assert drawn is None or drawn.at == 512
    assert "768" in lost[0]


def test_a_page_overwrites_pages_only(tmp_path):
    run = write_run(tmp_path / "r")
    assert write_run_page(run, quick=True) == run / "report.html"
    write_run_page(run, quick=True)
    mine = tmp_path / "mine.html"
    mine.write_text("my own")
    for out, said in (
        (mine, "did not write"),
        (tmp_path / "x.txt", "ending .html"),
        (mine / "x.html", "which is a file"),
    ):
        with pytest.raises(ConfigError, match=said):
            write_run_page(run, out, quick=True)
    (tmp_path / "y.html").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        write_run_page(run, tmp_path / "y.html", quick=True)
    assert mine.read_text() == "my own"
    for folder, said in ((tmp_path / "no", "does not exist"), (tmp_path, "is no run: it holds no config.json")):
        with pytest.raises(ConfigError, match=said):
            read_run(folder)


def test_grids_are_cut_as_they_were_made(tmp_path):
    for n, channels in ((64, 1), (5, 3), (1, 3), (64, 4)):
        made = images(n, channels)
        path = write_png(tmp_path / "g.png", make_grid(made))
        np.testing.assert_array_equal(cut(path, (SIDE, SIDE)), made)
        path = write_png(tmp_path / "g.png", make_grid(made, scale=3))
        np.testing.assert_array_equal(cut(path, (SIDE, SIDE)), made)
    with pytest.raises(ValueError, match="no grid of images of 5 x 5"):
        cut(path, (5, 5))


def test_small_parts():
    assert spread([], 3) == [] and spread([1, 2], 3) == [1, 2] and spread(list(range(10)), 3) == [0, 4, 9]
    assert averaged([(1, 1.0), (2, 3.0), (3, 5.0)], 2) == ([2, 3], [2.0, 5.0])
    assert smaller(images(2), 8).shape == (2, 4, 4, 1)
    halved = smaller(np.full((1, 4, 8, 3), 7, np.uint8), 4)
    assert halved.shape == (1, 2, 4, 3) and (halved == 7).all()
    assert isinstance(NET, MLPConfig)
