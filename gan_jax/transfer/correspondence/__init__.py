"""Parts of methods that preserve relations between samples: layers, paired features, anchors, patches."""

from gan_jax.transfer.correspondence.anchors import anchor_constants, anchor_latents
from gan_jax.transfer.correspondence.layers import d_layers, g_layers, g_maps
from gan_jax.transfer.correspondence.paired import check_source, paired_features
from gan_jax.transfer.correspondence.patches import Patches, find_patches

__all__ = [
    "Patches",
    "anchor_constants",
    "anchor_latents",
    "check_source",
    "d_layers",
    "find_patches",
    "g_layers",
    "g_maps",
    "paired_features",
]
