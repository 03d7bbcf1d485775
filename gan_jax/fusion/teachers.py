"""A generator that is taught: in a training pass its teachers make images of the same latents, and it is told how far off it is.

The teachers are frozen, of any architecture that takes the same latents, and run with the same labels, noise and mixed
styles, in training mode as the pupil does, but for a mixture of batch-normed networks (`conditional.standing`). In the
parameters, below `teachers`: `g1/..` their variables, `lpips/..` a perceptual network's, none of which train. A training
pass leaves the collection `distances`:

    l1          mean |x - t|
    features    mean over points and examples of  mean (h - h_t)^2 / mean h_t^2
    perceptual  LPIPS(x, t)

of images x and t and features h and h_t of pupil and teacher. Each example has one teacher. Two teachers who answer the
same latent differently teach a blur between them: with `by` latent, who answers is told by the latent itself, by the
quantile of its first number, so that each teacher has a part of the latent space for good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.nets.build import Net, Variables
from gan_jax.nets.derived import derived
from gan_jax.random_streams import TEACHER_KEY
from gan_jax.reserved import DISTANCES, TEACHERS
from gan_jax.trees import Tree

LPIPS = "lpips"  # below a branch: a perceptual network
TINY = 1e-8

Perceptual = Callable[[Tree, jax.Array, jax.Array], jax.Array]  # (params, images, images) -> [N]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is taught and by whom.

    Attributes:
      shares: of the examples that each teacher has; they sum to 1.
      points: paths of modules, of pupil and teachers, whose features are compared.
      by: what says who teaches an example.
      perceptual: a distance between images; None = none.
    """

    shares: tuple[float, ...] = (1.0,)
    points: tuple[str, ...] = ()
    by: Literal["latent", "chance"] = "latent"
    perceptual: Perceptual | None = None


def attach(lesson: Lesson, g: Variables, teachers: Sequence[Variables], lpips: Tree | None = None) -> Variables:
    """Variables of the taught generator.

    Raises:
      ValueError: as many shares as teachers there must be.
    """
    if len(teachers) != len(lesson.shares):
        raise ValueError(f"{len(teachers)} teachers have {len(lesson.shares)} shares; give one to each")
    branch = {f"g{i}": one for i, one in enumerate(teachers, 1)} | ({} if lpips is None else {LPIPS: lpips})
    return {**g, "params": {**g["params"], TEACHERS: branch}, DISTANCES: dict.fromkeys(_named(lesson), jnp.zeros(()))}


def plain(g: Variables) -> Variables:
    """The generator's own variables, without teachers."""
    own = {name: tree for name, tree in g.items() if name != DISTANCES}
    return {**own, "params": {name: tree for name, tree in g["params"].items() if name != TEACHERS}}


def trains(path: str) -> bool:
    """Whether a leaf of the taught generator's params trains: its own do."""
    return not path.startswith(f"{TEACHERS}/")


def taught(net: Net, lesson: Lesson, teacher: Net | None = None) -> Net:
    """The generator that asks its teachers in training; otherwise it computes what the plain one does.

    Args:
      net: the plain generator.
      lesson: what is taught.
      teacher: the network of the teachers' variables; None = the same.
    """
    ask, count = (teacher or net).look, len(lesson.shares)

    def apply(
        variables: Variables, x: jax.Array, labels: Any = None, train: bool = False, keys: Any = None, **options: Any
    ) -> tuple[jax.Array, Variables]:
        if not train:
            out, collections = net.apply(plain(variables), x, labels, **options)
            return out, {**collections, DISTANCES: variables[DISTANCES]}
        branch = variables["params"][TEACHERS]
        out, collections, inside = net.look(plain(variables), x, labels, True, keys, **options)
        answers = [ask(branch[f"g{i}"], x, labels, True, keys, **options) for i in range(1, count + 1)]
        who = choose(lesson, x, keys)
        target = _of_each(who, [answer for answer, _, _ in answers])
        told = {"l1": jnp.abs(out - target).mean()}
        if lesson.points:
            pairs = [(inside[path], _of_each(who, [seen[path] for *_, seen in answers])) for path in lesson.points]
            told["features"] = jnp.stack([relative(h, t) for h, t in pairs]).mean()
        if lesson.perceptual is not None:
            told["perceptual"] = lesson.perceptual(jax.lax.stop_gradient(branch[LPIPS]), out, target).mean()
        return out, {**collections, DISTANCES: told}

    return dataclasses.replace(derived(net, plain, net.init), apply=apply)


def choose(lesson: Lesson, z: jax.Array, keys: jax.Array | None) -> jax.Array:
    """Which teacher each example has, `[N]` from 0.

    Args:
      lesson: says by what.
      z: `[N, z_dim]` latents.
      keys: `[N]` of the examples, by which chance draws.
    """
    edges = jnp.asarray(np.cumsum(lesson.shares)[:-1], jnp.float32)
    if lesson.by == "latent":
        at = jax.scipy.stats.norm.cdf(z[:, 0])
    else:
        assert keys is not None, "chance wants a key for each example"
        at = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, TEACHER_KEY)))(keys)
    return (at[:, None] >= edges[None]).sum(1)


def relative(h: jax.Array, target: jax.Array) -> jax.Array:
    """The mean squared distance of features from a target's, over the target's mean square, mean over examples: `[]`."""
    h, target = (x.astype(jnp.float32).reshape(len(x), -1) for x in (h, target))
    # Each example's own, so that the value is the mean over devices of theirs.
    return (jnp.square(h - target).mean(1) / (jnp.square(target).mean(1) + TINY)).mean()


def _of_each(who: jax.Array, answers: Sequence[jax.Array]) -> jax.Array:
    """Each example's own teacher's answer `[N, ...]`, without a gradient."""
    out = answers[0]
    for i, answer in enumerate(answers[1:], 1):
        out = jnp.where((who == i).reshape((-1,) + (1,) * (out.ndim - 1)), answer, out)
    return jax.lax.stop_gradient(out)


def _named(lesson: Lesson) -> list[str]:
    more = {"features": bool(lesson.points), "perceptual": lesson.perceptual is not None}
    return ["l1", *(name for name, wanted in more.items() if wanted)]
