from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from gan_jax.report.curves import SERIES, Chart, Curve, legend_keys, panel_svg, write_curves  # noqa: E402

T = [0, 1000, 2000, 4000]
ADAPTED = Curve("adapted", T, [4.0, 3.0, 2.0, 1.0], seconds=[0, 9, 18, 40], half_widths=[0.1] * 4)
SCRATCH = Curve("_scratch $x$ <&>", T, [9.0, np.nan, 7.0, 6.0], seconds=[0, 10, 19, 41])
CHART = Chart("KID", "KID $10^3$ <ms> & \x00", (ADAPTED, SCRATCH), references=(("scratch's end", 6.0),))


def test_panels_have_images_and_seconds():
    images, seconds = (ElementTree.fromstring(panel_svg(CHART, axis)) for axis in CHART.axes())
    assert "real images shown to D" in texts(images) and "4k" in texts(images)
    assert "seconds of training" in texts(seconds) and "40" in texts(seconds)
    assert "KID $10^3$ <ms> & " in texts(images), "text is text: no formulas, no control characters"
    assert Chart("x", "y", (Curve("a", [0, 1], [1, 2]),)).axes() == ["images"]


def texts(svg):
    return [element.text for element in svg.iter("text")]


def test_svg_fits_into_a_page():
    svg = panel_svg(CHART, "images")
    assert svg.startswith("<svg ") and 'role="img"' in svg and 'aria-label="KID: ' in svg
    assert not re.search(r"<(script|style|metadata|image|!DOCTYPE|\?xml)", svg) and "http" not in svg
    for variable, _ in SERIES[:2]:
        assert f"var({variable}, #" in svg
    ids = [i for axis in CHART.axes() for i in re.findall(r'\bid="([^"]+)"', panel_svg(CHART, axis))]
    assert ids and len(ids) == len(set(ids)), "two panels on one page share no id"
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
    assert targets and set(targets) <= set(ids), "whatever is referred to is there"
    assert svg == panel_svg(CHART, "images"), "the same chart is the same drawing"


def test_heights_are_the_values():
    chart = Chart("t", "y", (Curve("a", [0, 1, 2], [0.0, 5.0, 10.0]),))
    svg = ElementTree.fromstring(panel_svg(chart, "images"))
    paths = [
        e.get("d") for e in svg.iter("path") if "--series-1" in e.get("style", "") and e.get("d", "").count("L") == 2
    ]
    points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", paths[0]), float)
    np.testing.assert_allclose(np.diff(points[:, 1], n=2), 0, atol=1e-4)
    assert points[0, 1] > points[2, 1], "up is more"


def test_legend_tells_curves_apart():
    many = Chart("t", "y", tuple(Curve(str(i), [0], [i]) for i in range(8)), references=(("goal", 1.0),))
    keys = legend_keys(many)
    assert len({key[1:] for key in keys}) == 9 and keys[-1][0] == "goal"


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_files(tmp_path, suffix):
    path = write_curves(tmp_path / f"kid{suffix}", CHART)
    data = path.read_bytes()
    assert data == write_curves(tmp_path / f"again{suffix}", CHART).read_bytes()
    if suffix == ".png":
        assert data.startswith(b"\x89PNG")
    else:
        shown = [element.text for element in ElementTree.fromstring(data).iter("{http://www.w3.org/2000/svg}text")]
        assert {"scratch's end", "adapted", "scratch $x$ <&>"} <= set(shown)
        assert b"#1f6fd6" in data and b"var(" not in data


def test_a_curve_without_seconds_is_still_in_the_legend(tmp_path):
    chart = Chart("t", "y", (ADAPTED, Curve("only images", T, [1.0, 2.0, 3.0, 4.0])))
    assert b"only images" in write_curves(tmp_path / "x.svg", chart).read_bytes()


@pytest.mark.parametrize(
    ("chart", "message"),
    [
        (Chart("t", "y", ()), "chart 't' has no curves"),
        (Chart("t", "y", (Curve("a", [0, 1], [1.0]),)), "curve 'a' has 1 values, 2 images"),
        (Chart("t", "y", (Curve("a", [0], [1.0], half_widths=[]),)), "0 half-widths"),
        (Chart("t", "y", (Curve("a", [0], [0.0]),), log_y=True), "set log_y=False"),
    ],
)
def test_what_cannot_be_drawn(chart, message):
    with pytest.raises(ValueError, match=message):
        panel_svg(chart, "images")


def test_odd_charts_are_drawn(tmp_path):
    assert "without values" in panel_svg(Chart("t", "y", (Curve("a", [0, 1], [np.nan, np.nan]),)), "images")
    panel_svg(Chart("t", "y", (Curve("a", [0, 1], [1e-3, 1e3]),), log_y=True), "images")
    panel_svg(Chart("t", "y", (Curve("a", [0, 1], [-1.0, 1.0], half_widths=[0.1, 0.1]),)), "images")
    with pytest.raises(ValueError, match=r"must end in \.svg or \.png"):
        write_curves(tmp_path / "x.gif", CHART)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"gan_jax\[report\]"):
        panel_svg(CHART, "images")
