"""Tasks: how a batch becomes a game. The train step does not know which one it runs."""

from gan_jax.tasks.image import image_task
from gan_jax.tasks.task import Batch, Task

__all__ = ["Batch", "Task", "image_task"]
