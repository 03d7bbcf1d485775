"""The layouts of foreign checkpoints that are known, by the name that `gan-jax import --as` takes.

One file each: what its tensors are called (`*_links`, read in both directions), which configuration they have, and a
`LAYOUT` for this table.
"""

from gan_jax.interop.layouts import (
    biggan,
    dcgan,
    huggingface,
    mimicry,
    mlp,
    native,
    r3gan,
    rosinality,
    spade,
    stylegan2,
    translation,
)
from gan_jax.interop.layouts.layout import FileContext, ForeignLayout, ForeignPair, Part

LAYOUTS: dict[str, ForeignLayout] = {  # in the order in which a file of unknown layout is tried
    "stylegan2-ada": stylegan2.LAYOUT,
    "rosinality": rosinality.LAYOUT,
    "r3gan": r3gan.LAYOUT,
    "biggan": biggan.LAYOUT,
    "translation": translation.LAYOUT,
    "dcgan": dcgan.LAYOUT,
    "mimicry": mimicry.LAYOUT,
    "spade": spade.LAYOUT,
    "mlp": mlp.LAYOUT,
    "mlp-leaky": mlp.LEAKY_LAYOUT,
    "huggingface": huggingface.LAYOUT,
    "gan_jax": native.LAYOUT,
}

__all__ = ["LAYOUTS", "FileContext", "ForeignLayout", "ForeignPair", "Part"]
