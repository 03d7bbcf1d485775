"""Drawings of what a fusion learned: maps of attention by point and source."""

from __future__ import annotations

import numpy as np
import pytest

from gan_jax.report.fusion import mixing_table, source_names, write_attention_maps

FOUND = {
    "target": "runs/one",
    "donors": [{"donor": "runs/two"}, {"donor": "runs/three"}],
    "gates": {"b4": 0.25, "b8": -0.5},
}


def maps(own):
    """Point b4 of 4 x 4 and b8 of 8 x 8: the network's own share, the rest to the second donor in the upper half."""
    made = {}
    for point, size in (("b4", 4), ("b8", 8)):
        a = np.zeros((size, size, 3))
        a[..., 0] = own
        a[: size // 2, :, 2] = 1 - own
        a[size // 2 :, :, 1] = 1 - own
        made[point] = a.tolist()
    return made


def pixels(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count(image, rgb):
    return int((np.abs(image - np.asarray(rgb)).max(-1) <= 1).sum())


def test_maps_are_drawn_on_one_scale_a_row_a_point_and_a_column_a_source(tmp_path):
    import matplotlib

    colour = lambda share: [round(255 * c) for c in matplotlib.colormaps["viridis"](share)[:3]]
    image = pixels(write_attention_maps(tmp_path / "a.png", {**FOUND, "maps": maps(0.4)}))
    field = count(image, colour(0.4))  # two whole fields
    assert field > 10_000, "0.4 is not stretched to the ends of the scale"
    half = count(image, colour(0.6))
    assert 0.9 * field < half < 1.1 * field, "two halves in each of two rows"
    assert 0.9 * field < count(image, colour(0.0)) < 1.1 * field
    one = pixels(write_attention_maps(tmp_path / "b.png", {**FOUND, "maps": {"b4": maps(0.4)["b4"]}}))
    assert one.shape[0] < image.shape[0] and one.shape[1] == image.shape[1]
    thin = {"fc0": [[[0.2, 0.3, 0.5]] * 6]}  # of a fully connected layer: one row
    assert write_attention_maps(tmp_path / "c.png", {**FOUND, "maps": thin}).exists()


def test_titles_are_the_names_of_the_sources(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    told = {"set_title": [], "set_ylabel": []}
    for name, kept in told.items():
        original = getattr(Axes, name)
        monkeypatch.setattr(
            Axes, name, lambda self, text, *a, _f=original, _k=kept, **o: (_k.append(text), _f(self, text, *a, **o))[1]
        )
    write_attention_maps(tmp_path / "a.png", {**FOUND, "maps": maps(0.4)})
    assert told["set_title"] == ["one", "two", "three"]
    assert [text for text in told["set_ylabel"] if text.startswith("b")] == [
        "b4\n4 x 4, gate 0.250",
        "b8\n8 x 8, gate -0.500",
    ]


def test_the_table_has_a_share_for_each_source_and_they_sum_to_one():
    table = mixing_table({**FOUND, "shares": {"g": {"b4": [0.125, 0.5]}}})
    assert table.rows == [{"group": "b4", "one": 0.375, "two": 0.125, "three": 0.5}]


@pytest.mark.parametrize(
    "target, donors, names",
    [
        ("runs/a", ["runs/b"], ["a", "b"]),
        ("x/pair", ["y/pair"], ["x/pair", "y/pair"]),
        ("embedded:p", ["embedded:p", "embedded:p"], ["embedded:p", "embedded:p (2)", "embedded:p (3)"]),
    ],
)
def test_no_two_sources_have_one_name(target, donors, names):
    assert source_names({"target": target, "donors": [{"donor": one} for one in donors]}) == names
