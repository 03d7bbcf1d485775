"""Every number of the table of packages: ours, set as theirs, is theirs; where none is, ours is float64's."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from gan_jax.metrics import frechet_distance, kid, summarise
from tests.peers import crossing

MODULES = {"pytorch-fid": "pytorch_fid", "clean-fid": "cleanfid", "torch-fidelity": "torch_fidelity"}


@pytest.fixture(autouse=True, scope="module")
def packages():
    crossing.ready()


@pytest.mark.parametrize("row", crossing.rows(), ids=lambda row: f"{row.metric}-{row.package}".replace(" ", "_"))
def test_ours_set_as_theirs_is_theirs(row):
    package = row.package.split(",")[0]
    if importlib.util.find_spec(MODULES.get(package, package)) is None or importlib.util.find_spec("torch") is None:
        pytest.skip(f"compares with {package}: make test-peers")
    theirs, ours, as_theirs = (crossing.measured(call) for call in (row.theirs, row.ours, row.as_theirs))
    assert isinstance(ours, float) or row.metric.endswith("[0, 1]")
    if isinstance(theirs, str):
        pytest.skip(f"{row.package} does not run here: {theirs}")
    if row.tolerance is None:
        assert row.reason != "none"
    else:
        np.testing.assert_allclose(as_theirs, theirs, rtol=row.tolerance, atol=1e-9)
        if row.reason.startswith("none"):
            np.testing.assert_allclose(ours, theirs, rtol=row.tolerance, atol=1e-9)


def test_far_from_the_origin_ours_is_float64s():
    near = [x.astype(np.float64) - 1000 for x in (crossing.FAR_REAL, crossing.FAR_FAKE)]
    far = crossing.FAR_REAL, crossing.FAR_FAKE
    np.testing.assert_allclose(
        frechet_distance(*map(summarise, far)), frechet_distance(*map(summarise, near)), rtol=1e-7
    )
    in_longer = np.longdouble
    x, y = (v[:40].astype(in_longer) for v in far)
    k = lambda a, b: (a @ b.T / 48 + 1) ** 3
    off = lambda g: (g.sum() - np.trace(g)) / (40 * 39)
    expected = off(k(x, x)) + off(k(y, y)) - 2 * k(x, y).mean()
    np.testing.assert_allclose(kid(far[0][:40], far[1][:40]).mean, float(expected), rtol=0.02)
