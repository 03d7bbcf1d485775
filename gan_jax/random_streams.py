"""The one table of random streams: every number that a PRNG key is folded with.

Keys form a tree. A fold goes one step down, and a draw is named by its path from a seed's key; two draws are
independent where their paths differ. The numbers never change: existing runs draw from them.

    root_key(seed)                                          a run's seed
      NETWORK_KEYS[g], [d] / path of a module               fresh variables; of other networks by the crc32 of the name
      RUN_KEY                                               the run's key, see below
      i                                                     latents of image i of the grids, and of `gan-jax sample`
      GRID_STATS_KEY / i                                    latents of batch statistics for the grids

    root_key(seed)                                          an evaluation's seed
      STATS_KEY / i, SAMPLE_KEY / i                         latents of batch statistics, and of the images measured
      i                                                     latents by which merges compare networks with the target

    the run's key; a stage's key
      step / Purpose / use in the step / example            an example's key, see below
      READY_KEY / network / branch or adapter / ..          what a method adds to the networks
      STAGE_KEY                                             the key of a stage before the run, a run's key itself
      everything below a preparation's key

    a preparation's key: the run's, for later methods of a chain run's key / CHAIN_KEY + position
      STAGE_KEY                                             as above
      mixture / crc32 of a group                            gates of a fusion's mixtures, G's 0 and D's 1
      DISTIL_KEY / STAGE_KEY / ..                           a fusion's second stage
      MERGE_KEY / donor / crc32 of a path                   masks of DARE
      donor (from 1) / STAGE_KEY / ..                       GAN Cocktail's stages
      donors / miner / ..                                   MineGAN: miners of the other donors
      point / ..                                            feature fusion's layers
      ANCHOR_KEY                                            anchors of CDC and its like
      i                                                     latents of batch statistics of mixed weights
      step / i                                              latents by which adaptive layers are chosen (NADA)

    the key of an example's data
      0 and 1 (a split)                                     which example; whether it is flipped
      1 / CROP_KEY                                          pairs: the place of its crop
      SECOND_SIDE_KEY / 0, 1, 1 / CROP_KEY                  the same of the image of an unpaired set

    an example's key
      itself                                                its latents
      NOISE_KEY + layer, SECOND_LATENT_KEY, MIXING_KEY      StyleGAN2: noise, and styles of a second latent
      TEACHER_KEY                                           its teacher
      DROPOUT_KEY + layer                                   U-Net, translator: values that are dropped
      position in the policy                                DiffAugment
      ADA_NOISE_KEY                                         ADA's noise; its other draws are of the key itself

Small numbers below the run's key have two meanings: a step's, and a preparation's. They draw nothing with one key for all
that: a step draws four folds down (step, purpose, use, example) or lower, a preparation one to three folds down, below
STAGE_KEY, or behind a checksum.

Exceptions, kept because runs depend on them:

- Semantic miners of MineGAN's other donors are drawn four folds down too. With N of them the layers of miner i have the
  keys of the examples of purpose i, second use, in step N.
- GRID_STATS_KEY equals SAMPLE_KEY: with equal seeds of training and evaluation the grids' statistics are estimated on the
  latents that are measured. Merges compare networks on the latents of the grids.
- A seed from 2^32 on has the key `fold_in(key(low), high)`. For a `high` of 1 or 2 that is D's or the run's key of the
  seed `low`: two runs with such a pair of seeds are not independent.

Fixed probes (`jax.random.key(0)`) belong to no run: all that are compared see the same latents. `crc32` also makes the
seeds of NumPy's draws in surgery, where salts name leaves.
"""

from __future__ import annotations

import enum
import zlib

import jax

# -- below a seed's key -------------------------------------------------------------------------

NETWORK_KEYS = {"g": 0, "d": 1}  # fresh variables of a pair; of other networks by the checksums of their names
RUN_KEY = 2  # the run's key
GRID_STATS_KEY = 1  # batch statistics for the grids
STATS_KEY, SAMPLE_KEY = 0, 1  # of an evaluation's seed: batch statistics, images that are measured

