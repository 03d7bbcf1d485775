"""Metrics against pytorch-fid and torch-fidelity on the same random features."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.metrics import frechet_distance, inception_score, kid, mmd2, prdc, summarise

RNG = np.random.default_rng(0)
REAL = np.maximum(RNG.normal(0.5, 1, (700, 48)), 0).astype(np.float32)
FAKE = np.maximum(RNG.normal(0.6, 0.9, (500, 48)), 0).astype(np.float32)


def tensors():
    import torch

    return torch.from_numpy(FAKE), torch.from_numpy(REAL)


def test_frechet_distance_is_pytorch_fids(peer):
    module = peer("pytorch_fid.fid_score")
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (REAL.astype(np.float64), FAKE.astype(np.float64))]
    try:
        expected = module.calculate_frechet_distance(*moments[0], *moments[1])
    except TypeError as error:
        pytest.skip(f"this pytorch-fid does not run with this SciPy: {error}")
    assert expected > 0.5
    assert_allclose(frechet_distance(summarise(REAL), summarise(FAKE)), expected, rtol=1e-6)


def test_frechet_distance_is_torch_fidelitys(peer):
    module = peer("torch_fidelity.metric_fid")
    statistics = [module.fid_features_to_statistics(x) for x in tensors()]
    expected = module.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert_allclose(frechet_distance(summarise(REAL), summarise(FAKE)), expected, rtol=1e-6)


def test_kid_of_whole_sets_is_torch_fidelitys(peer):
    """With subsets as large as the sets every draw is the same, whatever the generator of random numbers."""
    module = peer("torch_fidelity.metric_kid")
    fake, real = (x[:500] for x in tensors())
    expected = module.kid_features_to_metric(fake, real, kid_subsets=3, kid_subset_size=500, verbose=False)
    found = kid(REAL[:500], FAKE, subsets=3, subset_size=500)
    assert expected["kernel_inception_distance_mean"] > 0
    assert_allclose(found.mean, expected["kernel_inception_distance_mean"], rtol=1e-5)


def test_kid_of_subsets_has_torch_fidelitys_mean_and_spread(peer):
    """Other subsets, the same distribution: the means within four standard errors of the difference."""
    module = peer("torch_fidelity.metric_kid")
    expected = module.kid_features_to_metric(*tensors(), kid_subsets=100, kid_subset_size=100, verbose=False)
    found = kid(REAL, FAKE, subsets=100, subset_size=100)
    mean, std = expected["kernel_inception_distance_mean"], expected["kernel_inception_distance_std"]
    assert abs(found.mean - mean) < 4 * std * (2 / 100) ** 0.5
    assert 0.7 < found.std / std < 1.4


def test_kernels_are_torch_fidelitys(peer):
    module = peer("torch_fidelity.metric_kid")
    x, y = REAL[:300].astype(np.float64), FAKE[:300].astype(np.float64)
    assert_allclose(mmd2(x, y), module.kernel_mmd(x, y), rtol=1e-9)


@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_torch_fidelitys(peer, k):
    module = peer("torch_fidelity.metric_prc")
    fake, real = (x.double() for x in tensors())
    expected = module.prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
    found = prdc(REAL, FAKE, k, inclusive=True)
    assert 0.1 < expected["precision"] < 1 and 0.1 < expected["recall"] < 1
    assert_allclose([found.precision, found.recall], [expected["precision"], expected["recall"]], rtol=1e-6)


def test_inception_score_is_torch_fidelitys(peer):
    module = peer("torch_fidelity.metric_isc")
    expected = module.isc_features_to_metric(tensors()[0], splits=10, shuffle=False)
    found = inception_score(FAKE, 10)
    assert expected["inception_score_mean"] > 1.1
    assert_allclose(found.mean, expected["inception_score_mean"], rtol=1e-6)
    assert_allclose(found.std, expected["inception_score_std"], rtol=1e-5)
