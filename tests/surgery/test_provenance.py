"""Histories: every step of A -> B -> C is told of every leaf, also of leaves that are made of several."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from gan_jax.surgery import Difference, make_plan, pair_rules, transplant
from gan_jax.surgery.provenance import (
    history_of,
    manifest_digest,
    origin_lines,
    origin_of,
    provenance_lines,
    train_step,
    transplant_step,
)
from gan_jax.trees import TreeError, digest, flatten, specs
from tests.surgery.pairs import make_pair

SCRATCH = {"data": {"source": "clothes"}, "transfer": {"kind": "ScratchConfig"}}
FREEZE = {"data": {"source": "shoes", "classes": [9]}, "transfer": {"kind": "FreezeDConfig"}}


def manifest_of(variables, history):
    leaves = {
        p: {"shape": list(x.shape), "dtype": str(x.dtype), "digest": digest(x)} for p, x in flatten(variables).items()
    }
    return {"leaves": leaves, "history": history}


def move(name, old, old_variables, history, seed, **changes):
    """(pair, variables, manifest) of a transplant into another pair."""
    new, fresh = make_pair(seed, **changes)
    rules = pair_rules(new.config, old.config, specs(fresh), specs(old_variables))
    plan = make_plan(specs(fresh), specs(old_variables), rules, shape="adapt")
    variables, report = transplant(plan, old_variables, fresh)
    before = manifest_of(old_variables, history)
    said = {"name": name, "digest": manifest_digest(before)}
    measured = {"g": Difference(2e-7, 1.0, 8), "d": Difference(float("inf"), 1.0, 8)}
    step = transplant_step(plan, report, said, seed=seed, measured=measured)
    return new, variables, manifest_of(variables, [*history, step])


@pytest.fixture(scope="module")
def chain():
    """A (trained) -> B (wider), trained with D's reader frozen -> C (in colour)."""
    with jax.numpy_rank_promotion("allow"):
        a, a_variables = make_pair(0)
        history = [train_step(1000, SCRATCH)]
        b, b_variables, of_b = move("a", a, a_variables, history, 1, channel_max=9)
        history = [*of_b["history"], train_step(64, FREEZE, frozen=["d/params/from_rgb/**"])]
        _, c_variables, of_c = move("b", b, b_variables, history, 2, channel_max=9, channels=3)
    return {"a": a_variables, "b": b_variables, "c": c_variables}, json.loads(json.dumps(of_c))


def words(origin):
    """A chain as (step, first word) pairs, along the first sources."""
    return [
        (origin.step, origin.words.split("(")[0].split()[0].rstrip(":")),
        *(words(origin.sources[0]) if origin.sources else []),
    ]


def test_every_leaf_has_every_step(chain):
    _, manifest = chain
    history = history_of(manifest)
    for path in manifest["leaves"]:
        assert [step for step, _ in words(origin_of(history, path))] == [4, 3, 2, 1], path


def test_a_leaf_moved_trained_and_moved_again(chain):
    trees, manifest = chain
    path = "d/params/b8/conv0/kernel"
    found = origin_of(history_of(manifest), path)
    assert words(found) == [(4, "copy"), (3, "trained"), (2, "widen_spectral"), (1, "trained")]
    wide, narrow = (flatten(trees[name])[path] for name in "ba")
    assert digest(wide)[:12] in found.words and digest(narrow)[:12] in found.sources[0].sources[0].words
    assert '"' not in found.words and "shape=[3, 3, 9, 9]" in found.sources[0].sources[0].words


def test_a_leaf_of_several_sources_tells_the_chain_of_each(chain):
    trees, manifest = chain
    found = origin_of(history_of(manifest), "d/spectral/from_rgb/u")
    assert (
        found.words.startswith("singular_vector(")
        and digest(trees["b"]["d"]["spectral"]["from_rgb"]["u"])[:12] in found.words
    )
    assert [source.path for source in found.sources] == ["d/spectral/from_rgb/u", "d/params/from_rgb/kernel"]
    assert words(found.sources[0]) == [(3, "trained"), (2, "pad"), (1, "trained")]
    assert words(found.sources[1]) == [(3, "frozen"), (2, "widen_spectral"), (1, "trained")]
    text = "\n".join(origin_lines(found))
    assert text.index("     d/spectral/from_rgb/u\n       3  trained") < text.index(
        "     d/params/from_rgb/kernel\n       3  frozen"
    )


