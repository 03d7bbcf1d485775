"""Files of our own formats, damaged: one sentence each, of an error of this package, never a traceback."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from gan_jax import config as c
from gan_jax.config import Config, ConfigError, from_dict, net_from_dict, net_to_dict, read_record, to_dict
from gan_jax.documents import escaped, parse_document, read_document, shown
from gan_jax.surgery.plan import Plan, PlanEntry
from gan_jax.surgery.provenance import check_history, fused_history, origin_of, train_step
from gan_jax.train.checkpoint.manifest import DamagedError, _seal, make_manifest, parse_manifest
from gan_jax.transfer.cells import read_trial
from gan_jax.transfer.diagnostics.failures import read_against
from tests.damage import survives

CONFIG = Config(
    net=c.R3GANConfig(), transfer=c.GradientFusionConfig(donors=("a", "b")), data=c.DataConfig(shots=5, classes=(1, 2))
)
DONE = {"kind": "transplant", "source": {"name": "x"}, "seed": 3, "leaves": {
    "g/b8/kernel": {"op": "widen", "args": {"axis": 1}, "sources": {"g/b4/kernel": "0" * 64}, "digest": "1" * 64},
    "g/b8/bias": {"op": "fresh"},
}}  # fmt: skip
READ = {"kind": "import", "source": {"files": {"g.": {"name": "G.pt", "digest": "0"}}, "layout": "dcgan"}, "leaves": {
    "g/b4/kernel": {"op": "same", "sources": {"g.main.0": None}},
}}  # fmt: skip
HISTORY = list(
    fused_history(
        [READ, DONE, train_step(5, to_dict(CONFIG))],
        ["a"],
        [[train_step(9, {}, frozen=["g/**"])]],
        {"g": {"b8": [0.5]}},
        "halves",
    )
)
LEAVES = {
    "g/params/kernel": {"shape": [3, 3, 1, 8], "dtype": "float32", "digest": "0" * 64},
    "key": {"shape": [2], "dtype": "key<fry>", "digest": "1" * 64, "impl": "threefry2x32"},
}
MANIFEST = make_manifest(100, LEAVES, [{"position": 3}, None], 0.5, {"jax": "0.8"}, HISTORY)
PLAN = Plan(
    (
        PlanEntry("g/a", ("g/a",), "copy", {}, (3, 4), "float32", ((3, 4),)),
        PlanEntry("g/b", ("g/b",), "mean", {"axis": 0}, (4,), "float32", ((2, 4),)),
    ),
    ("g/c",),
    ("a note",),
    {"shape": "adapt"},
)


def sealed(path):
    """As whoever wrote it would have sealed it: the fields are looked at themselves."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        body = json.loads(text)
        body.pop("seal", None)
        text = json.dumps(body | {"seal": _seal(body)})
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    return parse_manifest(text, 100, f"checkpoint {path}")


def use_history(path):
    steps = check_history(read_document(path, ConfigError, list), str(path))
    return origin_of(steps, "g/b8/kernel"), origin_of(steps, "g_ema/b8/kernel")


FORMATS = {
    "config.json": (lambda path: read_record(Config, path), {"config": to_dict(CONFIG), "versions": {"jax": "1"}}),
    "net": (lambda path: net_from_dict(read_document(path, ConfigError)), net_to_dict(CONFIG.net)),
    "manifest.json": (sealed, MANIFEST),
    "plan.json": (lambda path: Plan.from_json(path.read_text(errors="replace")).totals, json.loads(PLAN.to_json())),
    "history.json": (use_history, HISTORY),
    "cell.json": (
        read_trial,
        {"method": "m", "seed": 1, "train_hash": "a", "reference_hash": "b", "evaluations": [{"images": 1, "fd": 0.5}]},
    ),
    "evaluations.jsonl": (
        lambda path: read_against(path.parent, "p"),
        {"images": 1000, "protocol": "p", "kid": 0.1, "not_finite": {"fd": "nan"}},
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_told(name, tmp_path):
    read, document = FORMATS[name]
    (tmp_path / name).write_text(json.dumps(document))
    read(tmp_path / name)  # whole, it is read
    assert sum(survives(read, tmp_path / name, document, seed) for seed in range(2)) > 40


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"batch": 10**400}}, r"config\.train\.batch is 10+\.\.\.; a number of at most 64 bits"),
        ({"optim": {"lr": 10**20}}, r"config\.optim\.lr is 100000000000000000000; a number of at most 64 bits"),
        ({"optim": {"lr": float("nan")}}, r"config\.optim\.lr is nan; use a finite number"),
        ({"optim": {"lr": float("inf")}}, r"config\.optim\.lr is inf; use a finite number"),
        ({"optim": {"lr": True}}, r"config\.optim\.lr must be float, not True"),
        ({"train": {"batch": "8"}}, r"config\.train\.batch must be int, not '8'"),
        ({"data": {"channels": True}}, r"config\.data\.channels is True; use one of 1, 3, 4"),
        ({"net": {"kind": ["ResNetConfig"]}}, r"config\.net\.kind is \['ResNetConfig'\]; use one of"),
        ({"loss": {"name": ["hinge"]}}, r"config\.loss\.name is \['hinge'\]; use one of"),
        ({"\x1b[31m": 1}, r"config has no field '\\x1b\[31m'; its fields are"),
    ],
)
def test_values_that_no_field_takes(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, values)


