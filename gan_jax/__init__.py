"""gan_jax: transfer learning of GANs in JAX."""

__version__ = "0.1.0"
