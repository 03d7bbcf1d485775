"""What the image task asks of a generator, by one whose images are its latents."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config
from gan_jax.tasks.image import draw_latents, image_task

KEYS, NOISE = jax.random.split(jax.random.key(0), 3), jax.random.split(jax.random.key(1), 3)


def make_task(**parts):
    config = types.SimpleNamespace(z_dim=2, resolution=4, channels=1, num_classes=0)
    net = types.SimpleNamespace(init=None, apply=lambda variables, z, *_, **__: (z, {}), parts=parts)
    return image_task(types.SimpleNamespace(config=config, g=net, d=net, examples_mix=False, d_group=1), Config())


def test_near_latents_are_as_far_as_asked():
    near = make_task().near({}, {}, KEYS, NOISE, 0.03)
    np.testing.assert_allclose(near - draw_latents(KEYS, 2), 0.03 * draw_latents(NOISE, 2), atol=1e-6)


def test_path_lengths_are_along_noise_of_unit_length():
    """An image has the first style everywhere, so that its slope is the sum of the noise, a normal number over 4 px."""
    task = make_task(
        styles=lambda variables, z, *_: z[:, None],
        synthesise=lambda variables, ws, keys: jnp.broadcast_to(ws[:, :1, None, :1], (3, 4, 4, 1)),
    )
    lengths = task.path_lengths({}, {}, KEYS, NOISE)
    sums = [np.asarray(jax.random.normal(key, (4, 4, 1))).sum() / 4 for key in NOISE]
    np.testing.assert_allclose(lengths, np.abs(sums), rtol=1e-5)
