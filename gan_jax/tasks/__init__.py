"""Tasks: how a batch becomes a game. The train step does not know which one it runs."""

from gan_jax.tasks.image import image_task

__all__ = ["image_task"]
