from __future__ import annotations

import base64
import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
from gan_jax.report import html
from gan_jax.report.curves import Chart, Curve  # noqa: E402
from gan_jax.report.grids import make_gallery
from gan_jax.report.table import Column, Table  # noqa: E402
from tests.report.pages import Page, refers_outside  # noqa: E402

EVIL = "<script>alert('x')</script> & \"quoted\" \x1b[31m http://example.org/a.png"


@pytest.fixture
def report(images):
    leaf = f"g/params/b8/{EVIL}"
    return html.Report(
        title=EVIL,
        summary=f"{EVIL}\n\nSecond.",
        results=Table((Column("run", EVIL), Column("kid", better="lower")), [{"run": EVIL, "kid": [1.0]}], EVIL),
        command=EVIL,
        highlights=(html.Highlight(EVIL, EVIL, EVIL),),
        facts=(html.Fact(EVIL, EVIL), html.Fact("hash", EVIL, code=True)),
        config={EVIL: [EVIL, 1, None]},
        versions={EVIL: EVIL},
        pictures=(
            html.PictureRow(EVIL, images(3, 4, 4), EVIL),
            html.PictureRow("source", images(2, 2, 1)),
            html.PictureRow("colour", images(2, 8, 3)),
        ),
        pictures_note=EVIL,
        tables=((EVIL, Table((Column("method", EVIL),), [{"method": EVIL}], EVIL)),),
        charts=(Chart(EVIL, EVIL, (Curve(EVIL, [0, 1], [1, 2], seconds=[0, 1]),), ((EVIL, 1.0),), note=EVIL),),
        gallery=make_gallery(images(2), images(2), [0, 1], [0.5, 1.25], space=EVIL),
        warnings=(EVIL,),
        diagnoses=Table((Column("check", EVIL),), [{"check": EVIL}], EVIL),
        plan=Table((Column("leaf", EVIL, code=True),), [{"leaf": leaf}], EVIL),
        plan_summary=EVIL,
        costs=(html.Cost(EVIL, 4e9), html.Cost("frozen", 3e9)),
        costs_note=EVIL,
        limits=(EVIL,),
    )


def test_the_page_refers_to_nothing_outside_itself(report):
    text = html.render_report(report)
    page = Page(text)
    assert refers_outside(text) == []
    assert "base64" in text
    policy = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0].startswith("default-src 'none'; img-src data:")


def test_all_text_is_shown_as_it_is(report):
    page = Page(html.render_report(report))
    assert page.all("script") == [] and page.all("i") == []
    shown = EVIL.replace("\x1b", "")
    assert sum(shown in text for text in page.texts) >= 35
    assert "\x1b" not in "".join(page.texts)
    for field in dataclasses.fields(report):
        assert getattr(report, field.name), f"{field.name} is part of this test"


def test_headings_sections_and_links(report):
    page = Page(html.render_report(report))
    assert len(page.all("h1")) == 1 and len(page.all("main")) == 1 and page.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"][1:] for attrs in page.all("a")]
    assert links == "run pictures results diagnoses curves tables memory plan cost limits".split()
    assert set(links) <= set(ids) and len(page.all("h2")) == len(page.all("section")) == len(links)
    assert all("alt" in attrs for attrs in page.all("img"))


def test_pictures_are_the_pixels_that_were_given(report):
    page = Page(html.render_report(report))
    assert len(page.all("img")) == 3 + 2 + 2 + 4
    sources = [attrs["src"].removeprefix("data:image/png;base64,") for attrs in page.all("img")]
    decoded = [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]
    np.testing.assert_array_equal(decoded[3], report.pictures[1].images[0, ..., 0])
    np.testing.assert_array_equal(decoded[5], report.pictures[2].images[0])
    np.testing.assert_array_equal(decoded[7], report.gallery.generated[0, ..., 0])
    assert decoded[0].shape == (4, 4, 3), "transparency is laid on white, in the dark too"


def test_empty_sections_are_left_out():
    page = Page(html.render_report(html.Report("T", "S", Table((Column("run"),), [{"run": "a"}]))))
    assert [attrs["href"] for attrs in page.all("a")] == ["#results"]


def test_costs_are_compared_with_the_first(report):
    text = html.render_report(report)
    assert "4.00 GFLOP" in text and "3.00 GFLOP <small>(−25 %)</small>" in text and "width:75.00%" in text
    assert [html.flops_text(x) for x in (1.5e3, 2e6, 3e12)] == ["1.50 kFLOP", "2.00 MFLOP", "3.00 TFLOP"]
    with pytest.raises(ValueError, match="above 0 FLOP"):
        html.render_report(dataclasses.replace(report, costs=(html.Cost("x", 0.0),)))


def test_write_report_is_whole_and_repeatable(tmp_path, report):
    a, b = html.write_report(tmp_path / "a" / "r.html", report), html.write_report(tmp_path / "b.html", report)
    assert a.read_bytes() == b.read_bytes() and a.read_text(encoding="utf-8").endswith("</html>\n")
    surrogate = dataclasses.replace(report, title="bad \udcff name")
    assert b"bad" in html.write_report(tmp_path / "s.html", surrogate).read_bytes()


def test_importing_the_report_loads_nothing_heavy():
    modules = "curves fusion grids html style table"
    code = "import sys, importlib\n" + "".join(
        f"importlib.import_module('gan_jax.report.{m}')\n" for m in modules.split()
    )
    code += "print([m for m in ('matplotlib', 'PIL', 'rich', 'tensorboardX') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