def test_values_are_nested_a_hundred_deep_at_most():
    nested = lambda depth: "[" * depth + "]" * depth
    assert parse_document(nested(100), "file", ConfigError, list)
    for depth in (110, 900):  # less than Python's own limit
        with pytest.raises(ConfigError, match="^file is damaged: its values are nested more than 100 deep"):
            parse_document(nested(depth), "file", ConfigError, list)


def test_true_is_no_number_among_choices():
    values = net_to_dict(c.SNGANConfig())
    assert net_from_dict(values) == c.SNGANConfig()
    for field, hint in (("resolution", True), ("channels", True)):
        with pytest.raises(ConfigError, match=rf"net\.{field} "):
            net_from_dict({**values, field: hint})


@pytest.mark.parametrize("field", ["resolution", "z_dim", "channel_base"])
def test_sizes_that_cannot_be_meant(field):
    """Refused before a shape is made of them."""
    values = net_to_dict(c.DCGANConfig()) | {field: 2**30}
    with pytest.raises(ConfigError, match=rf"net\.{field} is 1073741824; use at most"):
        net_from_dict(values)
    with pytest.raises(ConfigError, match=rf"net\.{field} is 1073741824; (use )?at most"):
        Config(net=c.DCGANConfig(**{field: 2**30})).validate()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "1"}, "version must be a whole number, not '1'"),
        ({"images": None}, "images must be a whole number, not None"),
        ({"cursors": []}, "cursors must be a mapping or null for each process"),
        ({"leaves": []}, "leaves must be a mapping, not []"),
        ({"leaves": {"a": 3}}, "leaf 'a' must be a mapping, not 3"),
        ({"leaves": {"a": {**LEAVES["key"], "impl": "\x1bfry"}}}, "leaf 'a' has the dtype 'key<fry>'"),
        ({"leaves": {"a": {"shape": [2**60], "dtype": "float32", "digest": None}}}, f"the shape [{2**60}]"),
        (
            {"leaves": {"a": {"shape": [2**23] * 2, "dtype": "float32", "digest": None}}},
            "would take 281,474,976,710,656",
        ),
        ({"leaves": {"a": {"shape": [-1], "dtype": "float32", "digest": None}}}, "the shape [-1]"),
        ({"leaves": {"a": {"shape": [1], "dtype": "floaty", "digest": None}}}, "the dtype 'floaty'"),
        ({"leaves": {"a": {"shape": [1], "dtype": "float32", "digest": 7}}}, "the digest 7"),
        ({"metric": "low"}, "metric must be a number, not 'low'"),
    ],
)
def test_a_sealed_manifest_of_other_fields(change, says):
    body = {key: value for key, value in MANIFEST.items() if key != "seal"} | change
    with pytest.raises(DamagedError) as error:
        parse_manifest(json.dumps(body | {"seal": _seal(body)}), 100, "checkpoint c/100")
    assert says in str(error.value) and str(error.value).startswith("checkpoint c/100: its manifest is damaged")


def test_text_for_a_terminal():
    assert escaped("a\x1b[31m\n\x9b\u202e\ud800é") == "a\\x1b[31m\\n\\x9b\\u202e\\ud800é"
    assert len(shown("x" * 1000)) == 80 and shown(10**5000) == "a value of type int"


def test_stored_shapes_are_looked_at_before_memory_is_taken():
    from gan_jax.train.checkpoint import storage

    stored = {"g": {"params": {"kernel": jax.ShapeDtypeStruct((2**30, 3), np.float32)}}}
    with pytest.raises(
        ValueError, match=r"g/params/kernel is stored as \[1073741824, 3\], and its manifest says \[3, 3"
    ):
        storage._check_stored(type("Metadata", (), {"tree": stored})(), LEAVES)
