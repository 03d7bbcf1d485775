"""Inputs on which pretrained networks are compared before training, and statistics of mixed weights on such inputs.

Generators of latents are given fixed latents. Translators are given images of the run's own data, as its feed crops and
flips them: noise, or images of another kind, would excite other channels than those that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, NetConfig
from gan_jax.nets import Net, Networks, Pair
from gan_jax.nets.build import Variables
from gan_jax.nets.inside import whole_groups
from gan_jax.random_streams import RESTATED_KEY
from gan_jax.roots import is_reversed, pair_part
from gan_jax.surgery.align import singular_vectors
from gan_jax.surgery.families import layouts
from gan_jax.surgery.families.layout import Layout
from gan_jax.tasks.image import probes
from gan_jax.tasks.inputs import judged, reader
from gan_jax.tasks.sample import make_restatistics
from gan_jax.train.context import Batch
from gan_jax.train.feed import Feed
from gan_jax.transfer.preparation import PrepareContext

PROBES = 256  # latents that donors are aligned and described with
LEAST, PIXELS = 16, PROBES * 64 * 64  # inputs of a translator: at least these, or as many as have these pixels
STATS = 8, 128  # batches for the statistics of mixed weights, and their size


def draw_probes(
    context: PrepareContext, nets: Networks, name: str, key: jax.Array, count: int | None = None
) -> tuple[jax.Array, jax.Array | None]:
    """Draws inputs of a generator, `(x [n, ...], classes [n] or None)`.

    Args:
      context: has the data.
      nets: plain networks.
      name: of the generator.
      key: typed PRNG key.
      count: n; None = `PROBES` latents, or as many images as fit into memory together with their maps.

    Raises:
      ConfigError: several processes share data that the host sends, so that each would draw others.
    """
    config = nets.config
    if not config.translates:
        return probes(config, key, PROBES if count is None else count)
    n = image_count(config) if count is None else count
    return reader(nets, name)(draw_batch(context.feed, key, n), jax.random.split(key, n)), None


def image_count(config: NetConfig, most: int = PROBES) -> int:
    """The number of images, at most `most`, that a translator and its maps are compared on."""
    return min(most, max(LEAST, PIXELS // config.resolution**2))


def draw_batch(feed: Feed, key: jax.Array, count: int) -> Batch:
    """Draws `count` examples; those of a host's pipeline are the next ones, to which it goes back."""
    keys = jax.random.split(key, count)
    if feed.resident is not None:
        return jax.jit(lambda data, keys: feed.draw(data, keys, 0))(feed.resident, keys)
    if jax.process_count() > 1:
        raise ConfigError(
            "translators are compared on images of the run, of which each process has a part; use data.pipeline device"
        )
    assert feed.cursor is not None and feed.restore is not None
    cursor, parts, drawn = feed.cursor(), [], 0
    while drawn < count:
        sent = {name: jnp.asarray(values[0, :, : count - drawn]) for name, values in feed.stack(1, 1).items()}
        size = len(next(iter(sent.values()))[0])
        parts.append(feed.draw(sent, keys[drawn : drawn + size], 0))
        drawn += size
    feed.restore(cursor)
    return {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}


def activations_on(net: Net, x: jax.Array, labels: jax.Array | None) -> Callable[[Variables], dict[str, jax.Array]]:
    """Makes `variables -> {module path: output}` of a network on fixed inputs."""
    return jax.jit(lambda variables: net.activations(variables, x, labels))


def judged_examples(
    nets: Networks, x: jax.Array, images: jax.Array, labels: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """Inputs of the discriminator that judges images made from x, and their classes: in full groups, where D compares."""
    examples = judged(nets, x, images)
    count = whole_groups(nets, len(examples)) if isinstance(nets, Pair) else len(examples)
    return examples[:count], None if labels is None else labels[:count]


def layout_of(config: NetConfig, name: str) -> Layout:
    """The axes of the leaves of a network of a configuration, such as `d`, or `g_ba` of the way back."""
    net: Any = config
    return layouts(net.reversed if is_reversed(name) else net)[pair_part(name) or name]


def recompute_statistics(context: PrepareContext, nets: Networks, name: str, variables: Variables) -> Variables:
    """Variables with recalibrated statistics for mixed weights: G's batch statistics, the vectors of spectral norms.

    Args:
      context: of the preparation.
      nets: plain networks.
      name: of the network.
      variables: of the network.
    """
    if name in nets.generators and "batch_stats" in variables:
        batches, size = STATS
        if isinstance(nets, Pair) and not nets.config.translates:
            variables = make_restatistics(nets, size)(variables, context.key, batches)
        else:
            variables = {**variables, "batch_stats": _statistics_on_images(context, nets, name, variables, batches)}
    if "spectral" in variables:
        fresh = singular_vectors(layout_of(nets.config, name), jax.device_get(variables))
        variables = jax.tree_util.tree_map(jnp.asarray, fresh)
    return variables


def _statistics_on_images(
    context: PrepareContext, nets: Networks, name: str, variables: Variables, batches: int
) -> Variables:
    """The mean batch statistics of a translator over batches of the run's size."""
    size = context.config.train.batch
    x, _ = draw_probes(context, nets, name, jax.random.fold_in(context.key, RESTATED_KEY), batches * size)
    statistics = jax.jit(nets.nets[name].statistics)
    rows = [statistics(variables, x[i : i + size]) for i in range(0, len(x), size)]
    return jax.tree_util.tree_map(lambda *leaves: sum(leaves) / batches, *rows)
