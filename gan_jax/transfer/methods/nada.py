"""StyleGAN-NADA (Gal et al., SIGGRAPH 2022): G moves along the direction between two texts, without D, without images.

The source's G and its copy make images of the same latents and the same noise. With unit embeddings E and the direction
T from the source's text to the target's, the loss of the copy is 1 - cos(E(copy) - E(source), T), mean over images.

A difference shorter than FLOOR is divided by FLOOR: at the start both images are equal, and the cosine is not defined.
The official code draws noise for each network separately, so that it meets this point by chance only.

Before each step some layers are chosen to train: one step of SGD on the styles of a few latents selects the `layers`
convolutions whose styles move most, by the mean absolute move. The other layers are bit-exact in weights, average and
moments; each layer's bias correction counts its own updates, as in an Adam that skips leaves. The mapping network, to_rgb
and the strengths of the noise never train.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError, NADAConfig
from gan_jax.nets import Pair
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Network, Regulariser
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.layers import LAYER, corrected, layer_of, style_layers
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree, did_you_mean, map_with_path

# ----------------------------------------------------------------------------------------------------------------------
# Encoders of images and text into one space, as CLIP, for methods whose target is a text.
#
# This package has none. Register one by name before a run:
#
#     from gan_jax.transfer.methods.nada import ENCODERS, Encoder
#     ENCODERS["my-clip"] = lambda: Encoder(params, images=apply_to_images, text=apply_to_text)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder of images and text into one space.

    Attributes:
      params: parameters of `images`; a run keeps them in its state.
      images: `(params, [N, H, W, 3] float in [-1, 1]) -> [N, D]`, of any size of image, with gradients.
      text: `text -> [D]`.
    """

    params: Tree
    images: Callable[[Tree, jax.Array], jax.Array]
    text: Callable[[str], Any]


def load_encoder(name: str) -> Encoder:
    """The encoder that `transfer.clip` names.

    Raises:
      ConfigError: there is none of this name; says how to register one.
    """
    if name in ENCODERS:
        return ENCODERS[name]()
    how = 'give one in Python: gan_jax.transfer.methods.nada.ENCODERS["NAME"] = lambda: Encoder(params, images, text)'
    if not name:
        raise ConfigError(f"transfer.clip is empty, but this method needs an encoder of images and text; {how}")
    if Path(name).exists():
        raise ConfigError(
            f"transfer.clip is {name}, but CLIP's networks are not part of this version, so that its files cannot be read; "
            f"{how} and name it"
        )
    known = f"; there are {', '.join(ENCODERS)}" if ENCODERS else ""
    raise ConfigError(f"transfer.clip is {name!r}, which is no encoder{did_you_mean(name, ENCODERS)}{known}; {how}")


def embed_images(encoder: Encoder, params: Tree, images: jax.Array) -> jax.Array:
    """Unit vectors `[N, D]` of images `[N, H, W, C]` in [-1, 1]; grey ones count as RGB, alpha is dropped."""
    rgb = jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images[..., :3]
    rows = encoder.images(params, rgb)
    return rows * jax.lax.rsqrt(jnp.square(rows).sum(-1, keepdims=True) + 1e-12)


def text_direction(encoder: Encoder, source: str, target: str) -> np.ndarray:
    """The unit vector `[D]` from one text to another.

    Raises:
      ConfigError: both texts are the same to the encoder.
    """
    unit = lambda row: row / np.linalg.norm(row)
    way = unit(np.asarray(encoder.text(target), np.float32)) - unit(np.asarray(encoder.text(source), np.float32))
    if not (length := float(np.linalg.norm(way))) > 0:
        raise ConfigError(
            f"transfer.source_text {source!r} and transfer.target_text {target!r} are the same to the encoder: there is no "
            "direction between them; change one"
        )
    return way / length


ENCODERS: dict[str, Callable[[], Encoder]] = {}


# ----------------------------------------------------------------------------------------------------------------------
# The method.

FLOOR = 0.05  # of unit embeddings; those of different images are about ten times as far apart
CHOSEN, COUNTS = "nada_chosen", "nada_counts"  # in extras, `[layers]`: whether each trains next, its number of updates
NEVER = ("mapping/**", "**/to_rgb/**", "**/noise_strength")


