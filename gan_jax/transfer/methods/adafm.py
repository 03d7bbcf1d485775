"""AdaFM (Zhao, Cong, Carin, ICML 2020): general image-side layers are frozen, with adaptive filter modulation in G.

G's convolutions are frozen under `gamma * W + beta`, a scale and a shift of each slice `[h, w]` of a kernel, from 1 and 0;
their biases and norms and all dense layers are frozen too. G's first `fresh_blocks` layers, from the latents, are
initialised again and fully trained, so G does not begin as the source's. The paper has smaller layers in their place;
here these are a `net` of another shape. D's first layer and the `d_blocks` blocks behind it are frozen, its other blocks
are fine-tuned.
"""

from __future__ import annotations

from gan_jax.config import AdaFMConfig, ConfigError
from gan_jax.nets import Pair
from gan_jax.transfer import adapters
from gan_jax.transfer.layers import image_side, kernels, latent_side
from gan_jax.transfer.method import Method, frozen_under, networks_of
from gan_jax.trees import match


def make(config: AdaFMConfig, pair: Pair) -> Method:
    """G's image-side convolutions are modulated, `d_blocks` blocks of D are frozen.

    Raises:
      ConfigError: no convolution of G would be modulated, or no block of D would be left to train.
    """
    fresh = latent_side(pair, config.fresh_blocks, "transfer.fresh_blocks")

    def is_pretrained(path: str) -> bool:
        return not any(match(pattern, f"g/params/{path}") for pattern in fresh)

    modulated = kernels(pair.g, lambda path, spec: len(spec.shape) == 4 and is_pretrained(path))
    if not modulated:
        raise ConfigError(
            f"{type(pair.config).__name__} has no convolution in G to modulate; use lora, scale_shift or finetune"
        )
    return frozen_under(
        {"g": adapters.adafm(modulated)},
        starts=networks_of(config.networks),
        trained=fresh,
        fresh=fresh,
        frozen=image_side(pair, config.d_blocks, "transfer.d_blocks"),
    )
