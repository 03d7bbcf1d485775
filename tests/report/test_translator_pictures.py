"""Pictures of a run that translates: inputs, translations and targets are read from its grids and stay side by side."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gan_jax.config import Config, PairedTask, UNetConfig
from gan_jax.report.grids import make_grid, write_png
from gan_jax.report.run.page import pictures_section
from gan_jax.report.run.pictures import moments, neighbours, newest, strip_rows

SIDE = 16


@pytest.fixture
def run(tmp_path) -> Any:
    """A folder with grids by the number of images in a cell; all that pictures read of it."""
    config = Config(net=UNetConfig(resolution=SIDE, depth=2), task=PairedTask())
    option = lambda name, default=None: {"net.resolution": SIDE}.get(name, default)
    return SimpleNamespace(path=tmp_path, config=config, grids={}, data={}, option=option, weights=())


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_grid_is_cut_into_rows_of_images(run, parts):
    rng = np.random.default_rng(parts)
    cells = rng.integers(0, 200, (5, SIDE, parts * SIDE, 3)).astype(np.uint8)
    run.grids[96] = run.path / "96.png"
    write_png(run.grids[96], make_grid(cells, padding=2, scale=2))
    lost: list[str] = []
    (drawn,) = moments(run, newest(run, 4, lost), lost)
    assert lost == [] and drawn.at == 96
    np.testing.assert_array_equal(drawn.images, cells)
    (row,) = strip_rows([drawn])
    assert row.images.shape == (min(5, 10 // parts), SIDE, parts * SIDE, 3)
    assert "the same held-out inputs" in pictures_section(run, [drawn], lost)


def test_what_is_no_such_grid_is_said(run):
    run.grids[96] = run.path / "96.png"
    write_png(run.grids[96], np.zeros((40, 41, 3), np.uint8))
    lost: list[str] = []
    assert moments(run, None, lost) == [] and "no grid of inputs and translations of 16 px side by side" in lost[0]


def test_copies_are_not_looked_for_among_translations(run):
    found = neighbours(run, None, "auto")
    assert found.gallery is None and "translations of held-out inputs" in found.sentences[0]
