"""The one table of reserved names: branches and collections that are added to a network's variables.

A network with further parameters has them below `params`, beside its own modules, so no module at the top of a network
has one of these names. Freezing, moments, averages and checkpoints treat the branches as any other leaves.
"""

from __future__ import annotations

# -- below params -------------------------------------------------------------------------------

GRAFT = "graft"  # graft/NAME/..: whatever else a method trains, such as a second head of D
ADAPTER = "adapter"  # adapter/PATH/NAME: arrays of an adapted leaf; of a mixture of donors see below
FUSION = "fusion"  # a generator that is fused with donors by features
TEACHERS = "teachers"  # g1/..: variables of the teachers of a generator; lpips/..: a perceptual network
BRANCHES = (GRAFT, ADAPTER, FUSION, TEACHERS)

# -- below params/graft -------------------------------------------------------------------------

MINER = "miner"  # before G (MineGAN); kept in weights, whose manifest says so
OTHERS, LOGITS = "others", "logits"  # miners of the other donors, and which of them is chosen, while mining
PATCH = "patch"  # a head of D for patches (relaxed realism)
LATENTS = "latents"  # one for each training image (BSA)
GRAFTS = (MINER, OTHERS, LOGITS, PATCH, LATENTS)

# -- below params/adapter: of a mixture of donors, beside paths of leaves -----------------------

DONORS = "donors"  # stacked leaves; below params/fusion the donors' variables, g1/..
GATE = "gate"  # what the donors' mixing weights are made of
ALIGN = "align"  # maps of the donors' output channels
MIXTURE = (DONORS, GATE, ALIGN)

# -- below params/fusion, beside DONORS ---------------------------------------------------------

LAYERS = "ways"  # what is learned at each point

# -- collections, beside params -----------------------------------------------------------------

MINED = "mined"  # what a miner adds to StyleGAN2's constant, for each image: synthesis/b4/const [N, 4, 4, C]
SHARES, SELF_ATTENTION = "shares", "leaning"  # of donors by features, means over examples and positions
DISTANCES = "distances"  # of a student from its teachers
COLLECTIONS = (MINED, SHARES, SELF_ATTENTION, DISTANCES)
