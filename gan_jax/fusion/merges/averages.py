"""Averages of networks: weighted, on the sphere, greedily chosen, or by resolution."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import kind_of
from gan_jax.fusion.merges.leaves import MergeError, Weights, coefficients, each_leaf, float_leaves, weighted_sum
from gan_jax.reserved import GRAFT
from gan_jax.trees import Tree, did_you_mean, flatten

# ----------------------------------------------------------------------------------------------------------------------
# Weighted averages of networks (model soups, Wortsman et al., 2022), and merged collections other than parameters.

AVERAGED = ("batch_stats", "moving")  # collections of running statistics


def average(donors: Sequence[Tree], weights: Weights = None, *, normalize: bool = True) -> Tree:
    """Computes `sum_i w_i donor_i` of each leaf.

    Args:
      donors: trees of one shape.
      weights: one for each donor, may be traced; None = 1/N.
      normalize: divide them by their sum; False = use them unchanged, also negative ones.
    """
    w = coefficients(weights, len(donors), normalize=normalize and weights is not None, missing=1 / max(len(donors), 1))
    return each_leaf(lambda path, xs, _: weighted_sum(w, xs), donors)


def merge_collections(
    donors: Sequence[Mapping[str, Tree]], base: Mapping[str, Tree] | None = None, weights: Weights = None
) -> dict[str, Any]:
    """Merges every collection of the networks' variables except `params`.

    The result is a starting point for re-estimation. Batch statistics and the average w are averaged, but those of the
    merged network differ: recalibrate them on data before evaluation. All other collections are the base's (the first
    donor's). Spectral norm vectors are known up to their sign only, so a mean of two could vanish
    (`surgery.align.scales.singular_vectors` computes those of the merged kernels). A mean of stored noise is weaker noise.

    Args:
      donors: full variables, `{"params": .., "batch_stats": ..}`.
      base: full variables too; None = the first donor.
      weights: one for each donor, normalised; None = 1/N.

    Raises:
      MergeError: a donor lacks a collection.
    """
    like = donors[0] if base is None else base
    out: dict[str, Any] = {}
    for name in (name for name in like if name != "params"):
        for i, donor in enumerate(donors):
            if name not in donor:
                raise MergeError(
                    f"donor {i} has no collection {name!r}{did_you_mean(name, donor)}; give whole variables"
                )
        out[name] = average([donor[name] for donor in donors], weights) if name in AVERAGED else like[name]
    return out


# ----------------------------------------------------------------------------------------------------------------------
# Greedy soup (Wortsman et al., ICML 2022): an average that a donor joins only if the score does not get worse.


class Soup(NamedTuple):
    """A merged tree and the donors in it."""

    tree: Tree  # the uniform average of the selected donors
    selected: tuple[int, ...]  # indices of the selected donors, in the order of selection
    score: float  # of the average
    scores: tuple[float, ...]  # of each donor alone


def greedy_soup(donors: Sequence[Tree], score: Callable[[Tree], float]) -> Soup:
    """Adds donors to a uniform average, from the best to the worst; each stays if the score does not get worse.

    A noisy score selects by chance: use fixed draws, and data other than the reported. The score is computed `2 N - 1`
    times.

    Args:
      donors: trees of one shape.
      score: score of a tree; lower is better. Scores that are not finite rank last.

    Raises:
      MergeError: no donor, donors that do not fit each other, or none with a finite score.
    """
    float_leaves(donors)  # a check, before the slow scores
    alone = tuple(float(score(average([donor]))) for donor in donors)
    order = sorted((i for i, s in enumerate(alone) if math.isfinite(s)), key=lambda i: alone[i])
    if not order:
        raise MergeError(f"no donor has a finite score; they are {list(alone)}")
    selected, tree, best = [order[0]], average([donors[order[0]]]), alone[order[0]]
    for i in order[1:]:
        larger = average([donors[j] for j in (*selected, i)])
        if (candidate := float(score(larger))) <= best:
            selected, tree, best = [*selected, i], larger, candidate
    return Soup(tree, tuple(selected), best, alone)


# ----------------------------------------------------------------------------------------------------------------------
# Spherical interpolation, tensor by tensor: directions rotate into each other, and lengths do not shrink.
#
# A plain mean of two unrelated tensors is shorter than both, as their random parts cancel.

NEARLY_PARALLEL = 0.9995  # |cos| above which mergekit interpolates linearly, since sin(angle) is nearly 0


def slerp(donors: Sequence[Tree], t: float | jax.Array = 0.5) -> Tree:
    """Computes `(sin((1-t) a) x + sin(t a) y) / sin(a)` with a the angle between two tensors x and y (Shoemake, 1985).

    Interpolates linearly where x and y are nearly parallel or opposite, or where one is zero.

    Args:
      donors: two trees of one shape.
      t: 0 = the first, 1 = the second; may be traced.

    Raises:
      MergeError: not two donors.
    """
    if len(donors) != 2:
        raise MergeError(f"slerp is between two donors, but there are {len(donors)}; use karcher for more")

    def between(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        x, y = xs
        s = jnp.asarray(t, x.dtype)
        lengths = _norm(x) * _norm(y)
        cos = jnp.vdot(x, y, precision="highest") / jnp.where(lengths > 0, lengths, 1.0)
        linear = (jnp.abs(cos) > NEARLY_PARALLEL) | (lengths == 0)
        angle = jnp.arccos(jnp.where(linear, 0.0, cos))  # of 0 in linear cases, so that no gradient is infinite
        of_x = jnp.where(linear, 1 - s, jnp.sin((1 - s) * angle) / jnp.sin(angle))
        of_y = jnp.where(linear, s, jnp.sin(s * angle) / jnp.sin(angle))
        return of_x * x + of_y * y

    return each_leaf(between, donors)


def karcher(donors: Sequence[Tree], weights: Weights = None, *, iterations: int = 10) -> Tree:
    """Computes the direction with the least weighted squared angles to all donors, with the weighted mean of their lengths.

    For two donors of equal length it is `slerp`. Tensors of zeros have a length but no direction. Where the donors'
    directions cancel there is no such mean, and the result is the average.

    Args:
      donors: trees of one shape.
      weights: one for each donor, not negative, normalised; None = 1/N.
      iterations: steps along the sphere, each by the mean of the arcs to the donors.
    """
    w = coefficients(weights, len(donors), normalize=True)

    def mean(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        lengths = [_norm(x) for x in xs]
        units = [x / jnp.where(length > 0, length, 1.0) for x, length in zip(xs, lengths)]
        parts = [jnp.where(length > 0, jnp.asarray(v, x.dtype), 0.0) for v, x, length in zip(w, xs, lengths)]
        total = sum(parts, jnp.zeros((), xs[0].dtype))
        parts = [part / jnp.where(total > 0, total, 1.0) for part in parts]
        start = weighted_sum(parts, units)
        direction = _search(_unit(start), parts, units, iterations)
        cancel = _norm(start) < 1e-6
        return jnp.where(cancel, weighted_sum(w, xs), weighted_sum(w, lengths) * direction)

    return each_leaf(mean, donors)


@functools.partial(jax.jit, static_argnames="iterations")  # without it every leaf would compile its own program
def _search(at: jax.Array, parts: Sequence[jax.Array], units: Sequence[jax.Array], iterations: int) -> jax.Array:
    return jax.lax.fori_loop(0, iterations, lambda i, at: _step(at, parts, units), at)


def _step(at: jax.Array, parts: Sequence[jax.Array], units: Sequence[jax.Array]) -> jax.Array:
    """Moves a point on the sphere along the mean of its arcs to the donors."""
    arcs = []
    for unit in units:
        cos = jnp.vdot(at, unit, precision="highest")
        across = unit - cos * at
        sin = _norm(across)  # arctan2 of both is accurate for small angles, arccos is not
        arcs.append(across * jnp.where(sin > 0, jnp.arctan2(sin, cos) / jnp.where(sin > 0, sin, 1.0), 1.0))
    arc = weighted_sum(parts, arcs)
    length = _norm(arc)
    return _unit(jnp.cos(length) * at + jnp.sinc(length / jnp.pi) * arc)


def _norm(x: jax.Array) -> jax.Array:
    """Computes the length of a tensor; its gradient at zero is zero, not nan."""
    square = jnp.sum(jnp.square(x))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _unit(x: jax.Array) -> jax.Array:
    length = _norm(x)
    return x / jnp.where(length > 0, length, 1.0)


# ----------------------------------------------------------------------------------------------------------------------
# Layer swapping (Pinkney & Adler, 2020): low resolutions from one network, high ones from a related one.
#
# Layers are placed by their position, which grows towards the image: two for every resolution, the first one at 4 px being
# 0. Blocks are named by resolution, so the position is read from the paths; fully connected layers are counted instead.
# Translators run at any size: there maps are counted from the smallest, on the way down and on the way up.

COLLECTIONS = ("params", "batch_stats", "moving", "spectral", "constants")
LATENT = ("mapping", "embed", "shared", GRAFT)  # layers that make or read codes; they have no position in the image
# Layers at the second level of a block. G is ordered from the latents and D from the image, so their names mirror.
SECOND = {"g": r"conv1|norm1|to_rgb|attention|more\d+|res[1-9]\d*", "d": r"conv0|conv|from_rgb|more\d+|res0"}


def position(resolution: float, level: int = 0) -> float:
    """Computes the position of a layer at a resolution in px; `level` 1 is the half of the block nearer to the image."""
    return 2 * math.log2(resolution / 4) + level


def position_in(config: Any, network: str, px: int) -> float:
    """Computes the `mid` of `blend` from which on layers of maps above `px` are the second network's.

    Layers of a translator count maps from its smallest one, not resolutions from 4 px.

    Args:
      config: of the networks.
      network: of the two that are merged.
      px: height and width of images that the network has in training.

    Raises:
      MergeError: a discriminator of several scales, where a layer is of several sizes.
    """
    if not config.translates:
        return position(px)
    kind, of_d = kind_of(config), network.startswith("d")
    if of_d and kind == "spade":
        raise MergeError("layers of SPADE's D are not swapped: each is at several sizes; use d base")
    if of_d:
        largest = config.d_layers
    elif kind == "unet":
        largest = config.depth - 1
    elif kind == "translator":
        largest = 2
    else:
        largest = {"normal": 6, "more": 6, "most": 7}[config.ups]
    return math.log2(px / config.resolution) + largest - 1  # `blend` swaps what is more than 1 above


def positions(paths: Iterable[str]) -> dict[str, float | None]:
    """Returns the position of every leaf of a generator or a discriminator; None for mapping networks and embeddings.

    Layers before the lowest block are one position below it, those after the highest are at its second level.

    Args:
      paths: paths of all leaves, `params/b8/conv0/kernel` or `b8/conv0/kernel`.

    Raises:
      MergeError: a path that belongs to no family.
    """
    short = {path: _relative(path) for path in paths}
    names = {path: tail.split("/") for path, tail in short.items()}
    heads = {parts[0] for parts in names.values()}
    network = (
        "d"
        if {"from_rgb", "head"} & heads or any("from_rgb" in parts or "out" in parts for parts in names.values())
        else "g"
    )
    sizes = [size for parts in names.values() if (size := _resolution(parts[0]))]
    if "embed" in heads and not heads & {"to_rgb", "from_rgb", "fc0"} and not any(re.match(r"b\d", n) for n in heads):
        ends = _by_depth_of_texts(heads)
    elif sizes:
        low, high = position(min(sizes)), position(max(sizes), 1)
        ends = {"stem": low - 1, "head": low - 1, "to_rgb": high, "to_rgb_norm": high, "from_rgb": high}
    elif not (ends := _by_depth(heads)):
        layers = {name for name in heads if re.fullmatch(r"fc\d+", name)}

        def index(name: str) -> float:
            return float(name[2:]) if network == "g" else float(len(layers) - 1 - int(name[2:]))

        ends = {**{name: index(name) for name in layers}, "to_rgb": float(len(layers)), "head": -1.0}
    return {path: _place(path, parts, network, ends) for path, parts in names.items()}


def blend(donors: Sequence[Tree], *, mid: float, width: float | None = None) -> Tree:
    """Computes `(1 - y) first + y second`, where y grows with a layer's position.

    Without a width `y = 1` from the second position after `mid` on, else 0, as in the published code. With a width, y is the
    sigmoid of `(position - mid) / width`. Mapping networks and embeddings are the first donor's.

    Args:
      donors: two networks of one family: trees of parameters, of another collection, or full variables.
      mid: position of the transition, `position(resolution, level)`.
      width: width of the transition in positions; None = a hard transition.

    Raises:
      MergeError: not two donors, a width that is not above zero, or a leaf without a position.
    """
    if len(donors) != 2:
        raise MergeError(f"layers are swapped between two donors, but there are {len(donors)}")
    if width is not None and not width > 0:
        raise MergeError(f"width is {width:g}; it must be above zero, or None for a hard transition")
    shares = {path: _share(p, mid, width) for path, p in positions(flatten(donors[0])).items()}

    def mix(path: str, xs: list[jax.Array], _: Any) -> jax.Array:
        y = shares[path]
        return xs[int(y)] if y in (0.0, 1.0) else weighted_sum([1 - y, y], xs)

    return each_leaf(mix, donors)


def _share(at: float | None, mid: float, width: float | None) -> float:
    """Computes the second donor's mixing weight y at a position."""
    if at is None:
        return 0.0
    if width is None:
        return 1.0 if at - mid > 1 else 0.0
    return 0.5 * (1 + math.tanh((at - mid) / width / 2))  # a sigmoid that does not overflow


