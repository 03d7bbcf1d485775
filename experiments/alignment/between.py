"""Quality of the networks on the straight line between two networks, aligned by several methods."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import EvalConfig, NetConfig
from gan_jax.data import load
from gan_jax.data.convert import to_float
from gan_jax.metrics import extract
from gan_jax.metrics.kernel import kid
from gan_jax.metrics.statistics import frechet_distance, summarise
from gan_jax.nets import build
from gan_jax.surgery.align import canonical, match_activations, match_weights, permute, singular_vectors
from gan_jax.surgery.families import layouts
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.evaluation import make_evaluator

T = (0.0, 0.25, 0.5, 0.75, 1.0)
N_FAKE, STATS_BATCHES = 1000, 8  # generated images at each point; batches of 128 latents for batch statistics
N_MATCH = 512  # latents, or real images, to match activations on
N_HELD, N_JUDGED = 2000, 1000  # inputs of D: at most so many held-out real images, and generated ones of each end
KID_SUBSETS = 20
METHODS = ("none", "scales", "weights", "activations", "origin's order")


class Between:
    """Measures pairs of one network configuration on held-out images, those of Fashion-MNIST's test split."""

    def __init__(self, net: NetConfig, classes: tuple[int, ...] | None):
        self.pair = build(net)
        self.layouts = layouts(net)
        images = load("embedded:fashion-mnist", resolution=net.resolution, channels=net.channels, classes=classes)
        data = Dataset(images, images)
        evaluator = make_evaluator(EvalConfig(n_fake=N_FAKE, stats_batches=STATS_BATCHES), self.pair, data)
        assert evaluator is not None
        self.evaluator = evaluator
        self.real = summarise(evaluator.reference.values, name="real features")
        chosen = np.random.default_rng(0).permutation(len(images))[: N_MATCH + N_HELD]
        real = to_float(jnp.asarray(images.images[chosen]))
        self.match_images, self.held_out = real[:N_MATCH], real[N_MATCH:]
        self.latents = jax.random.normal(jax.random.key(7), (N_MATCH, net.z_dim))
        self.judge = jax.jit(lambda v, x: self.pair.d.apply(v, x)[0])
        self.activations = {
            "g": jax.jit(lambda v: self.pair.g.activations(v, self.latents)),
            "d": jax.jit(lambda v: self.pair.d.activations(v, self.match_images)),
        }

    def measure(self, a: Any, b: Any, true: Any = None) -> dict[str, Any]:
        """Curves over `T` and barriers for every method.

        Args:
          a: `{"g_ema": .., "d": ..}`.
          b: the same for the other network.
          true: `b` in the order that it shares with `a`, where there is one.
        """
        standing = lambda tree: {"g": self.evaluator.standing(tree["g_ema"]), "d": tree["d"]}
        a, b = standing(a), standing(b)
        fakes = jnp.concatenate([to_float(jnp.asarray(self.evaluator.sample(v["g"])[:N_JUDGED])) for v in (a, b)])
        curves: dict[str, Any] = {}
        matched: dict[str, Any] = {}
        for net in ("g", "d"):
            score = self.generator if net == "g" else lambda v: self.discriminator(v, fakes)
            ends = score(a[net]), score(b[net])
            lines, matched[net] = self.aligned(net, a[net], b[net], None if true is None else standing(true)[net])
            for method, (first, second) in lines.items():
                rows = [ends[0], *(score(mix(first, second, t)) for t in T[1:-1]), ends[1]]
                curves.setdefault(method, {}).update({key: [row[key] for row in rows] for key in rows[0]})
        barriers = {method: {k: barrier(v, k) for k, v in curve.items()} for method, curve in curves.items()}
        protocol = self.evaluator.protocol.id
        return {"t": T, "protocol": protocol, "matched": matched, "barriers": barriers, "curves": curves}

    def aligned(self, net: str, a: Any, b: Any, true: Any) -> tuple[dict[str, tuple[Any, Any]], dict[str, Any]]:
        """(the two networks by method, the similarity before and after)."""
        layout = self.layouts[net]
        x, y = canonical(layout, a), canonical(layout, b)
        weights = match_weights(layout, a, b)
        acts = match_activations(layout, *(self.activations[net](v) for v in (a, b)))
        lines = {
            "none": (a, b),
            "scales": (x, y),
            "weights": (x, permute(layout, y, weights.orders)),
            "activations": (x, permute(layout, y, acts.orders)),
        }
        if true is not None:
            lines["origin's order"] = (x, canonical(layout, true))
        same = np.mean(np.concatenate([weights.orders[group] == acts.orders[group] for group in acts.orders]))
        similarity = {
            "weights": [weights.before, weights.after],
            "activations": [acts.before, acts.after],
            "agree": float(same),
        }
        if true is not None:
            target = lines["origin's order"][1]["params"]
            for method in ("weights", "activations"):
                restored = lines[method][1]["params"]
                pairs = zip(jax.tree.leaves(restored), jax.tree.leaves(target))
                similarity[f"{method} restored"] = all(np.allclose(u, v, rtol=1e-3, atol=1e-4) for u, v in pairs)
        return lines, similarity

    def generator(self, g: Any) -> dict[str, float]:
        """FD and KID of G, with recalibrated batch statistics."""
        features = extract(self.evaluator.net, self.evaluator.sample(g)).values
        distance = frechet_distance(self.real, summarise(features, name="generated features"))
        return {"fd": distance, "kid": kid(self.evaluator.reference.values, features, subsets=KID_SUBSETS).mean}

    def discriminator(self, d: Any, fakes: jax.Array) -> dict[str, float]:
        """Hinge loss and accuracy of D, with recomputed singular vectors, on held-out real images and those of both ends."""
        d = singular_vectors(self.layouts["d"], d)
        real, fake = (np.asarray(self.judge(d, x), np.float64) for x in (self.held_out, fakes))
        loss = np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()
        return {"hinge": float(loss), "accuracy": float(((real > 0).mean() + (fake < 0).mean()) / 2)}


def mix(a: Any, b: Any, t: float) -> Any:
    """`(1 - t) a + t b`."""
    return jax.tree_util.tree_map(lambda x, y: (1 - t) * x + t * y, a, b)


def barrier(values: list[float], key: str) -> float:
    """The largest rise of the curve above the straight line between its ends; for accuracy, the largest fall below it."""
    sign = -1.0 if key == "accuracy" else 1.0
    line = [(1 - t) * values[0] + t * values[-1] for t in T]
    return max(sign * (value - base) for value, base in zip(values, line))
