"""The change of a function by a transplant, on probe inputs, and norms that leave a batch as it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import BigGANConfig, R3GANConfig, StyleGAN2Config
from gan_jax.nets.biggan import chunk, widths
from gan_jax.nets.inside import up_to_groups
from gan_jax.nets.resample import downsample, upsample
from gan_jax.random_streams import UNIFORM_PROBES_KEY
from gan_jax.surgery.families.classes import colour_matrix
from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Flat, did_you_mean, flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# The largest difference of a function before and after, on probe inputs.

PRESERVED = 1e-5  # share of the scale up to which a difference is float32 rounding


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest absolute difference between two functions, and the largest absolute output of the old one."""

    largest: float
    scale: float
    probes: int

    @property
    def relative(self) -> float:
        """The difference as a share of the scale."""
        return self.largest / max(self.scale, 1e-30)

    @property
    def preserved(self) -> bool:
        """Whether only rounding is left of it."""
        return self.relative <= PRESERVED

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for a record; None for what is not finite."""
        finite = lambda x: x if math.isfinite(x) else None
        sizes = {"largest": finite(self.largest), "scale": finite(self.scale)}
        return {"preserved": self.preserved, **sizes, "probes": self.probes}

    def __str__(self) -> str:
        """For a report."""
        kept = "preserved" if self.preserved else "not preserved"
        return f"{kept}: largest difference {self.largest:.1e} of {self.scale:.1e} on {self.probes} probes"


def measure(apply_old: Callable[[Any], Any], apply_new: Callable[[Any], Any], probes: Iterable[Any]) -> Difference:
    """Compares two functions on probe inputs.

    Args:
      apply_old: probe -> array; has to bring the old output to the new one's shape (see `resize_images`).
      apply_new: probe -> array.
      probes: inputs, batches of one or more; what is counted is what they hold.
    """
    largest, scale, count = 0.0, 0.0, 0
    for probe in probes:
        old, new = np.asarray(apply_old(probe), np.float64), np.asarray(apply_new(probe), np.float64)
        if old.shape != new.shape:
            raise ValueError(f"the functions give {old.shape} and {new.shape}; bring the old output to the new shape")
        difference = float(np.abs(old - new).max(initial=0.0))
        largest = max(largest, difference) if difference == difference else float("inf")
        scale, count = max(scale, float(np.abs(old).max(initial=0.0))), count + (len(old) if old.ndim else 1)
    return Difference(largest, scale, count)


def resize_images(images: jax.Array, resolution: int, channels: int, filtered: bool = False) -> jax.Array:
    """Images `[N, r, r, C]` at another size and colour, by what growth preserves: repetition, means, grey repeated.

    Sizes that are no multiples of each other are interpolated, as fully connected pairs do.
    With `filtered` the size changes by StyleGAN2's filter, doubling after doubling, as its growth does.
    """
    n, r, _, c = images.shape
    if filtered:
        for _ in range(abs(resolution.bit_length() - r.bit_length())):
            images = upsample(images) if resolution > r else downsample(images)
    elif resolution % r and r % resolution:
        images = jax.image.resize(images, (n, resolution, resolution, c), "linear")
    elif resolution >= r:
        images = images.repeat(resolution // r, axis=1).repeat(resolution // r, axis=2)
    else:
        k = r // resolution
        images = images.reshape(n, resolution, k, resolution, k, c).mean(axis=(2, 4))
    colours = images[..., : min(c, 3)]
    if channels == 1:
        return colours.mean(axis=-1, keepdims=True)
    colours = jnp.broadcast_to(colours, (*images.shape[:-1], 3))
    alpha = images[..., 3:] if c == 4 else jnp.ones_like(colours[..., :1])
    return jnp.concatenate([colours, alpha], axis=-1) if channels == 4 else colours


Images = Callable[[jax.Array], jax.Array]


def common_views(config: Any, was: Any) -> tuple[Images, Images, Images, Images]:
    """How images become comparable: (those that the old G makes, the new G makes; what the old D sees, the new D sees).

    Probes for D are of the old resolution and colour. The filter of StyleGAN2 and R3GAN is not undone by halving what it
    doubled, so that a smaller network is compared at the larger size, and a smaller D sees the filtered halves of larger
    probes.
    """
    fir = type(config) is type(was) and isinstance(config, (StyleGAN2Config, R3GANConfig))
    any_size = config.translates and was.translates  # such networks are compared at one size
    to = lambda x, r, c: resize_images(x, x.shape[1] if any_size else r, c, filtered=fir)
    as_new: Images = lambda x: to(x, config.resolution, config.channels)
    same: Images = lambda x: x
    if not fir or config.resolution == was.resolution:
        return as_new, same, same, as_new
    if config.resolution > was.resolution:
        doubled_and_halved: Images = lambda x: to(to(x, config.resolution, was.channels), was.resolution, was.channels)
        return as_new, same, doubled_and_halved, as_new
    in_old_size: Images = lambda x: to(x, was.resolution, config.channels)
    return in_old_size, in_old_size, same, as_new


def common_latents(config: Any, was: Any, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Latents `[n, z_dim]` for a new and an old G, alike in what both have: their first ones, or those of each part.

    For translators the images that go in, of the old size where that fits both, and of the old colour; where the new G
    reads further channels, grey is repeated and others are zero.
    """
    if config.translates and was.translates:
        return _common_inputs(config, was, key, n)

    def parts_of(c: Any) -> tuple[int, int]:
        """(number of parts, size of each)."""
        return (len(widths(c)), chunk(c)) if isinstance(c, BigGANConfig) and c.hierarchical else (1, c.z_dim)

    parts = [parts_of(c) for c in (config, was)]
    count, size = (max(sizes) for sizes in zip(*parts))
    z = jax.random.normal(key, (n, count * size), jnp.result_type(float)).reshape(n, count, size)
    new, old = (z[:, :count, :size].reshape(n, -1) for count, size in parts)
    return new, old