def _relative(path: str) -> str:
    """Removes the collection and StyleGAN2's synthesis network from the start of a path."""
    first, _, rest = path.partition("/")
    return (rest if first in COLLECTIONS else path).removeprefix("synthesis/")


def _resolution(name: str) -> int | None:
    """Reads the resolution from a path's first name: `b16`, DCGAN's `norm16`, or `b4_more0` of blocks after the last size."""
    match = re.fullmatch(r"(?:b|norm)(\d+)(?:_more\d+)?", name)
    return int(match[1]) if match else None


def _by_depth(names: set[str]) -> dict[str, float]:
    """Places layers whose names count depths, as those of networks from images to images do; {} where there are none.

    The deepest maps are 0, and an encoder mirrors its decoder: both ends of a U-Net lie at the image.
    """

    def numbers(word: str) -> list[int]:
        return sorted(int(match[1]) for name in names if (match := re.fullmatch(rf"{word}(\d+)", name)))

    if layers := numbers("layer"):  # PatchGAN
        return {f"layer{i}": float(layers[-1] - i) for i in layers} | {"from_rgb": float(layers[-1]), "head": -1.0}
    if layers := numbers(r"scale\d+_layer"):  # SPADE's D, whose last layer is the head of its scale
        return {name: layers[-1] - 1.0 - int(name.rpartition("layer")[2]) for name in names}
    ups, downs = numbers("up"), numbers("down")
    if "first" in names:  # SPADE's G
        order = ["stem", "first", "middle0", "middle1", *(f"up{i}" for i in ups), "to_rgb"]
        return {name: float(i - 1) for i, name in enumerate(order)}
    if blocks := numbers("block"):
        outside = len(downs) + 1.0
        places = {f"down{i}": outside - i for i in downs} | {f"up{i}": outside - i for i in ups}
        return {f"block{i}": 0.0 for i in blocks} | places | {"stem": outside, "to_rgb": outside}
    if downs:  # a U-Net, whose layers have the same number on both sides
        deepest = max([*downs, *ups])
        sides = {"down": downs, "up": ups}
        places = {f"{side}{i}": float(deepest - i) for side, depths in sides.items() for i in depths}
        return places | {"to_rgb": deepest - 1.0}
    return {}


