"""The benchmark of methods at a size for a test: every method has a row, and ratios are of the same round."""

from __future__ import annotations

import pytest
from numpy.testing import assert_allclose

from benchmarks import convolution, forms, fusion, methods
from benchmarks.__main__ import show
from gan_jax.config import METHOD_NAMES, MLPConfig


def test_ratios_are_of_the_same_round():
    found = methods.ratios([1.0, 2.0, 6.0, 4.0, 5.0], [1.0, 1.0, 2.0, 1.0, 1.0])  # 1, 2, 3, 4, 5
    assert_allclose([found[key] for key in ("lower_quartile", "time_ratio", "upper_quartile")], [2, 3, 4])


def test_all_take_turns_and_every_round_begins_with_another():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = methods.time_in_turns(calls, 3)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


@pytest.mark.slow
@pytest.mark.parametrize("names", [("finetune", "fsgan"), None], ids=["two", "all"])
def test_rows_of_methods(names, monkeypatch, capsys):
    net = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 8), d_widths=(8, 8, 8))
    if names is None:  # AdaFM, CDC and RSSA want maps
        net = methods.ResNetConfig(resolution=16, z_dim=4, channel_base=64, channel_max=4)
        names = tuple(methods.compared())
    for key, value in {"NET": net, "BATCH": 8, "SHOTS": 12, "STEPS": 1, "DISPATCHES": 2, "ROUNDS": 2}.items():
        monkeypatch.setattr(methods, key, value)
    monkeypatch.setitem(methods.OPTIONS, "bsa", {"images": 12})
    monkeypatch.setattr(methods, "METHOD_NAMES", {name: METHOD_NAMES[name] for name in names})
    rows = methods.run()
    assert [row["method"] for row in rows] == list(names)
    base, other = rows[0], rows[-1] if len(rows) == 2 else next(row for row in rows if row["method"] == "fsgan")
    assert (base["flops_ratio"], base["time_ratio"], base["trained_d"] > 0) == (1.0, 1.0, True)
    assert 0 < other["trained_g"] < base["trained_g"] and other["time_ratio"] > 0
    show(methods.TITLE, rows, markdown=True)
    assert "| finetune |" in capsys.readouterr().out


@pytest.mark.slow
def test_rows_of_fusion(monkeypatch):
    net = MLPConfig(resolution=16, channels=1, z_dim=64, g_widths=(8,), d_widths=(8,))
    for key, value in {"NET": net, "BATCH": 8, "SHOTS": 12, "STEPS": 1, "DISPATCHES": 1, "ROUNDS": 2}.items():
        monkeypatch.setattr(methods, key, value)
    monkeypatch.setattr(fusion, "GATES", {name: fusion.GATES[name] for name in ("2 donors", "4 donors, channels")})
    plain, two, channels = fusion.run()
    assert (plain["stage"], plain["time_ratio"]) == ("fine-tuning", 1.0)
    assert two["trained_g"] == 2 * 3  # two groups of leaves, logits of the source and of two donors
    assert two["trained_g"] < channels["trained_g"] < plain["trained_g"]


def test_rows_of_convolutions(monkeypatch):
    monkeypatch.setattr(convolution, "PLACES", {"unrolled": convolution.PLACES["unrolled"]})
    [row] = convolution.run()
    assert row["place"] == "unrolled" and row["xla_ms"] > 0 and row["ours_ms"] > 0


@pytest.mark.slow
def test_rows_of_forms(monkeypatch):
    net = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8,), d_widths=(8,))
    monkeypatch.setattr(forms, "CASES", {"tiny": forms.config_of(net, 4)})
    monkeypatch.setattr(forms, "ROUNDS", 2)
    [row] = forms.run()
    numbers = {key: value for key, value in row.items() if key != "pair"}
    assert row["pair"] == "tiny" and len(numbers) == 7 and min(numbers.values()) > 0
