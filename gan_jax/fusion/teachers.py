"""Distillation: a student generator whose training pass compares its images with those of teachers on the same latents.

The teachers are frozen, of any architecture that takes the same latents. They run with the same labels, noise and mixed
styles, and in training mode like the student, except a mixture of batch-normed networks (`attention.standing`).
Parameters below `teachers`: `g1/..` the teachers' variables, `lpips/..` a perceptual network's; none of them train. A
training pass returns the collection `distances`:

    l1          mean |x - t|
    features    mean over points and examples of  mean (h - h_t)^2 / mean h_t^2
    perceptual  LPIPS(x, t)

of images x and t and features h and h_t of student and teacher. Each example has one teacher. If two teachers made
different images of one latent, the student would learn a blur of both. So with `by` latent, the latent selects the
teacher, by the quantile of its first number: each teacher has a fixed part of the latent space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets.build import Net, Variables, derived
from gan_jax.random_streams import TEACHER_KEY
from gan_jax.reserved import DISTANCES, TEACHERS
from gan_jax.trees import Tree

LPIPS = "lpips"  # below a branch: a perceptual network
TINY = 1e-8

Perceptual = Callable[[Tree, jax.Array, jax.Array], jax.Array]  # (params, images, images) -> [N]


@dataclasses.dataclass(frozen=True)
class Distillation:
    """What a student learns from its teachers.

    Attributes:
      shares: fraction of the examples per teacher; they sum to 1.
      points: paths of modules, in student and teachers, whose features are compared.
      by: what selects an example's teacher.
      perceptual: a distance between images; None = none.
    """

    shares: tuple[float, ...] = (1.0,)
    points: tuple[str, ...] = ()
    by: Literal["latent", "chance"] = "latent"
    perceptual: Perceptual | None = None


def attach(
    distillation: Distillation, g: Variables, teachers: Sequence[Variables], lpips: Tree | None = None
) -> Variables:
    """Adds teachers to a student's variables.

    Raises:
      ValueError: the numbers of shares and of teachers differ.
    """
    if len(teachers) != len(distillation.shares):
        raise ValueError(f"{len(teachers)} teachers have {len(distillation.shares)} shares; give one to each")
    branch = {f"g{i}": teacher for i, teacher in enumerate(teachers, 1)} | ({} if lpips is None else {LPIPS: lpips})
    return {
        **g,
        "params": {**g["params"], TEACHERS: branch},
        DISTANCES: dict.fromkeys(_names(distillation), jnp.zeros(())),
    }


def plain(g: Variables) -> Variables:
    """Returns the student's own variables, without teachers."""
    collections = {name: tree for name, tree in g.items() if name != DISTANCES}
    return {**collections, "params": {name: tree for name, tree in g["params"].items() if name != TEACHERS}}


def trains(path: str) -> bool:
    """Whether a leaf of the student's `params` trains: all but the teachers'."""
    return not path.startswith(f"{TEACHERS}/")


def with_teachers(net: Net, distillation: Distillation, teacher: Net | None = None) -> Net:
    """Makes the student: it compares itself with its teachers in training; in evaluation it equals the plain generator.

    Args:
      net: the plain generator.
      distillation: what the student learns.
      teacher: the network of the teachers' variables; None = `net`.
    """
    apply_teacher, count = (teacher or net).apply_with_intermediates, len(distillation.shares)

    def apply(
        variables: Variables, x: jax.Array, labels: Any = None, train: bool = False, keys: Any = None, **options: Any
    ) -> tuple[jax.Array, Variables]:
        if not train:
            out, collections = net.apply(plain(variables), x, labels, **options)
            return out, {**collections, DISTANCES: variables[DISTANCES]}
        branch = variables["params"][TEACHERS]
        out, collections, intermediates = net.apply_with_intermediates(
            plain(variables), x, labels, True, keys, **options
        )
        passes = [apply_teacher(branch[f"g{i}"], x, labels, True, keys, **options) for i in range(1, count + 1)]
        index = choose(distillation, x, keys)
        target = _select(index, [images for images, _, _ in passes])
        distances = {"l1": jnp.abs(out - target).mean()}
        if distillation.points:
            pairs = [
                (intermediates[path], _select(index, [features[path] for *_, features in passes]))
                for path in distillation.points
            ]
            distances["features"] = jnp.stack([relative(h, t) for h, t in pairs]).mean()
        if distillation.perceptual is not None:
            distances["perceptual"] = distillation.perceptual(jax.lax.stop_gradient(branch[LPIPS]), out, target).mean()
        return out, {**collections, DISTANCES: distances}

    return dataclasses.replace(derived(net, plain, net.init), apply=apply)


def choose(distillation: Distillation, z: jax.Array, keys: jax.Array | None) -> jax.Array:
    """Selects each example's teacher: indices `[N]` from 0.

    Args:
      distillation: says by what the teacher is selected.
      z: `[N, z_dim]` latents; images of translators, where the choice is by chance.
      keys: `[N]` the examples' keys, for draws by chance.
    """
    if len(distillation.shares) == 1:
        return jnp.zeros(len(z), jnp.int32)
    edges = jnp.asarray(np.cumsum(distillation.shares)[:-1], jnp.float32)
    if distillation.by == "latent":
        at = jax.scipy.stats.norm.cdf(z[:, 0])
    else:
        assert keys is not None, "chance needs a key for each example"
        at = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, TEACHER_KEY)))(keys)
    return (at[:, None] >= edges[None]).sum(1)


def relative(h: jax.Array, target: jax.Array) -> jax.Array:
    """Computes `mean (h - target)^2 / mean target^2` of each example's features, mean over examples: `[]`."""
    h, target = (x.astype(jnp.float32).reshape(len(x), -1) for x in (h, target))
    # A ratio per example, so that the value is the mean of the devices' values.
    return (jnp.square(h - target).mean(1) / (jnp.square(target).mean(1) + TINY)).mean()


def _select(index: jax.Array, outputs: Sequence[jax.Array]) -> jax.Array:
    """Selects the output `[N, ...]` of each example's teacher, without a gradient."""
    out = outputs[0]
    for i, output in enumerate(outputs[1:], 1):
        out = jnp.where((index == i).reshape((-1,) + (1,) * (out.ndim - 1)), output, out)
    return jax.lax.stop_gradient(out)


def _names(distillation: Distillation) -> list[str]:
    """Returns the names of the distances."""
    more = {"features": bool(distillation.points), "perceptual": distillation.perceptual is not None}
    return ["l1", *(name for name, used in more.items() if used)]
