"""`gan-jax fuse`: two pairs into one, with what was learned printed and drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gan_jax.cli.fuse import full_names
from gan_jax.config import MLPConfig
from gan_jax.report.fusion import alignment_lines, mixing_chart, mixing_table, source_names
from tests.lanes import default_rows
from tests.train.toy import save_pairs

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))
WORDS = "--net mlp --net.resolution 16 --net.channels 1 --net.z-dim 4 --net.g-widths 8 --net.d-widths 8".split()
RUN = "--train.kimg 0.096 --train.batch 8 --train.steps-per-dispatch 2 --train.devices 1 --checkpoint.every-kimg None"
QUIET = "--plan full --evaluate.features None --log.no-tensorboard --log.grid-every-kimg None".split()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    save_pairs(folder, NET, ("a", "b"))
    return folder


METHODS = {
    "gradient": ("--transfer.fuse-kimg 0.032", {"fusion", "shares"}),
    "merge": ("--transfer.merge ties", set()),
    "feature_fusion": ("--transfer.fuse-kimg 0.032 --transfer.distil-kimg 0.016", {"fusion", "shares", "attention"}),
    "distillation": ("--transfer.distil-kimg 0.016", {"fusion"}),
    "cocktail": ("--transfer.root-kimg 0.016", {"fusion"}),
}  # what is learned, and what is drawn of it


@pytest.mark.parametrize("method", default_rows(METHODS, ["gradient"]))
def test_two_pairs_become_one(cli, pairs, tmp_path, method):
    stage, drawn = METHODS[method][0].split(), METHODS[method][1]
    code = cli("fuse", *WORDS, "--method", method, "--donors", str(pairs / "a"), str(pairs / "b"),
               "--target", f"npz:{pairs / 'data.npz'}", "--out", str(tmp_path / "run"), *stage, *RUN.split(), *QUIET)  # fmt: skip
    assert code == 0, cli.err
    assert "g/params/fc0/kernel" in cli.out, "the plan"
    if method in ("gradient", "merge"):
        assert "G of" in cli.out and "cosine of weights" in cli.out
    else:
        assert "in the order of their own channels" in cli.out
    assert {path.stem for path in (tmp_path / "run").glob("*.png")} == drawn
    for name, said in {
        "fusion": "heat map",
        "shares": "shares over the stage",
        "attention": "attention by position",
    }.items():
        assert (f"{said}: {tmp_path / 'run' / name}.png" in cli.out) == (name in drawn)
    stages = {"gradient": ["mixing weights"], "distillation": ["distillation"], "cocktail": ["rooting donor 1 of 1"],
              "feature_fusion": ["attending to donors"], "merge": []}[method]  # fmt: skip
    for name in stages:
        assert f"{name}: 32 images, compiling" in cli.err or f"{name}: 16 images, compiling" in cli.err, cli.err
    if "fusion" in drawn:
        group = "all" if method in ("distillation", "cocktail") else "fc0"
        assert f"| `{group}`" in cli.out and "| a |" in cli.out.replace("  ", " ").replace("| a  |", "| a |")
    assert cli("sample", str(tmp_path / "run"), "--n", "4", "--out", str(tmp_path / "x.png")) == 0
    assert cli("inspect", str(tmp_path / "run"), "--provenance") == 0, cli.err
    assert "fused with" in cli.out


def test_what_cannot_be_fused_is_said(cli, pairs):
    assert cli("fuse", "--donors", str(pairs / "a")) == 2
    assert "needs two pairs or more: --donors A B" in cli.err
    assert cli("fuse", "--method", "freeze_d", "--donors", "a", "b") == 2
    assert "takes no donors; --method is one of minegan" in cli.err


def test_a_budget_that_leaves_nothing_to_fine_tune_is_refused(cli, pairs):
    run = [*WORDS, *RUN.split(), "--donors", str(pairs / "a"), str(pairs / "b")]
    for stage, rounded in (("0.096", ""), ("0.09", " (in whole dispatches)")):
        assert cli("fuse", *run, "--method", "gradient", "--transfer.fuse-kimg", stage) == 2
        assert f"transfer.fuse_kimg {stage} must be shorter than train.kimg 0.096{rounded}: nothing would be" in cli.err


def test_a_short_budget_shortens_the_stage_of_default_length_and_says_so(cli, fake_run, monkeypatch):
    assert cli("fuse", *WORDS, *RUN.split(), "--donors", "a", "b", "--target", "npz:x.npz") == 0, cli.err
    ((_, (config, _), options),) = fake_run.calls
    assert config.transfer.fuse_kimg == 0.048
    assert "stage: transfer.fuse_kimg 0.048 in place of 1, since train.kimg is 0.096; 48 images" in options["notes"][0]


def test_short_names_of_methods():
    assert full_names(["--method", "gradient", "x"]) == ["--method", "gradient_fusion", "x"]
    assert full_names(["--method", "f"]) == ["--method", "f"], "several begin so"
    assert full_names(["--method", "merge"]) == ["--method", "merge"]


def test_what_is_shown_of_a_fusion():
    found = {
        "target": "runs/one/pair", "by": "weights", "shares": {"g": {"stem": [0.25, 0.5], "b8": [0.0, 0.125]}},
        "donors": [{"donor": "runs/two/pair", "g": [0.1, 0.5]}, {"donor": "runs/three", "g": [0.2, 0.3], "d": [0.0, 1.0]}],
        "learned": [{"images": 16, "share1": 0.3, "share2": 0.4}, {"images": 32, "share1": 0.2, "share2": 0.5}],
    }  # fmt: skip
    assert source_names(found) == ["runs/one/pair", "runs/two/pair", "runs/three"], "two would be called pair"
    table = mixing_table(json.loads(json.dumps(found)))
    assert table.rows[0] == {"group": "stem", "runs/one/pair": 0.25, "runs/two/pair": 0.25, "runs/three": 0.5}
    chart = mixing_chart(found)
    np.testing.assert_allclose(chart.curves[0].values, [0.3, 0.3])
    assert list(chart.curves[2].values) == [0.4, 0.5] and list(chart.curves[1].images) == [16, 32]
    lines = alignment_lines(found)
    assert len(lines) == 3 and "G of runs/two/pair: cosine of weights 0.100 -> 0.500" in lines[0]
    assert alignment_lines({**found, "by": "none"}) == ["donors were taken in the order of their own channels"]


def test_pairs_without_their_option_are_told_it(cli):
    assert cli("fuse", "runs/a", "runs/b") == 2
    assert "gan-jax fuse --donors runs/a runs/b --target DATA" in cli.err
