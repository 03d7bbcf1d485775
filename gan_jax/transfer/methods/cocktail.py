"""GAN Cocktail (Avrahami, Lischinski, Fried, ECCV 2022): donors rooted in one of them, averaged, fine-tuned.

Networks that were trained apart cannot be averaged; networks that were fine-tuned from one root can. The root is
`source`, G and D. For each donor a copy of the root is trained for `root_kimg` on images that this donor's G makes,
without real data; then the root and all copies are averaged, every leaf alike. Main training fine-tunes the average on
the target; the paper makes it class-conditional on the donor and goes on with generated images.

Running statistics are recalibrated on the averaged weights, where the paper averages them: the mean of batch statistics
is not the statistics of the mean.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import CocktailConfig, ConfigError
from gan_jax.fusion.merges.averages import average
from gan_jax.nets import Pair
from gan_jax.random_streams import COCKTAIL_KEY, Purpose
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks
from gan_jax.transfer.donors import Donors, check_donors, fused_pair
from gan_jax.transfer.method import Method
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf
from gan_jax.transfer.probes import recompute_statistics

# ----------------------------------------------------------------------------------------------------------------------
# The task of GAN Cocktail's common root (Avrahami, Lischinski, Fried, ECCV 2022): a donor's images are the real ones.

DONOR = "donor"  # key among the stage's constants


def use_donor_images(ctx: StepContext) -> StepContext:
    """Replaces a context's real images with the frozen donor's, from separate latents and with the batch's labels.

    The donor runs as in sampling: in evaluation mode, its images clipped to [-1, 1]. A translator makes them of the batch's
    inputs.
    """
    latents = ctx.keys(Purpose.DONOR_LATENTS)
    images = ctx.task.generate(ctx.constants[DONOR], ctx.batch, latents, False)[0]
    images = images[..., -ctx.batch["image"].shape[-1] :]  # a translator's sample may hold its input too
    real = jax.lax.stop_gradient(jnp.clip(images, -1, 1))
    return ctx.replace(batch={**ctx.batch, "image": real})


# ----------------------------------------------------------------------------------------------------------------------
# The method.

NETWORKS: tuple[Network, ...] = ("g", "d")


def make(config: CocktailConfig, pair: Pair) -> Method:
    """Copies of the source learn the donors for `root_kimg` each, and their average is fine-tuned.

    Raises:
      ConfigError: no donors, or a G or D that is not the source's.
    """
    check_donors(config, pair)
    if config.networks != "both":
        raise ConfigError(f"transfer.networks is {config.networks}, but the root is a G and a D; use both")

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        pairs, records, histories, images = [(g, d)], [], [], 0
        for i, name in enumerate(config.donors, 1):
            donor, rows = context.open_donor(name), []
            copies = [jax.tree_util.tree_map(jnp.array, net) for net in (g, d)]  # a stage donates its input buffers
            state = context.replace(key=jax.random.fold_in(context.key, COCKTAIL_KEY + i)).train(
                {"g": copies[0], "d": copies[1]},
                config.root_kimg,
                name=f"rooting donor {i} of {len(config.donors)}",
                trains={"g": every_leaf, "d": every_leaf},
                extension=Extension(transform=use_donor_images),
                constants={DONOR: donor.nets["g"]},
                row=lambda at, metrics, rows=rows: rows.append({"images": at, **metrics}),
            )
            pairs.append((state.nets["g"], state.nets["d"]))
            records.append({"donor": name, "rooted": rows})
            histories.append(donor.history)
            images += int(state.images)
        count = len(pairs)
        g, d = (
            recompute_statistics(context, pair, network, average(list(copies)))
            for network, copies in zip(NETWORKS, zip(*pairs), strict=True)
        )
        shares = {network: {"all": [1 / count] * (count - 1)} for network in ("g", "d")}
        words = f"the average of {config.source} and of copies of it that learned {', '.join(config.donors)}"
        donors = Donors(tuple(config.donors), {}, {"by": "none", "donors": records}, histories)
        return fused_pair(context, {"g": g, "d": d}, constants, donors, shares, f"G and D are {words}", images=images)

    return Method(starts=("g", "d"), prepare=prepare, changes_source=True)