# -- below the run's key: steps have the numbers from 0 -----------------------------------------

READY_KEY = 2**31 - 1  # what a method adds to the networks
STAGE_KEY = 2**31 - 2  # a stage of training before the run: it draws other images and latents than the run
CHAIN_KEY = 2**30  # plus the position in the chain: preparations of the methods behind the first

# -- below a preparation's key ------------------------------------------------------------------

MIXTURE_KEYS = {"g": 0, "d": 1}  # gates of a fusion of pairs; of other networks by the checksums of their names
MERGE_KEY = 1  # masks of a merge
DISTIL_KEY = 1  # the second stage of a fusion
COCKTAIL_KEY = 0  # plus the number of the donor, from 1: its stage
RESTATED_KEY = 5000  # images on which a translator's batch statistics are recalibrated
ANCHOR_KEY = 13  # anchors; the number of Purpose.ANCHOR

# -- below an example's key ---------------------------------------------------------------------

ADA_NOISE_KEY = 1  # the noise of ADA
NOISE_KEY = 1000  # plus the layer: StyleGAN2's noise
SECOND_LATENT_KEY = 999  # StyleGAN2: a latent whose styles are mixed in
MIXING_KEY = 998  # StyleGAN2: whether, and from which layer on
TEACHER_KEY = 3000  # the choice of an example's teacher
DROPOUT_KEY = 4000  # plus the layer: values that are dropped

# -- below the key of an example's data ---------------------------------------------------------

SECOND_SIDE_KEY = 2  # the image of an unpaired set: drawn as its input is, by a key of its own
CROP_KEY = 1  # below the key of the flip: the place of a crop

# -- below other keys ---------------------------------------------------------------------------

BRANCH_KEY = 1  # below the key of `Net.init`: the branches that a wrapped network has beside the plain one's leaves
UNIFORM_PROBES_KEY = 1  # below the key of a measurement: uniform images beside its latents


class Purpose(enum.IntEnum):
    """What a draw of a step is for, folded into the step's key."""

    DATA = 0
    D_LATENTS = 1  # of what D is shown in its own updates
    G_LATENTS = 2
    AUGMENT_REAL = 3
    AUGMENT_FAKE = 4
    MIX = 5  # WGAN-GP's points between real and generated images
    VARY_REAL = 6  # consistency: the transforms T
    VARY_FAKE = 7
    NEAR = 8  # consistency: the noise on latents
    PATH_LATENTS = 9
    PATH_NOISE = 10
    PAIRED_LATENTS = 11  # of what a source and its adapted copy are both asked for
    PAIRED_NOISE = 12
    ANCHOR = 13  # which of a method's fixed latents, and the noise around it
    ANCHOR_NOISE = 14
    CHOICE = 15  # which of several layers a method looks at
    PROBE_LATENTS = 16  # of what a method estimates importance on
    COMPARED_LATENTS = 17  # normal latents that learned ones are compared with
    DONOR_LATENTS = 18  # of what a donor makes to be taken for real images
    POOL = 19  # translations that pass a pool, and which stored one D is shown
    POOL_BACK = 20  # the same for translations in the other direction
    PATCHES = 21  # places of maps that are contrasted
    PATCHES_IDENTITY = 22  # the same for images that are in the target domain already
    FLIP = 23  # which images are translated mirrored
    IDENTITY_LATENTS = 24  # what a generator draws for images that are in the target domain already
    CYCLE_LATENTS = 25  # what it draws on the way back


def network_key(network: str) -> int:
    """The number of a network's fresh variables, below a run's seed."""
    return NETWORK_KEYS.get(network, path_number(network))


def mixture_key(network: str) -> int:
    """The number of a network's gates of a fusion, below the key of a preparation."""
    return MIXTURE_KEYS.get(network, path_number(network))


def path_number(path: str) -> int:
    """A number of 32 bits for a leaf's path, a group's name or a salt."""
    return zlib.crc32(path.encode())


def path_key(key: jax.Array, path: str) -> jax.Array:
    """The key of a leaf or a group: it depends on the key and the name only."""
    return jax.random.fold_in(key, path_number(path))