def _by_depth_of_texts(names: set[str]) -> dict[str, float]:
    """Places layers of networks of texts from the tokens on, 0 at their tables; filters of all sizes are one layer."""
    counted = {name: int(match[1]) for name in names if (match := re.fullmatch(r"(?:block|lstm|norm)(\d+)", name))}
    places = {name: 1.0 + i for name, i in counted.items()} | dict.fromkeys(names & {"embed", "places", "types"}, 0.0)
    last = max(places.values())
    last += any(name.startswith("filters") or name == "memory" for name in names)
    places |= {name: last for name in names if name.startswith("filters") or name == "memory"}
    ends = (
        "highway",
        "pool",
        "hidden",
        "norm",
        "head",
    )  # `norm` is behind the decoder's blocks, and before the encoder's
    return places | {name: last + 1.0 + ends.index(name) for name in ends if name in names}


def _place(path: str, parts: Sequence[str], network: str, ends: dict[str, float]) -> float | None:
    """Returns the position of a leaf, of its path's parts; None for latent layers."""
    if parts[0] in LATENT:
        return None
    if parts[0] in ends:
        return ends[parts[0]]
    size = _resolution(parts[0])
    if size is None:
        raise MergeError(
            f"leaf {path!r} has no place in the order of layers; known are blocks b4, b8, .., fc0, fc1, .., "
            f"{', '.join(sorted(ends))}, and {', '.join(LATENT)}, which stay the first donor's"
        )
    second = "_more" not in parts[0] and re.fullmatch(SECOND[network], parts[1]) is not None
    return position(size, int(second))
