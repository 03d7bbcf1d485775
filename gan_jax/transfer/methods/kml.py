"""Kernel modulation (KML of AdAM; Zhao et al., NeurIPS 2022) by itself: `W * (1 + u v)` on every kernel, `u [in]`, `v [out]`.

Only the gates of an adapted network are trained. They begin with vectors of scale 1e-7, as published, so that the factor
is exactly 1. A mapping network has no gates and stays as it is. AdAM decides for each filter whether to modulate or to
train it; here all are modulated. In the official code gates of convolutions are reshaped transposed, and gates of dense
layers are the identity at first with 512 outputs only; its offset of biases is left out.
"""

from __future__ import annotations

from gan_jax.config import KMLConfig
from gan_jax.nets import Pair
from gan_jax.train.regularisers import Network
from gan_jax.transfer import adapters
from gan_jax.transfer.layers import body, head, kernels
from gan_jax.transfer.method import Method, frozen_under, networks_of


def make(config: KMLConfig, pair: Pair) -> Method:
    """G's kernels are gated; D is fine-tuned, or gated too, with its whole head trained."""
    gated = kernels(pair.g, lambda path, _: not path.startswith("mapping/"))
    by_network: dict[Network, adapters.Adapter] = {"g": adapters.kml(gated)}
    if config.d_adapted:
        by_network["d"] = adapters.kml(body(pair))
    return frozen_under(by_network, starts=networks_of(config.networks), trained=head(pair))
