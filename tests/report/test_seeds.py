"""Cells of several methods and seeds, put together."""

import pytest

from gan_jax.report.comparison import MEASURES
from gan_jax.report.seeds import make_chart, make_table, reached, summarise
from gan_jax.report.table import markdown_table
from gan_jax.transfer.cells import Trial

PROTOCOL = "fashion-v1-r9-f9-0a"


def cell(method: str, seed: int, *kids: float) -> Trial:
    rows = [
        {
            "images": 100 * (i + 1),
            "seconds": 2.0 * (i + 1),
            "protocol": "fashion-v1-r9-f9-0a",
            **dict.fromkeys(MEASURES, 0.5),
            "kid": kid,
        }
        for i, kid in enumerate(kids)
    ]
    return Trial(method, seed, "t", "r", rows)


CELLS = [cell("a", 0, 3.0, 1.0), cell("b", 0, 5.0, 3.0), cell("a", 1, 4.0, 1.2), cell("b", 1, 4.0, 1.0)]
NAMES = {"a": "adapted", "b": "from scratch"}


def test_summary():
    summary = summarise(CELLS)
    assert summary["kid a"]["mean"] == pytest.approx(1.1)
    assert summary["kid a"]["half_width_95"] == pytest.approx(12.706 * 0.1, rel=1e-3)  # t of one degree of freedom
    assert summary["kid a and b overlap"] is True
    apart = [cell("a", s, 1.0 + 0.01 * s) for s in range(3)] + [cell("b", s, 2.0 + 0.01 * s) for s in range(3)]
    assert summarise(apart)["kid a and b overlap"] is False
    assert summarise(CELLS[:2])["kid a and b overlap"] is None  # one seed has no interval


def test_reached():
    assert reached(CELLS, "a", "b") == [{"images": 100, "seconds": 2.0, "b_images": 200, "b_seconds": 4.0}, None]


def test_distances_are_named_after_their_network():
    assert "KID (fashion-v1)" in markdown_table(make_table(CELLS, NAMES))
    other = [Trial(c.method, c.seed, "t", "r", [{**row, "protocol": "mobilenetv2-r9-f9-0a"} for row in c.evaluations])
             for c in CELLS]  # fmt: skip
    text = markdown_table(make_table(other, NAMES))
    assert "FD (mobilenetv2)" in text and "fashion" not in text.partition("Protocol")[0]
    assert make_chart(other, NAMES).title == "KID (mobilenetv2)"


def test_table_and_chart():
    text = markdown_table(make_table(CELLS, NAMES))
    assert "| adapted |" in text and "1.100 ± 1.271" in text
    curve = make_chart(CELLS, NAMES).curves[0]
    assert list(curve.images) == [100, 200] and list(curve.values) == pytest.approx([3.5, 1.1])
