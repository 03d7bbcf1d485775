"""The terms of G for label maps, from the networks' own outputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from gan_jax.nets.spade import semantics
from gan_jax.tasks import networks_of
from gan_jax.train.feed import resident
from tests.tasks.translating import BATCH, SPADE, begin, config_of


def test_terms_of_g():
    """A step on one example, again and again, so that it does not matter which are drawn."""
    rng = np.random.default_rng(2)
    labels, instance = (rng.integers(0, n, (4, 4)).repeat(8, 0).repeat(8, 1)[None] for n in (4, 3))
    image = rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    data = {"input": labels.astype(np.int32), "instance": instance.astype(np.int32), "image": image}
    config = config_of("layout")
    pair = networks_of(config)
    trainer, state = begin(config)
    trainer, nets = trainer.replace(feed=resident(data)), state.nets
    assert np.asarray(state.extras["perceptual"]["factors"]).tolist() == [1, 2, 3, 4, 5]
    after, metrics = jax.jit(trainer.step())(state, data)

    @jax.jit
    def outputs(nets):
        x = jnp.repeat(semantics(SPADE, data["input"], data["instance"]), BATCH, 0)
        fake = pair.g.apply(nets["g"], x, train=True)[0]
        real = jnp.repeat(jnp.asarray(image), BATCH, 0)
        both = jnp.concatenate([jnp.concatenate([x, fake], -1), jnp.concatenate([x, real], -1)])
        return fake, pair.d.parts["features"](nets["d"], both, train=True, mutable=["spectral"])[0]

    fake, scales = outputs(nets)
    l1 = np.abs(np.asarray(fake) - image).mean()
    weights = np.array([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]) @ np.arange(1, 6)
    assert_allclose(metrics["perceptual"], weights * l1, rtol=1e-4)
    assert len(scales) == 2 and len(scales[0]) == SPADE.d_layers + 1
    distance = lambda maps: np.abs(np.asarray(maps[:BATCH]) - np.asarray(maps[BATCH:])).mean()
    matching = sum(distance(maps) for scale in scales for maps in scale[:-1]) / 2
    assert_allclose(metrics["matching"], matching, rtol=1e-4)
    hinge = -(np.asarray(scales[0][-1][:BATCH]).mean() + np.asarray(scales[1][-1][:BATCH]).mean()) / 2
    assert_allclose(metrics["loss_g"], hinge, rtol=1e-4, atol=1e-6)
    assert float(metrics["loss_d"]) > 1  # of both sides whole: 2 where logits are near 0
    # Vectors of spectral norm move on in both phases: of weights that no update has changed yet, D's move twice.
    before = nets["d"]["spectral"]["scale0_layer1"]["conv"]["u"]
    matrix = np.asarray(nets["d"]["params"]["scale0_layer1"]["conv"]["kernel"]).reshape(-1, len(before))
    vectors = [np.asarray(before)]
    for _ in range(2):
        v = matrix @ vectors[-1]
        vectors.append(v @ matrix / np.linalg.norm(v @ matrix))
    u = after.nets["d"]["spectral"]["scale0_layer1"]["conv"]["u"]
    assert np.abs(vectors[1] - vectors[2]).max() > 1e-3
    assert_allclose(u, vectors[2], atol=1e-5)
