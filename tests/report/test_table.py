from __future__ import annotations

import numpy as np
import pytest

from gan_jax.report.table import Column, Table, html_table, interval, markdown_table, show, terminal_table

RUNS = Table(
    (
        Column("run"),
        Column("images"),
        Column("kid", "KID (fashion-v1)", "×10³", "lower", 1),
        Column("recall", better="higher", decimals=2),
    ),
    [
        {"run": "adapted", "images": 20480, "kid": [30.0, 31.0, 32.0, 33.0, 34.0], "recall": [0.4, 0.5, 0.6, 0.5, 0.5]},
        {"run": "scratch | plain", "images": 20480, "kid": [88.0] * 5, "recall": None},
    ],
    caption="Ankle boots.",
)


def test_interval_is_students():
    # t_{0.975, 4} = 2.776445105, s = sqrt(2.5), n = 5
    mean, half = interval([1, 2, 3, 4, 5])
    np.testing.assert_allclose([mean, half], [3.0, 2.776445105 * np.sqrt(2.5 / 5)], rtol=1e-9)
    np.testing.assert_allclose(interval([1.0, 3.0], 0.9), [2.0, 6.313751515], rtol=1e-9)
    assert interval([7.0]) == (7.0, None)
    assert interval([2.0, 2.0]) == (2.0, 0.0)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [[1.0]]])
def test_interval_refuses_what_has_no_mean(bad):
    with pytest.raises(ValueError, match="at least one finite number per seed"):
        interval(bad)


def test_values_as_text():
    column = Column("x", decimals=2)
    shown = [
        show(v, column) for v in (None, [], 12345, 0.5, [1.0], [1.0, np.nan], np.inf, True, np.float32(2), "a\x1b")
    ]
    assert shown == ["–", "–", "12,345", "0.50", "1.00", "not finite", "not finite", "yes", "2.00", "a"]
    assert show(np.array([1.0, 3.0]), column) == "2.00 ± 12.71"


def test_notes_say_how_many_seeds():
    assert RUNS.note() == "Ankle boots. Mean ± half-width of the 95 % interval (Student t) over 5 seeds."
    kid = Column("kid", better="lower")
    assert Table((kid,), [{"kid": [1.0]}, {"kid": 2.0}]).note() == "One seed: no interval."
    mixed = Table((kid,), [{"kid": [1.0, 2.0]}, {"kid": [1.0, 2.0, 3.0]}, {"kid": [1.0]}]).note()
    assert "over 2 to 3 seeds" in mixed and "without ± are of one seed" in mixed
    assert Table((Column("n"),), [{"n": 3}]).note() == "", "a count is no measurement"


def test_best_is_by_mean_and_direction():
    kid, recall = Column("v", better="lower"), Column("v", better="higher")
    rows = [{"v": [1.0, 3.0]}, {"v": 5.0}, {"v": [np.nan]}, {"v": None}]
    assert Table((kid,), rows).best(kid) == {0} and Table((recall,), rows).best(recall) == {1}
    assert Table((kid,), rows[:1]).best(kid) == set(), "alone is not best"


def test_markdown():
    assert markdown_table(RUNS).splitlines() == [
        "| run | images | KID (fashion-v1), ×10³ ↓ | recall ↑ |",
        "| --- | ---: | ---: | ---: |",
        "| adapted | 20,480 | **32.0 ± 2.0** | 0.50 ± 0.09 |",
        "| scratch \\| plain | 20,480 | 88.0 ± 0.0 | – |",
        "",
        "Ankle boots. Mean ± half-width of the 95 % interval (Student t) over 5 seeds.",
    ]


def test_html_escapes_and_marks():
    text = html_table(Table((Column("<b>"), Column("v", better="lower")), [{"<b>": "a<i>&", "v": 1.0}, {"v": 2.0}]))
    assert '<th scope="col" class="text">&lt;b&gt;</th>' in text and "a&lt;i&gt;&amp;" in text and "<i>" not in text
    assert '<td class="number"><strong>1.000</strong></td>' in text and "One seed: no interval." in text


def test_terminal_keeps_what_looks_like_markup():
    leaf = Column("leaf", code=True)
    text = terminal_table(Table((leaf,), [{"leaf": "[bold]float32[3,3,1,24]"}]), "The [red]plan", width=80)
    assert "[bold]float32[3,3,1,24]" in text and "The [red]plan" in text and "\x1b" not in text
    wide = terminal_table(RUNS, width=100)
    assert "32.0 ± 2.0" in wide and "5 seeds" in wide and max(map(len, wide.splitlines())) <= 100