def test_the_record_says_how_and_is_not_repeated(chain):
    trees, manifest = chain
    step = manifest["history"][3]
    assert step["source"]["name"] == "b" and len(step["source"]["digest"]) == 64 and step["seed"] == 2
    assert step["date"] and {"python", "gan_jax", "jax", "numpy"} <= step["versions"].keys()
    assert step["measured"]["g"] == {"preserved": True, "largest": 2e-7, "scale": 1.0, "probes": 8}
    assert step["measured"]["d"]["preserved"] is False and step["measured"]["d"]["largest"] is None
    leaves, c = step["leaves"], flatten(trees["c"])
    assert leaves.keys() == c.keys()
    bias = "d/params/b8/conv0/bias"
    assert leaves[bias] == {"op": "copy", "sources": {bias: digest(c[bias])}}, "a copy needs no digest of its own"
    assert leaves["d/params/from_rgb/kernel"]["digest"] == digest(c["d/params/from_rgb/kernel"])
    each = [len(json.dumps(step)) / len(step["leaves"]) for step in manifest["history"] if "leaves" in step]
    assert max(each) < 400, "bytes a leaf and step"


def test_as_text(chain):
    lines = provenance_lines(chain[1], "g/params/stem/bias")
    assert lines[0] == "history, oldest first:"
    assert any("trained from fresh values: 1,000 images of clothes" in line for line in lines)
    assert any("trained: 64 images of shoes, classes [9]" in line for line in lines)
    assert "       frozen: d/params/from_rgb/**" in lines
    assert "       D: function not preserved: largest difference not finite of 1.0e+00 on 8 probes" in lines
    start = lines.index("g/params/stem/bias")
    assert [line.split()[:2] for line in lines[start + 1 :]] == [
        ["4", "copy"], ["3", "trained"], ["2", "widen(shape=[144],"], ["1", "trained"]
    ]  # fmt: skip
    with pytest.raises(TreeError, match="no leaf is covered by 'g/params/stem/bia'.*did you mean"):
        provenance_lines(chain[1], "g/params/stem/bia")


def test_the_moving_average_follows_g_and_what_training_makes_begins_there():
    history = [train_step(10, SCRATCH, measured_anew=["g_ema/batch_stats/**"])]
    assert origin_of(history, "g_ema/params/w").words == (
        "trained from fresh values as g/params/w, of which this is the moving average"
    )
    assert origin_of(history, "g_ema/batch_stats/m").words == "recomputed on the trained weights"
    assert (
        origin_of(history, "opt_g/0/mu/w").words == "made by this training" and not origin_of(history, "step").sources
    )


def test_fresh_leaves_and_leaves_outside_the_plan():
    tree = {"g": {"w": np.ones(2, np.float32)}}
    plan = make_plan(tree, {}, missing="init")
    _, report = transplant(plan, {}, tree)
    history = [transplant_step(plan, report, {"name": "x", "digest": None}, seed=3, measured="not measured: no reason")]
    assert origin_of(history, "g/w").words == "init: fresh values (seed 3)"
    assert origin_of(history, "d/w").words == "fresh values (seed 3): not of the source"
    assert "       function not measured: no reason" in provenance_lines({"leaves": tree["g"], "history": history}, "w")


def test_weights_from_before_there_were_histories():
    old = {"created": "2025-01-02T00:00:00", "versions": {}, "images": 7, "config": SCRATCH, "leaves": {"g/w": {}}}
    assert origin_of(history_of(old), "g/w").words == "trained from fresh values"
    assert history_of({**old, "config": FREEZE}) == [], "what came before that training is not known"
    lines = provenance_lines({"leaves": {"g/w": {}}})
    assert lines == [
        "no history: these weights were made without a record of it",
        "",
        "g/w",
        "  -  not recorded before this",
    ]
    resumed = [train_step(5, FREEZE)]
    assert [o.words for o in origin_of(resumed, "g/w").sources] == ["not recorded before this"]
