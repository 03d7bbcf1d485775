"""FSGAN (Robb, Chu, Kumar, Huang, 2020): of every kernel of G and of D only the singular values are trained.

A kernel is read as the matrix `[h * w * in, out]`, and decomposed once, when the run begins: `W = U diag(s) V`. A factor
of each singular value is trained, from 1; `U diag(s)` and `V` are in the state and in checkpoints, twice the size of the
kernels. All other leaves are frozen: biases, norms, tables of classes, D's head except its singular values.

In the official code a condition that is always true puts the factors into every kind of layer, as the paper describes.
"""

from __future__ import annotations

from gan_jax.config import FSGANConfig
from gan_jax.nets import Pair
from gan_jax.train.regularisers import Network
from gan_jax.transfer.adapters import Adapter, singular_values
from gan_jax.transfer.layers import kernels
from gan_jax.transfer.method import Method, frozen_under, networks_of


def make(config: FSGANConfig, pair: Pair) -> Method:
    """Both networks with trained factors of their kernels' singular values; all other leaves are frozen."""
    adapters: dict[Network, Adapter] = {
        "g": singular_values(kernels(pair.g)),
        "d": singular_values(kernels(pair.d)),
    }
    return frozen_under(adapters, starts=networks_of(config.networks))
