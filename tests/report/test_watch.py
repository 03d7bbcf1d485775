"""What is shown of evaluations."""

from __future__ import annotations

from gan_jax.config import Config
from gan_jax.report.watch import Watch, evaluation_line, evaluation_lines

ROW = {"images": 4096, "seconds": 61.2, "protocol": "fashion-v1-r900-f2000-1f0c9a3e", "fd": 21.3, "kid": 0.01234,
       "precision": 0.512, "recall": 0.3005, "density": 1.0}  # fmt: skip


def test_an_evaluation_is_a_line_with_its_network():
    assert evaluation_line(ROW) == (
        "evaluation at 4,096 images (fashion-v1): FD 21.30, KID 0.0123, precision 0.512, recall 0.300"
    )
    few = {"images": 16, "protocol": "mobilenetv2:96-r9-f9-00000000", "fd": None, "kid": 1.0, "recall": float("nan")}
    assert evaluation_line(few) == "evaluation at 16 images (mobilenetv2:96): KID 1.0000"


def test_all_evaluations_are_a_table():
    few = {key: value for key, value in ROW.items() if key != "fd"} | {"images": 8}
    assert evaluation_lines([few, ROW]) == [
        "evaluations (fashion-v1)",
        "  images  time     FD     KID  precision  recall",
        "       8  1:01      -  0.0123      0.512   0.300",
        "   4,096  1:01  21.30  0.0123      0.512   0.300",
    ]
    other = {**ROW, "protocol": "lenet-mnist-r9-f9-00000000"}
    assert evaluation_lines([ROW, other])[0] == "evaluations" and "lenet-mnist" in evaluation_lines([ROW, other])[3]


def test_a_run_of_one_image_shows_what_there_is_and_says_why_no_more():
    one = {"images": 64, "seconds": 3.0, "protocol": "fashion-v1-r1-f64-ff903a93", "is": 1.2398, "is_std": 0.1,
           "d_train": 1.0, "d_fake": 0.515625, "r_t": 1.0}  # fmt: skip
    assert evaluation_line(one) == "evaluation at 64 images (fashion-v1): IS 1.24, D(train) 1.000, D(G) 0.516"
    assert evaluation_lines([one]) == [
        "evaluations (fashion-v1)",
        "  images  time    IS  D(train)   D(G)",
        "      64  0:03  1.24     1.000  0.516",
        "  D(..): the share of training images, and of generated ones, that D takes for real",
        "  not measured of 1 real and 64 generated images, which are too few: FD, KID, precision, recall",
    ]
    few = {key: value for key, value in ROW.items() if key != "fd"}
    assert evaluation_lines([few])[-1].endswith("2,000 generated images, which are too few: FD")
    bare = {"images": 64, "protocol": "fashion-v1-r1-f64-ff903a93"}
    assert (
        evaluation_line(bare).endswith("no number could be measured") and "not measured" in evaluation_lines([bare])[-1]
    )


def test_a_stage_has_a_line_and_its_end(tmp_path, capsys):
    watch = Watch(Config(), tmp_path)
    for images in (0, 16, 32):
        watch.stage("mixing weights", images, 32, {"share1": 0.25})
    watch.stage("distillation", 0, 16, {})
    watch.note("learned")
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "mixing weights: 32 images, compiling"
    assert any(line.startswith("mixing weights: 32/32 images, 100 %") and "share1 0.25" in line for line in err)
    assert err[-3].startswith("distillation: 16 images, compiling") and err[-1] == "learned"
    quiet = Watch(Config(), tmp_path, quiet=True)
    quiet.stage("distillation", 0, 16, {})
    quiet.note("x")
    quiet.done([ROW])
    assert capsys.readouterr() == ("", "")
