"""LPIPS and its gradient against the package of its authors, on random and on published weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.metrics import Perceptual, load_perceptual
from gan_jax.metrics.networks import NETWORKS, PERCEPTUAL
from gan_jax.nets.features.perceptual import lpips
from gan_jax.trees import flatten
from tests.nets.features.random import random_params
from tests.peers.conftest import close, photograph, pictures, planes, published

THEIRS = {"alexnet": "alex", "vgg16": "vgg"}


def same_weights(module, network: str, params, heads: bool):
    """Their distance with our convolutions, and our heads unless theirs are to stay."""
    import torch

    theirs = module.LPIPS(net=THEIRS[network], pnet_rand=True, verbose=False)
    convs = [layer for layer in theirs.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    leaves = {path: np.array(leaf) for path, leaf in flatten(params).items()}
    for i, conv in enumerate(convs):
        conv.weight.data = torch.from_numpy(leaves[f"conv{i}/kernel"].transpose(3, 2, 0, 1).copy())
        conv.bias.data = torch.from_numpy(leaves[f"conv{i}/bias"])
    for i, head in enumerate(theirs.lins if heads else ()):
        head.model[1].weight.data = torch.from_numpy(leaves[f"head{i}/weight"][None, :, None, None])
    assert len(convs) == {"alexnet": 5, "vgg16": 13}[network] and len(theirs.lins) == 5
    return theirs


def pair(side: int = 32) -> list[np.ndarray]:
    return [pictures(2, side, seed).astype(np.float32) / 127.5 - 1 for seed in (1, 2)]


@pytest.mark.parametrize("network", THEIRS)
def test_distances_and_gradients_are_theirs(peer, network):
    params = random_params(NETWORKS[network].specs(), 0)
    theirs = same_weights(peer("lpips"), network, params, heads=True)
    a, b = pair()
    other = planes(a).requires_grad_()
    expected = theirs(other, planes(b)).flatten()
    expected.sum().backward()
    distance = lambda x: lpips(params, PERCEPTUAL[network], x, b)  # noqa: E731
    close(jax.jit(distance)(a), expected.detach().numpy())
    slope = jax.jit(jax.grad(lambda x: distance(x).sum()))(a)
    close(slope, other.grad.numpy().transpose(0, 2, 3, 1), 1e-4)
    close(Perceptual(network, "", params).distance(a, b), expected.detach().numpy())


@pytest.mark.weights
@pytest.mark.parametrize("network", THEIRS)
def test_published_weights_have_their_heads_and_their_distances(peer, network):
    published(network)
    net = load_perceptual(network)
    theirs = same_weights(peer("lpips"), network, net.params, heads=False)
    for i, head in enumerate(theirs.lins):
        np.testing.assert_array_equal(net.params[f"head{i}"]["weight"], head.model[1].weight.detach().numpy().flatten())
    a, b = (photograph(name, 64) for name in ("chelsea.png", "coffee.png"))
    pixels = [planes(x.astype(np.float32) / 127.5 - 1) for x in (a, b)]
    close(net.distance(a, b), theirs(*pixels).detach().numpy().flatten())
