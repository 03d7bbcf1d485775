"""MineGAN (Wang et al., CVPR 2020): learn where in a generator's latent space the target lies, then fine-tune from there.

A miner before G, `u ~ N(0, I) -> z`, is trained against D while G is frozen (`mine_kimg`); then miner, G and D train
together, or, with `finetune` off, miner and D go on. The first stage has optimisers of its own and a constant learning
rate; its images count towards `train.kimg`. D has to be warm before it can guide the miner: the miner stays as it is for
the first `d_warmup_kimg` of the stage.

With `donors` the first stage trains against several frozen generators (`minegan_donors`); the one that it selects goes on
with its miner. With `semantic` (StyleGAN2) the constant that synthesis begins with is mined too.

The miner, its start and `moment` are described in `nets.fronts.miner`. The weights that the run writes hold the miner
beside G's leaves, and sampling takes latents through it. Classes of a conditional generator are left as they are (the
paper also mines a mixture of class embeddings), and StyleGAN2's styles are not mixed behind a miner.
"""

from __future__ import annotations

from typing import Any

import jax

from gan_jax.config import Config, ConfigError, MineGANConfig, StyleGAN2Config
from gan_jax.nets import Pair
from gan_jax.nets.fronts.miner import init_miner, miner
from gan_jax.nets.stylegan2 import widths
from gan_jax.reserved import GRAFT, MINER
from gan_jax.surgery.provenance import chosen_history
from gan_jax.train.state import Networks
from gan_jax.transfer.graft import Graft
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.methods.minegan_donors import add_donors, choose, donor_constants, mining
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf
from gan_jax.trees import Tree


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
