"""Low-rank additions (LoRA; Hu et al., ICLR 2022) to the kernels of a GAN, convolutions read as `[h * w * in, out]`.

Only the additions of an adapted network are trained; its biases, norms and tables are frozen. Additions are merged into
the kernels before modulation, demodulation and spectral normalisation, which act on the sum; demodulation divides by the
length of a merged filter, so that `alpha` sets the share of the addition and not its size. CoLoR-GAN, which brought LoRA
to few-shot GANs, begins with rank 1 and alpha 1.
"""

from __future__ import annotations

from gan_jax.config import ConfigError, LoRAConfig
from gan_jax.nets import Networks
from gan_jax.train.regularisers import Network
from gan_jax.transfer.adapters import Adapter, lora
from gan_jax.transfer.layers import body, head, kernels
from gan_jax.transfer.method import Method, frozen_under, networks_of


def make(config: LoRAConfig, nets: Networks) -> Method:
    """Generators' kernels have additions of `rank`; D is fine-tuned, or has additions too, with its whole head trained.

    Raises:
      ConfigError: an adapted D whose head is not known.
    """
    low_rank = lambda paths: lora(paths, config.rank, config.alpha)
    adapters: dict[Network, Adapter] = {name: low_rank(kernels(nets.nets[name])) for name in nets.generators}
    if config.d_adapted and not nets.d_head:
        raise ConfigError(
            "transfer.d_adapted trains the whole head of D, which these networks do not name; leave it off"
        )
    if config.d_adapted:
        adapters |= {name: low_rank(body(nets, name)) for name in nets.discriminators}
    return frozen_under(adapters, starts=networks_of(config.networks, nets), trained=head(nets))
