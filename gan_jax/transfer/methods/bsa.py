"""BSA (Noguchi & Harada, ICCV 2019): scales, shifts and a latent for each training image learn to reconstruct it; no D.

    mean |x_i - G(z_i + e)|                          e ~ N(0, noise^2)
    + perceptual * sum over layers of mean |C_l(x_i) - C_l(G(z_i + e))|
    + earth_mover * two_way_nearest({z_i}, normals)   so that normal latents work afterwards
    + scale * sum over leaves of mean (scale or shift - its start)^2

The normals are `normals` times as many as the latents, drawn again in every step. All latents are compared with them, not
only those of the batch: the term costs `normals * n^2 * z_dim` multiplications for n images. Latents begin as normal
draws. Scales and shifts are those of `scale_shift`; all other leaves are frozen. G computes in training mode, as in every
other method: batch norms take statistics of the batch of reconstructions. Here every loss term is a mean over what it
compares, for latents also over their dimension; this is how we read the published weights without the paper at hand.

The paper's Adam begins at a rate of 0.03, a fifth of it every 3000 of 10 000 iterations, batches of 25 (SNGAN) or 5
(BigGAN), and far less for the class layers of a conditional G; here all leaves have the rate of the run. The paper samples
from truncated normals at 0.3: `load(run).sample(key, n, truncation=0.3)`, since reconstructions blur between latents.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import BSAConfig, ConfigError
from gan_jax.losses import two_way_nearest
from gan_jax.metrics.networks import NETWORKS, PERCEPTUAL
from gan_jax.metrics.perceptual import load_perceptual
from gan_jax.nets import Pair
from gan_jax.nets.features.perceptual import perceptual_layers
from gan_jax.random_streams import Purpose
from gan_jax.reserved import GRAFT, LATENTS
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.train.state import Networks, Variables
from gan_jax.transfer.layers import scales_and_shifts
from gan_jax.transfer.method import Graft, Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree, flatten, partition


def make(config: BSAConfig, pair: Pair) -> Method:
    """G's scales and shifts and the latents `g/params/graft/latents/z [images, z_dim]` are trained; D is frozen.

    Raises:
      ConfigError: images too small for the feature network; later, a feed without the index of each image.
    """
    if config.features is not None and pair.config.resolution < (least := NETWORKS[config.features].least):
        raise ConfigError(
            f"transfer.features {config.features} needs images of at least {least} px, not {pair.config.resolution}; "
            "use another network, or None for pixels alone"
        )
    scales, adapter = scales_and_shifts(pair)
    graft = Graft(adapter, branches={LATENTS: lambda key, params: {"z": _latents(config, key, pair.config.z_dim)}})
    plain = Method(
        starts=tuple(networks_of(config.networks)),
        frozen=("g/params/**", "d/params/**"),
        trained=scales,
        grafts={"g": graft},
    )
    is_trained = plain.trains("g")

    def trained_scales(g: Variables) -> Tree:
        return partition(g["params"], lambda path: is_trained(path) and not path.startswith(f"{GRAFT}/"))[0]

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        data = context.feed.resident
        if data is None:
            raise ConfigError(
                "bsa learns a latent for each image, and a stream does not say which; use data.pipeline device"
            )
        if len(data["image"]) != config.images:
            raise ConfigError(f"transfer.images is {config.images}, but there are {len(data['image'])}; leave it None")
        weights = {} if config.features is None else {"features": load_perceptual(config.features).params}
        return PreparedState(nets, constants | weights)

    def distance(ctx: StepContext) -> jax.Array:
        def layers(images: jax.Array) -> list[jax.Array]:
            colour = jnp.broadcast_to(images, (*images.shape[:3], 3))
            return perceptual_layers(ctx.constants["features"], PERCEPTUAL[config.features or ""], colour)

        return sum(jnp.abs(x - y).mean() for x, y in zip(layers(ctx.real), layers(ctx.fake), strict=True))  # type: ignore[return-value]

    terms = {
        "l1": (1.0, lambda ctx: jnp.abs(ctx.real - ctx.fake).mean()),
        "perceptual": (config.perceptual if config.features else 0.0, distance),
        "earth_mover": (config.earth_mover, lambda ctx: two_way_nearest(_z(ctx), _normals(ctx, config.normals))),
        "moved": (config.scale, lambda ctx: _squared_move(trained_scales(ctx.g), ctx.constants["scales"])),
    }
    return dataclasses.replace(
        plain,
        constants=lambda nets: {"scales": trained_scales(nets["g"])} | _zero_features(config.features),
        prepare=prepare,
        extension=Extension(
            adversarial=False,
            transform=lambda ctx: _with_latents(ctx, config.noise),
            regularisers=tuple(_weighted(name, weight, value) for name, (weight, value) in terms.items() if weight),
        ),
    )


def _latents(config: BSAConfig, key: jax.Array, z_dim: int) -> jax.Array:
    if config.images is None:
        raise ConfigError(
            "transfer.images is None, and no run has filled it in; set it to the number of training images"
        )
    return jax.random.normal(key, (config.images, z_dim))


def _zero_features(network: str | None) -> dict[str, Any]:
    """Zeros in place of the feature network's weights: a resumed run restores its own and does not read the cache."""
    if network is None:
        return {}
    specs = NETWORKS[network].specs()
    return {"features": jax.tree_util.tree_map(lambda spec: jnp.zeros(spec.shape, spec.dtype), specs)}


def _z(ctx: StepContext) -> jax.Array:
    return ctx.g["params"][GRAFT][LATENTS]["z"]


def _with_latents(ctx: StepContext, noise: float) -> StepContext:
    """The context with the latents of its images, plus noise; no style of another latent is mixed in."""
    if "index" not in ctx.batch:
        raise ConfigError(
            "bsa learns a latent for each image, and this feed does not say which; use data.pipeline device"
        )
    z = _z(ctx)[ctx.batch["index"]]
    z += noise * draw_latents(ctx.keys(Purpose.ANCHOR_NOISE), z.shape[1])
    return dataclasses.replace(ctx, batch={**ctx.batch, "z": z, "mixing": jnp.zeros(len(z), bool)})


def _normals(ctx: StepContext, times: int) -> jax.Array:
    n, z_dim = _z(ctx).shape
    return draw_latents(ctx.keys(Purpose.COMPARED_LATENTS, jnp.arange(n * times)), z_dim)


def _squared_move(params: Tree, start: Tree) -> jax.Array:
    """The sum over leaves of the mean squared difference from the start: `[]`."""
    starts = flatten(start)
    return sum((jnp.square(leaf - starts[path]).mean() for path, leaf in flatten(params).items()), jnp.zeros(()))


def _weighted(name: str, weight: float, value: Any) -> Regulariser:
    return Regulariser(name, "g", lambda ctx: (weight * value(ctx), {}))
