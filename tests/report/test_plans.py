from __future__ import annotations

from types import SimpleNamespace

from gan_jax.report.comparison import plan_to_table


def entry(target, sources=(), op="copy", shape=(), was=(), frozen=False):
    size = 1
    for n in shape:
        size *= n
    return SimpleNamespace(
        target=target, sources=sources, op=op, target_shape=shape, source_shapes=was, frozen=frozen, size=size
    )


def test_every_leaf_has_a_row_that_says_where_it_comes_from():
    plan = SimpleNamespace(
        entries=(
            entry("g/a", ("g/a",), "copy", (3, 4), ((3, 4),)),
            entry("g/b", ("g/x", "g/y"), "widen+cast", (8,), ((4,), (2,))),
            entry("g/c", (), "init"),
        ),
        unused=("g/old",),
        notes=("Function preserved.",),
    )
    table = plan_to_table(plan)
    assert [c.key for c in table.columns] == ["target", "op", "sources", "was", "shape", "values"], "nothing is frozen"
    assert table.cells() == [
        ["g/a", "copy", "same path", "3×4", "3×4", "12"],
        ["g/b", "widen, then cast", "g/x + g/y", "4 + 2", "8", "8"],
        ["g/c", "init", "–", "–", "scalar", "1"],
    ]
    assert table.note() == "Function preserved. Not used of the source: g/old."


def test_frozen_leaves_are_marked():
    table = plan_to_table(SimpleNamespace(entries=(entry("d/a", frozen=True), entry("d/b")), unused=(), notes=()))
    assert [row[-1] for row in table.cells()] == ["frozen", ""]