def make(config: NADAConfig, pair: Pair) -> Method:
    """G starts from the source and is trained on embeddings of the encoder that `transfer.clip` names.

    Raises:
      ConfigError: no encoder, texts without a direction, or a choice of layers of a generator that has no styles.
    """
    if config.networks == "d":
        raise ConfigError("transfer.networks is d, but nada moves the source's G, and has no D; use g")
    encoder = load_encoder(config.clip)
    direction = jnp.asarray(text_direction(encoder, config.source_text, config.target_text))
    if pair.config.channels == 4:
        raise ConfigError("net.channels is 4, but an encoder of images sees no alpha; use 3")
    starts = tuple(networks_of(config.networks))
    layers = style_layers(pair) if config.layers else ()
    adaptive = 0 < config.layers < len(layers)

    def loss(params: Tree, images: jax.Array, old: jax.Array) -> jax.Array:
        return directional(embed_images(encoder, params, images), embed_images(encoder, params, old), direction)

    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        old = ctx.task.generate(ctx.constants["g"], ctx.batch, ctx.latent_keys, True)[0]
        return loss(ctx.constants["encoder"], ctx.fake, old).mean(), {}

    def choose(g: Variables, constants: dict[str, Any], step: jax.Array) -> jax.Array:
        """Which layers train, `[layers]` bool, by styles of the same latents on every device."""
        key = jax.random.fold_in(jax.random.wrap_key_data(constants["key"]), step)
        z = draw_latents(jax.random.split(key, config.layer_batch), pair.config.z_dim)
        ws = pair.g.parts["map"](g, z)
        old = pair.g.parts["synthesise"](constants["g"], ws)

        def mean_loss(ws: jax.Array) -> jax.Array:
            return loss(constants["encoder"], pair.g.parts["synthesise"](g, ws), old).mean()

        moves = jnp.abs(config.layer_lr * jax.grad(mean_loss)(ws)).mean((0, 2))[: len(layers)]  # the last is to_rgb's
        return jnp.zeros(len(layers), bool).at[jax.lax.top_k(moves, config.layers)[1]].set(True)

    def constants(nets: Networks) -> dict[str, Any]:
        source = {"g": jax.tree_util.tree_map(jnp.asarray, nets["g"]), "encoder": encoder.params}
        choice = {"key": jnp.zeros(2, jnp.uint32), "betas": jnp.zeros(2), "first": jnp.zeros(len(layers), bool)}
        return source | (choice if adaptive else {})

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        betas = jnp.array([context.config.optim.b1, context.config.optim.b2])
        constants = {**constants, "key": jax.random.key_data(context.key), "betas": betas}
        first = jax.jit(choose)(nets["g"], constants, jnp.zeros((), jnp.int32))
        return PreparedState(nets, {**constants, "first": first})

    def chosen_layers(extras: Extras, constants: dict[str, Any], step: jax.Array) -> jax.Array:
        return jnp.where(step == 0, constants["first"], extras[CHOSEN])

    def hold_layers(ctx: StepContext, network: Network, before: Any, after: Any) -> Any:
        if network == "d":
            return after
        mask, counts = chosen_layers(ctx.extras, ctx.constants, ctx.update_count), ctx.extras[COUNTS]
        pace = corrected(ctx.constants["betas"], counts + 1, ctx.update_count + 1)

        def step(path: str, new: jax.Array, old: jax.Array) -> jax.Array:
            layer = layer_of(path, layers)
            return jnp.where(mask[layer], old + pace[layer] * (new - old), old)

        def hold(path: str, new: jax.Array, old: jax.Array) -> jax.Array:
            return new if LAYER.search(path) is None else jnp.where(mask[layer_of(path, layers)], new, old)

        return map_with_path(step, after[0], before[0]), map_with_path(hold, after[1], before[1])

    def post_step(before: GanState, state: GanState, ctx: StepContext) -> GanState:
        mask = chosen_layers(before.extras, before.constants, before.step)

        def hold(path: str, new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(mask[layer_of(path, layers)], new, old) if trains(path) else new

        average = map_with_path(hold, state.ema["g"]["params"], before.ema["g"]["params"])
        extras = {
            CHOSEN: choose(state.nets["g"], state.constants, before.step + 1),
            COUNTS: before.extras[COUNTS] + mask.astype(jnp.int32),
        }
        g_ema = {**state.ema["g"], "params": average}
        return state.replace(ema={**state.ema, "g": g_ema}, extras={**state.extras, **extras})

    def init_extras(nets: Networks) -> Extras:
        return {CHOSEN: jnp.zeros(len(layers), bool), COUNTS: jnp.zeros(len(layers), jnp.int32)}

    extension = Extension(regularisers=(Regulariser("direction", "g", value),), adversarial=False)
    frozen = (*(f"g/params/{pattern}" for pattern in NEVER), "d/params/**")
    if not adaptive:
        return Method(starts=starts, frozen=frozen, constants=constants, extension=extension)
    extension = dataclasses.replace(extension, post_update=hold_layers, post_step=post_step, init_extras=init_extras)
    method = Method(starts=starts, frozen=frozen, constants=constants, prepare=prepare, extension=extension)
    trains = method.trains("g")
    return method


def directional(new: jax.Array, old: jax.Array, direction: jax.Array) -> jax.Array:
    """`1 - cos(new - old, direction)` `[N]` of embeddings `[N, D]` and a unit vector `[D]`; see FLOOR."""
    move = new - old
    return 1 - move @ direction * jax.lax.rsqrt(jnp.maximum(jnp.square(move).sum(-1), FLOOR**2))
