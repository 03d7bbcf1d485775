"""MineGAN (Wang et al., CVPR 2020): learn where in a generator's latent space the target lies, then fine-tune from there.

A miner before G, `u ~ N(0, I) -> z`, is trained against D while G is frozen (`mine_kimg`); then miner, G and D train
together, or, with `finetune` off, miner and D go on. The first stage has optimisers of its own and a constant learning
rate; its images count towards `train.kimg`. D has to be warm before it can guide the miner: the miner stays as it is for
the first `d_warmup_kimg` of the stage.

With `donors` the first stage trains against several frozen generators (`add_donors`); the one that it selects goes on
with its miner. With `semantic` (StyleGAN2) the constant that synthesis begins with is mined too.

The miner, its start and `moment` are described in `nets.fronts.miner`. The weights that the run writes hold the miner
beside G's leaves, and sampling takes latents through it. Classes of a conditional generator are left as they are (the
paper also mines a mixture of class embeddings), and StyleGAN2's styles are not mixed behind a miner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import Config, ConfigError, MineGANConfig, StyleGAN2Config
from gan_jax.losses import LOSSES
from gan_jax.losses.adversarial import G_SEES_REAL
from gan_jax.nets import Pair
from gan_jax.nets.fronts import init_miner, miner
from gan_jax.nets.stylegan2 import widths
from gan_jax.random_streams import Purpose
from gan_jax.reserved import GRAFT, LOGITS, MINER, OTHERS
from gan_jax.surgery.provenance import chosen_history
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Network, Regulariser
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.method import Graft, Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf
from gan_jax.trees import Tree

# ----------------------------------------------------------------------------------------------------------------------
# The first stage of MineGAN: frozen generators with a miner before each, and the choice of one of them.
#
# Each of N donors has a share `p = softmax(selection_rate x logits)`, learned with the miners. The loss of both networks
# is the sum over donors of p_i times the adversarial loss with donor i's images alone. The shares sum to 1, so real images
# count once. All donors see the same draws u, so that their losses differ by donor and not by chance, and one D, the first
# source's, discriminates all of them. Donor 0 is the run's G and its loss is the step's own adversarial loss; the losses of
# the further donors are added to it.
#
# Adam moves a logit by about the learning rate in each step, too slowly to decide anything within a stage: the rate is
# multiplied by `selection_rate`. (The paper does not say how it parametrises p.)
#
# Parameters below `graft`: `miner` of donor 0, `others/g1/..` of the further donors, `logits [N]`. The weights of the
# further donors are in `state.constants`, since no step changes them.


def mining(count: int, rate: float, warmup_steps: int) -> Extension:
    """The extension of the stage's step: donors' losses, the shares as metrics.

    Args:
      count: number of donors, the run's own G among them.
      rate: factor of the logits.
      warmup_steps: number of steps for which miners and shares stay as they are.
    """

    def warm(ctx: StepContext, network: Network) -> jax.Array | float:
        return jnp.where(ctx.update_count < warmup_steps, 0.0, 1.0) if network == "g" and warmup_steps else 1.0

    def weight(ctx: StepContext, network: Network) -> jax.Array | float:
        return warm(ctx, network) * (shares(ctx.g, rate)[0] if count > 1 else 1.0)

    def donors_loss(network: Network) -> Regulariser:
        def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
            p = shares(ctx.g, rate)
            terms = [p[i] * _loss(ctx, network, donor(ctx.g, ctx.constants, i)) for i in range(1, count)]
            return warm(ctx, network) * sum(terms, start=jnp.zeros(())), {}

        return Regulariser(f"loss_{network}_donors", network, value)

    if count == 1:
        return Extension(weight=weight)

    def metrics(state: GanState) -> dict[str, jax.Array]:
        return {f"p{i}": share for i, share in enumerate(shares(state.nets["g"], rate))}

    return Extension(regularisers=(donors_loss("d"), donors_loss("g")), weight=weight, metrics=metrics)


def shares(g: Variables, rate: float) -> jax.Array:
    """The donors' weights in the loss, `[N]`; they sum to 1."""
    return jax.nn.softmax(rate * g["params"][GRAFT][LOGITS])


def add_donors(g: Variables, miners: Sequence[Tree]) -> Variables:
    """The run's G with the miners of further donors and equal shares; G itself where there are none."""
    if not miners:
        return g
    branches = {OTHERS: {f"g{i}": miner for i, miner in enumerate(miners, 1)}, LOGITS: jnp.zeros(len(miners) + 1)}
    return {**g, "params": {**g["params"], GRAFT: {**g["params"][GRAFT], **branches}}}


def donor_constants(donors: Sequence[Variables]) -> dict[str, Any]:
    """The stage's constants: the plain variables of the further donors, by name."""
    return {f"g{i}": variables for i, variables in enumerate(donors, 1)}


def donor(g: Variables, constants: dict[str, Any], i: int) -> Variables:
    """The variables of donor `i` behind its miner, without what only the stage has."""
    branches = g["params"][GRAFT]
    variables, miner = (constants[f"g{i}"], branches[OTHERS][f"g{i}"]) if i else (g, branches[MINER])
    return {**variables, "params": {**variables["params"], GRAFT: {MINER: miner}}}


