"""What methods share that keep what samples have to do with each other: layers, paired features, anchors, patches."""

from gan_jax.transfer.correspondence.anchors import deal_anchors, keep_anchors
from gan_jax.transfer.correspondence.layers import d_layers, g_layers, g_maps
from gan_jax.transfer.correspondence.paired import paired_features, wants_source
from gan_jax.transfer.correspondence.patches import Patches, find_patches

__all__ = [
    "Patches",
    "d_layers",
    "deal_anchors",
    "find_patches",
    "g_layers",
    "g_maps",
    "keep_anchors",
    "paired_features",
    "wants_source",
]
