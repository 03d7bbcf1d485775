"""Cross-domain correspondence: layers whose features are compared, paired features, anchors, and patches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import CDCConfig, ConfigError, FinetuneConfig
from gan_jax.nets import Pair
from gan_jax.nets.conv import conv
from gan_jax.nets.inside import Shapes, module_shapes
from gan_jax.nets.layers import at_least_float32, xavier
from gan_jax.random_streams import ANCHOR_KEY, Purpose
from gan_jax.reserved import GRAFT, PATCH
from gan_jax.tasks.image import draw_latents
from gan_jax.train.context import Batch, DOutput, StepContext
from gan_jax.train.state import Networks, Variables
from gan_jax.transfer.method import Graft
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree, match

# ----------------------------------------------------------------------------------------------------------------------
# The layers of a network whose features are compared: module path -> shape of the output.


def g_layers(pair: Pair) -> Shapes:
    """The layers of G whose features represent an image: its blocks, or the convolutions in the blocks of a StyleGAN2.

    The first layer is left out where there are others: it depends least on the image.

    Raises:
      ConfigError: G has no such layer.
    """
    shapes, styled = module_shapes(pair, "g"), "mapping" in pair.g_blocks
    blocks = [f"{name}/conv?" if styled else name for name in pair.g_blocks if name != "mapping"]
    layers = {path: shape for name in blocks[1:] or blocks for path, shape in shapes.items() if match(name, path)}
    if not layers:
        raise ConfigError(f"G has no outputs at {', '.join(blocks)} to compare samples by; it has {', '.join(shapes)}")
    return layers


def g_maps(pair: Pair, smallest: int = 8) -> tuple[str, ...]:
    """The paths of `g_layers` whose outputs are maps of a quarter of the image or larger, at least `smallest` px.

    Raises:
      ConfigError: there are none, as in a network of fully connected layers.
    """
    least = max(smallest, pair.config.resolution // 4)
    layers = g_layers(pair)
    maps = tuple(
        path for path, s in layers.items() if len(s) == 3 and min(s[:2]) >= least and s[0] % 4 == s[1] % 4 == 0
    )
    if not maps:
        shapes = ", ".join(f"{path} {list(shape)}" for path, shape in layers.items())
        raise ConfigError(
            f"correlations within feature maps need a G with maps of {least} px or more, but its layers have {shapes}; "
            "use cdc or dcl, which take features of G of any shape (cdc needs a map in D)"
        )
    return maps


def d_layers(pair: Pair) -> Shapes:
    """The blocks of D from the image upwards, without the linear layer before them and without a last block of logits.

    Raises:
      ConfigError: D has no such block.
    """
    shapes = module_shapes(pair, "d")
    blocks = {
        name: shapes[name] for name in pair.d_blocks if math.prod(shapes.get(name, ())) > 1 and name != "from_rgb"
    }
    if not blocks:
        raise ConfigError(f"D has no outputs at {', '.join(pair.d_blocks)} to compare; it has {', '.join(shapes)}")
    return blocks


# ----------------------------------------------------------------------------------------------------------------------
# Features of the source's generator and of its adapted copy, on the same latents.


def check_source(config: FinetuneConfig, name: str) -> None:
    """Checks that G starts from the source, whose behaviour a method preserves.

    Raises:
      ConfigError: G does not start from the source.
    """
    if config.networks == "d":
        raise ConfigError(f"{name} keeps what the source's G does, but transfer.networks is d; use both or g")


def paired_features(
    ctx: StepContext, paths: Iterable[str], z: jax.Array | None = None, labels: jax.Array | None = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Features `{path: [B, ...]}` of G now and of its start, on the same latents, noise and labels, in evaluation mode.

    Evaluation mode has no style mixing and no drawn noise, and batch norm takes its running averages: an example's
    features depend on its own latent alone.

    Args:
      ctx: with the start of G as `constants["g"]`.
      paths: of modules of G.
      z: `[B, z_dim]` latents; None = drawn, other ones than those of the adversarial loss.
      labels: `[B]` of the latents; None = the batch's.
    """
    options: dict[str, Any] = {"z": z, "label": labels}
    batch: Batch = {name: x for name, x in ctx.batch.items() if name not in ("z", "mixing")}
    batch |= {name: x for name, x in options.items() if x is not None}
    paths, keys = tuple(paths), ctx.keys(Purpose.PAIRED_LATENTS)

    def features(g: Variables) -> dict[str, jax.Array]:
        intermediates = ctx.task.g_intermediates(g, batch, keys)
        return {path: intermediates[path] for path in paths}

    return features(ctx.g), jax.lax.stop_gradient(features(ctx.constants["g"]))


