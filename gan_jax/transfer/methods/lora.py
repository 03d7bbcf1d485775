"""Low-rank additions (LoRA; Hu et al., ICLR 2022) to the kernels of a GAN, convolutions read as `[h * w * in, out]`.

Of an adapted network only the additions are trained: its biases, norms and tables stay. They are merged into the kernels
before modulation, demodulation and spectral normalisation, which see the sum; demodulation takes the length of a merged
filter away, so that `alpha` sets the share of the addition and not its size. CoLoR-GAN, which brought LoRA to few-shot
GANs, begins with rank 1 and alpha 1.
"""

from __future__ import annotations

from gan_jax.config import ConfigError, LoRAConfig
from gan_jax.nets import Networks, Pair
from gan_jax.train.regularisers import Network
from gan_jax.transfer.adapted import frozen_under
from gan_jax.transfer.adapters import Adapter, lora
from gan_jax.transfer.layers import body, head, kernels
from gan_jax.transfer.method import Method, networks_of


def make(config: LoRAConfig, nets: Networks) -> Method:
    """Generators' kernels under additions of `rank`; D is fine-tuned, or under additions too with its head trained whole.

    Raises:
      ConfigError: an adapted D of networks that do not say what its head is.
    """
    make = lambda paths: lora(paths, config.rank, config.alpha)
    adapters: dict[Network, Adapter] = {name: make(kernels(nets.nets[name])) for name in nets.generators}
    if not isinstance(nets, Pair):
        if config.d_adapted:
            raise ConfigError("transfer.d_adapted trains the head of D whole, which only a pair says; leave it off")
        return frozen_under(adapters, starts=tuple(nets.nets))
    if config.d_adapted:
        adapters["d"] = make(body(nets))
    return frozen_under(adapters, starts=networks_of(config.networks), trained=head(nets))
