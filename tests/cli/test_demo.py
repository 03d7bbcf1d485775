"""The demo, whole, on a budget too small to learn much: what it writes is right whatever it learnt."""

import json
import re

import pytest

from gan_jax.cli.demo import main


@pytest.mark.slow
@pytest.mark.parametrize("target", ["boot", "emoji"])
def test_demo_writes_table_picture_and_page(tmp_path, capsys, target):
    assert main(["--target", target, "--out", str(tmp_path), "--kimg", "0.512"]) == 0
    said = capsys.readouterr().out
    assert "g_ema/params/b8/conv1/kernel" in said and "widen" in said  # the plan
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert max(numbers["preserved"].values()) < 1e-4  # the transplanted functions are the source's
    last = {name: rows[-1] for name, rows in numbers["evaluations"].items()}
    assert last["adapted"]["images"] == last["scratch"]["images"] == 512
    assert last["adapted"]["protocol"] == last["scratch"]["protocol"] == numbers["protocol"]["id"]
    assert numbers["protocol"]["n_real"] == {"boot": 900, "emoji": 1811}[target]
    assert (numbers["protocol"]["colour"] == "luminance-of-rgb") == (target == "emoji")
    assert ("relative only: the target" in " ".join(said.lower().split())) == (target == "emoji")
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*https?:""", page)
    assert numbers["train_hash"] in page and numbers["reference_hash"] in page
    assert (tmp_path / "grid.png").stat().st_size > 10_000