# ----------------------------------------------------------------------------------------------------------------------
# Latents of relaxed realism (Ojha et al., CVPR 2021): near a few anchors in some steps, normal draws in the others.

Constants = Callable[[Networks], dict[str, Any]]
Prepare = Callable[[PrepareContext, Networks, dict[str, Any]], PreparedState]


def at_anchors(config: CDCConfig, ctx: StepContext) -> jax.Array:
    """Whether a step's latents are near anchors, `[]`: in the first step and every `anchor_every`-th after it."""
    return jnp.asarray(ctx.step) % config.anchor_every == 0


def anchor_constants(config: CDCConfig, z_dim: int) -> tuple[Constants, Prepare]:
    """`constants` and `prepare` of a method: the start of G, and anchors `[anchors, z_dim]`, drawn once in each run."""

    def constants(nets: Networks) -> dict[str, Any]:
        return {"g": nets["g"], "anchors": jnp.zeros((config.anchors, z_dim))}

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        anchors = jax.random.normal(jax.random.fold_in(context.key, ANCHOR_KEY), (config.anchors, z_dim))
        return PreparedState(nets, {**constants, "anchors": anchors})

    return constants, prepare


def anchor_latents(config: CDCConfig) -> Callable[[StepContext], StepContext]:
    """Makes the transform that sets the latents of an update.

    Near anchors they are an anchor plus noise, and styles are not mixed; otherwise they are the usual draws, with the
    usual style mixing.
    """

    def set_latents(ctx: StepContext) -> StepContext:
        anchors, near = ctx.constants["anchors"], at_anchors(config, ctx)
        index = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(anchors)))(ctx.keys(Purpose.ANCHOR))
        noise = draw_latents(ctx.keys(Purpose.ANCHOR_NOISE), anchors.shape[1])
        usual = draw_latents(ctx.latent_keys, anchors.shape[1])
        z = jnp.where(near, anchors[index] + config.anchor_noise * noise, usual)
        mixing = jnp.broadcast_to(~near, ctx.index.shape)
        return dataclasses.replace(ctx, batch={**ctx.batch, "z": z, "mixing": mixing})

    return set_latents


# ----------------------------------------------------------------------------------------------------------------------
# Relaxed realism in D (Ojha et al., CVPR 2021): logits of whole images near anchors, logits of patches elsewhere.


@dataclasses.dataclass(frozen=True)
class Patches:
    """A second head of D: a 3x3 convolution from one of its maps to a logit at each position.

    Attributes:
      path: the module of D whose output is the map.
      features: number of channels of the map.
    """

    path: str
    features: int

    @property
    def graft(self) -> Graft:
        """The head as further parameters of D."""

        def head(key: jax.Array, params: Tree) -> Tree:
            return {"kernel": xavier()(key, (3, 3, self.features, 1)), "bias": jnp.zeros((1,))}

        return Graft(branches={PATCH: head})

    def logits(self, config: CDCConfig, ctx: StepContext, output: DOutput) -> jax.Array:
        """Logits `[B, h, w]` of the adversarial loss: that of the whole image near anchors, else those of its patches."""
        head = ctx.d["params"][GRAFT][PATCH]
        patches = conv(at_least_float32(output.intermediates[self.path]), head["kernel"])[..., 0] + head["bias"][0]
        return jnp.where(at_anchors(config, ctx), output.logits[:, None, None], patches)


def find_patches(pair: Pair, patch_px: int | None) -> Patches:
    """The head on D's first map of `patch_px`, counted from the image; None = a quarter of the image.

    Raises:
      ConfigError: D has no map of that size.
    """
    size = pair.config.resolution // 4 if patch_px is None else patch_px
    maps = {path: shape for path, shape in d_layers(pair).items() if len(shape) == 3}
    for path, shape in maps.items():
        if shape[0] == size:
            return Patches(path, shape[-1])
    if not maps:
        raise ConfigError(
            "logits of patches need a feature map of D, but this D has none; use dcl, which needs no maps"
        )
    sizes = ", ".join(f"{shape[0]} px ({path})" for path, shape in maps.items())
    raise ConfigError(
        f"logits of patches need a map of D of {size} px, but its maps are: {sizes}; change transfer.patch_px"
    )
