"""gan_jax: transfer learning of GANs in JAX.

Three lines to a picture:

    import gan_jax, jax
    model = gan_jax.load("embedded:fashion16")
    images = model.sample(jax.random.key(0), 64)  # uint8 [64, H, W, C]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_jax.tasks.model import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from gan_jax.tasks import model

        return getattr(model, name)
    raise AttributeError(f"module 'gan_jax' has no attribute {name!r}")
