"""Low-rank additions (LoRA; Hu et al., ICLR 2022) to the kernels of a GAN, convolutions read as `[h * w * in, out]`.

Of an adapted network only the additions are trained: its biases, norms and tables stay. They are merged into the kernels
before modulation, demodulation and spectral normalisation, which see the sum; demodulation takes the length of a merged
filter away, so that `alpha` sets the share of the addition and not its size. CoLoR-GAN, which brought LoRA to few-shot
GANs, begins with rank 1 and alpha 1.
"""

from __future__ import annotations

from gan_jax.config import LoRAConfig
from gan_jax.nets import Pair
from gan_jax.train.regularisers import Network
from gan_jax.transfer.adapted import frozen_under
from gan_jax.transfer.adapters import Adapter, lora
from gan_jax.transfer.layers import body, head, kernels
from gan_jax.transfer.method import Method, networks_of


def low_rank(config: LoRAConfig, pair: Pair) -> Method:
    """G's kernels under additions of `rank`; D is fine-tuned, or under additions too with its head trained whole."""
    make = lambda paths: lora(paths, config.rank, config.alpha)
    adapters: dict[Network, Adapter] = {"g": make(kernels(pair.g))}
    if config.d_adapted:
        adapters["d"] = make(body(pair))
    return frozen_under(adapters, starts=networks_of(config.networks), trained=head(pair))
