"""The split of the emoji: what shows one thing is in one part, and a tenth of each category is held out."""

from __future__ import annotations

import collections
import importlib.util
import json
import sys

import numpy as np
import pytest

from gan_jax.data import load_pairs
from gan_jax.data.decode import encode_png
from tests.conftest import REPO


@pytest.fixture(scope="module")
def make_pairs():
    path = REPO / "experiments" / "translation" / "make_pairs.py"
    spec = importlib.util.spec_from_file_location("make_pairs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_pairs"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_pairs"]


@pytest.mark.parametrize(
    ("code", "subcategory", "group"),
    [
        ("1f600", "face-smiling", "1f600"),
        ("2764-fe0f", "heart", "2764"),
        ("1f468-200d-1f680", "person-role", "1f9d1-1f680"),  # man, woman and person who fly
        ("1f469-200d-1f680", "person-role", "1f9d1-1f680"),
        ("1f9d1-200d-1f680", "person-role", "1f9d1-1f680"),
        ("1f3c3", "person-activity", "1f3c3"),  # runs; a woman who does; to the right
        ("1f3c3-200d-2640-fe0f", "person-activity", "1f3c3"),
        ("1f3c3-200d-2642-fe0f-200d-27a1-fe0f", "person-activity", "1f3c3"),
        ("1f469-200d-1f467", "family", "family"),
        ("1f3fb", "skin-tone", "1f3fb"),
        ("1f1e9-1f1ea", "country-flag", "1f1e9-1f1ea"),
    ],
)
def test_groups(make_pairs, code, subcategory, group):
    assert make_pairs.group_of(code, subcategory) == group


def entries() -> list[dict]:
    """Sixty flags, and forty people of whom each has a woman and two tones."""
    rows = []
    for i in range(60):
        rows.append({"unified": f"1F1E6-{0x1F1E6 + i:X}", "category": "Flags", "subcategory": "country-flag"})
    for i in range(40):
        for code in (f"{0x1F900 + i:X}", f"{0x1F900 + i:X}-200D-2640-FE0F"):
            tones = {
                tone: {"unified": code.replace(f"{0x1F900 + i:X}", f"{0x1F900 + i:X}-{tone}")}
                for tone in ("1F3FB", "1F3FF")
            }
            rows.append({"unified": code, "category": "People", "subcategory": "person", "skin_variations": tones})
    return [row | {"short_name": row["unified"], "sort_order": i} for i, row in enumerate(rows)]


def test_no_group_straddles_the_split_and_tones_do_not_change_it(make_pairs):
    data = json.dumps(entries()).encode()
    plain, with_tones = (make_pairs.read_emoji(data, tones) for tones in (False, True))
    assert len(plain) == 140 and len(with_tones) == 140 + 160
    held_out = make_pairs.held_out_groups(with_tones)
    assert held_out == make_pairs.held_out_groups(plain) != make_pairs.held_out_groups(plain, seed=1)
    counts = collections.Counter(emoji.category for emoji in plain if emoji.group in held_out)
    assert counts == {"Flags": 6, "People": 8}
    part = lambda code: next(emoji.group in held_out for emoji in with_tones if emoji.code == code)
    for i in range(40):
        base = f"{0x1F900 + i:x}"
        twins = [base, f"{base}-1f3fb", f"{base}-1f3ff", f"{base}-200d-2640-fe0f", f"{base}-1f3ff-200d-2640-fe0f"]
        assert len({part(code) for code in twins}) == 1, base


def test_the_folders_are_read_as_pairs_and_layouts(make_pairs, tmp_path):
    emoji = make_pairs.read_emoji(json.dumps(entries()).encode(), False)
    colour = lambda name: [*make_pairs.COLOURS[name], 255]
    target = np.zeros((8, 8, 4), np.uint8)
    target[2:6, 2:4], target[2:6, 4:6] = colour("red"), colour("blue")
    source = np.full((8, 8, 4), 7, np.uint8)
    pictures = {
        "google": {entry.code: encode_png(source) for entry in emoji},
        "twitter": {entry.code: encode_png(target) for entry in emoji},
    }
    assert make_pairs.write_pairs(tmp_path, emoji, pictures, 0) == {"train": 126, "test": 14}
    pairs = load_pairs(f"pairs:{tmp_path}/test/noto,{tmp_path}/test/twemoji")
    np.testing.assert_array_equal(pairs.inputs[3], source)
    np.testing.assert_array_equal(pairs.images[3], target)
    layout = load_pairs(f"layouts:{tmp_path}/train/labels,{tmp_path}/train/twemoji")
    assert layout.class_names == tuple(make_pairs.COLOURS) and layout.num_labels == 13
    expected = np.zeros((8, 8), int)
    expected[2:6, 2:4], expected[2:6, 4:6] = 5, 10  # red, blue
    np.testing.assert_array_equal(layout.inputs[0], expected)
    lines = load_pairs(f"pairs:{tmp_path}/train/edges,{tmp_path}/train/noto").inputs[0, ..., 0]
    np.testing.assert_array_equal(lines[3] == 0, [False, True, False, True, False, True, False, False])
    assert (tmp_path / "split.tsv").read_text().count("\n") == 141
    assert "Apache License 2.0" in (tmp_path / "LICENCES.md").read_text()
