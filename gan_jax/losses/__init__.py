"""What the game pays: adversarial losses and gradient penalties, per example; reduction is the caller's."""

from gan_jax.losses.adversarial import LOSSES
from gan_jax.losses.orthogonal import orthogonal_penalty
from gan_jax.losses.penalties import gradient_penalty, squared_gradient

__all__ = ["LOSSES", "gradient_penalty", "orthogonal_penalty", "squared_gradient"]