def choose(g: Variables, constants: dict[str, Any], rate: float) -> tuple[Variables, list[float], int]:
    """The variables of the donor with the largest share, all shares, and its number."""
    p = np.asarray(shares(g, rate))
    k = int(p.argmax())
    return donor(g, constants, k), [float(share) for share in p], k


def _loss(ctx: StepContext, network: Network, g: Variables) -> jax.Array:
    """A network's adversarial loss with the images of one donor, mean over examples: `[]`."""
    fake = ctx.task.generate(g, ctx.batch, ctx.latent_keys, True)[0]
    x_fake, loss = ctx.augmented(fake, Purpose.AUGMENT_FAKE), LOSSES[ctx.loss.name]
    if network == "d" and ctx.logits is not None:
        return loss(ctx.logits[0], ctx.logits_of(x_fake))[0].mean()
    if ctx.loss.name in G_SEES_REAL:
        of_real, of_fake, _ = ctx.discriminate(ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), x_fake)
        return loss(of_real.logits, of_fake.logits)[1].mean()
    logits_fake = ctx.logits_of(x_fake)
    return loss(jnp.zeros_like(logits_fake), logits_fake)[1].mean()


# ----------------------------------------------------------------------------------------------------------------------
# The method.


def make(config: MineGANConfig, pair: Pair) -> Method:
    """G behind a miner that is trained first, in a stage of its own.

    Raises:
      ConfigError: no G to mine; a miner too narrow to begin as the identity; a semantic miner of another family; a
        warm-up of D that takes the whole first stage; donors without a first stage.
    """
    _check(config, pair)
    channels = widths(pair.config)[4] if config.semantic and isinstance(pair.config, StyleGAN2Config) else None
    g_leaves = tuple(f"g/params/{name}/**" for name in pair.g.specs()["params"])  # without the miner's
    sources = [config.source, *config.donors]

    def init(key: jax.Array, params: Tree) -> Tree:
        return init_miner(key, pair.config.z_dim, config.miner_width, channels)

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        starts = [context.open_donor(name) for name in config.donors]
        key = jax.random.fold_in(context.key, len(starts))
        rows: list[dict[str, float]] = []
        state = context.train(
            {"g": add_donors(g, [init(jax.random.fold_in(key, i), {}) for i in range(len(starts))]), "d": d},
            config.mine_kimg,
            name="mining",
            trains={"g": lambda path: path.startswith(f"{GRAFT}/"), "d": every_leaf},
            extension=mining(len(sources), config.selection_rate, _warmup(context.config)),
            constants=donor_constants([start.nets["g"] for start in starts]),
            row=lambda images, metrics: rows.append({"images": images, **metrics}),
        )
        images, record = int(state.images), {"mined": rows}
        if not starts:
            return PreparedState(state.nets, constants, images, record=record)
        g, p, k = choose(state.nets["g"], state.constants, config.selection_rate)
        listed = ", ".join(f"{share:.3f} of {name}" for share, name in zip(p, sources))
        words = f"G of {sources[k]} was chosen by mining: p is {listed}"
        history = chosen_history(context.start.history, starts[k - 1].history if k else None, words)
        record |= {"sources": sources, "p": p, "chosen": sources[k]}
        return PreparedState({"g": g, "d": state.nets["d"]}, constants, images, history, record, (words,))

    return Method(
        starts=tuple(networks_of(config.networks)),
        frozen=() if config.finetune else g_leaves,
        grafts={"g": Graft(branches={MINER: init}, front=miner(config.moment, config.semantic))},
        prepare=prepare if config.mine_kimg > 0 else None,
        changes_source=bool(config.donors),
    )


def _warmup(config: Config) -> int:
    """Steps of the first stage in which D trains alone."""
    images = config.d_warmup_kimg * 1000
    return -(-round(images) // (config.train.batch * config.train.d_steps))


def _check(config: MineGANConfig, pair: Pair) -> None:
    if "g" not in networks_of(config.networks):
        raise ConfigError("transfer.networks is d, but MineGAN mines a pretrained G; use both or g")
    if config.miner_width < 2 * pair.config.z_dim:
        raise ConfigError(
            f"transfer.miner_width is {config.miner_width}, too few hidden units for a miner to begin as the identity of "
            f"net.z_dim {pair.config.z_dim} numbers; use at least {2 * pair.config.z_dim}"
        )
    if config.semantic and not isinstance(pair.config, StyleGAN2Config):
        raise ConfigError(
            f"transfer.semantic mines the constant that StyleGAN2 begins with, which {type(pair.config).__name__} does "
            "not have; leave it off"
        )
    if 0 < config.mine_kimg <= config.d_warmup_kimg:
        raise ConfigError(
            f"transfer.d_warmup_kimg {config.d_warmup_kimg:g} leaves nothing of transfer.mine_kimg "
            f"{config.mine_kimg:g} to mine in; it must be shorter"
        )
    if config.donors and config.mine_kimg == 0:
        raise ConfigError("transfer.donors are chosen among while mining, but transfer.mine_kimg is 0; use 1 or more")