def _common_inputs(config: Any, was: Any, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Images for a new and an old translator: those of the old one, with the new one's channels, of the larger size."""
    size = max(config.resolution, was.resolution)
    x = jax.random.uniform(key, (n, size, size, was.in_channels), jnp.result_type(float), minval=-1.0)
    new = jnp.einsum(
        "nhwo,io->nhwi", x, jnp.asarray(colour_matrix(was.in_channels, config.in_channels, "out"), x.dtype)
    )
    return new, x


def shown(config: Any, x: jax.Array, images: jax.Array) -> jax.Array:
    """What D sees of images made from x: behind it, where D is conditional."""
    both = config.translates and config.d_condition
    return jnp.concatenate([x.astype(images.dtype), images], axis=-1) if both else images


def measure_pair(
    old: Any, old_variables: Any, new: Any, new_variables: Any, key: jax.Array, n: int = 8
) -> dict[str, Difference]:
    """How far a transplanted pair is from the pair that it came from: `{"g": Difference, "d": Difference}`.

    G: the new one's images against the old one's, brought to one size and colour by `resize_images`. D: the new one's
    logits for such images against the old one's for its own, and for noise. Conditional nets are asked for class 0 on
    both sides. A network that either side lacks is not measured.

    Args:
      old: the pair that `nets.build` gives for the source.
      old_variables: `{"g": variables, "d": variables}` of it.
      new: the pair of the target.
      new_variables: its transplanted variables.
      key: of the latents.
      n: number of latents; more of them where a D compares images in groups that do not divide it.
    """
    n = up_to_groups(n, old, new)
    config, was = new.config, old.config
    new_z, old_z = common_latents(config, was, key, n)

    def compiled(pair: Any, net: Any) -> Callable[..., jax.Array]:  # operation by operation would compile each
        return jax.jit(lambda variables, x: net.apply(variables, x, _class_0(pair, n))[0])

    view_old, view_new, probe_old, probe_new = common_views(config, was)
    differences, images = {}, []
    if "g" in old_variables:
        images = [compiled(old, old.g)(old_variables["g"], old_z)]
    if images and "g" in new_variables:
        grown = compiled(new, new.g)(new_variables["g"], new_z)
        differences["g"] = measure(view_old, lambda _: view_new(grown), images)
    if "d" in old_variables and "d" in new_variables:
        old_d, new_d = compiled(old, old.d), compiled(new, new.d)
        size = old_z.shape[1] if was.translates else was.resolution
        shape = (n, size, size, was.channels)
        noise = jax.random.uniform(jax.random.fold_in(key, UNIFORM_PROBES_KEY), shape, minval=-1.0)
        old_logits = lambda x: old_d(old_variables["d"], shown(was, old_z, probe_old(x)))
        new_logits = lambda x: new_d(new_variables["d"], shown(config, new_z, probe_new(x)))
        differences["d"] = measure(old_logits, new_logits, [*images, noise])
    return differences


def _class_0(pair: Any, n: int) -> jax.Array | None:
    return jnp.zeros((n,), jnp.int32) if pair.config.num_classes else None


# ----------------------------------------------------------------------------------------------------------------------
# Norms that leave a batch as it is, although they take its statistics: for layers that growth made.

EPSILON = 1e-5  # of the batch norms of `nets`


def calibrate(
    statistics: Callable[..., Any],
    variables: Mapping[str, Any],
    probes: Any,
    norms: Sequence[str],
    labels: Any = None,
    epsilon: float = EPSILON,
) -> dict[str, Any]:
    """Gives batch norms the scale and bias that undo what they do to a batch, and the running statistics of that batch.

    Growth sets a new norm to the identity by its running statistics, so the function is kept in evaluation mode. In
    training mode the norm standardises each batch instead. With `scale = sqrt(var + eps)` and `bias = mean` of probes
    it is the identity in evaluation mode again, exactly the identity in training mode on the probes themselves, and
    nearly so on batches like them, the more nearly the larger the batches are.

    Args:
      statistics: `(variables, probes, labels) -> batch_stats` of exactly these probes, such as a net's `statistics`.
      variables: of the network; it is not changed.
      probes: a batch of its inputs, like those that it will be trained on.
      norms: which ones, by path (`b8/norm0`), in the order in which data pass them.
      labels: `[N]`, for conditional networks.
      epsilon: of the norms.

    Returns:
      new variables.

    Raises:
      PlanError: there is no norm of such a name.
    """
    flat: Flat = dict(flatten(variables))
    known = [p.removeprefix("batch_stats/").removesuffix("/mean") for p in flat if p.endswith("/mean")]
    for name in norms:
        if name not in known:
            raise PlanError(f"no norm {name!r} in the network{did_you_mean(name, known)}")
        measured = flatten(statistics(unflatten(flat, like=variables), probes, labels))
        mean, var = measured[f"{name}/mean"], measured[f"{name}/var"]
        scale, bias = flat[f"params/{name}/scale"], flat[f"params/{name}/bias"]
        flat |= {
            f"batch_stats/{name}/mean": mean,
            f"batch_stats/{name}/var": var,
            f"params/{name}/scale": jnp.broadcast_to(jnp.sqrt(var + epsilon), scale.shape).astype(scale.dtype),
            f"params/{name}/bias": jnp.broadcast_to(mean, bias.shape).astype(bias.dtype),
        }
    return unflatten(flat, like=variables)
