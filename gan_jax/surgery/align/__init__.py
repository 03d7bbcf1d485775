"""Networks brought into one order of channels and one scale, so that their weights can be compared and averaged.

    a, b = canonical(layout, a), canonical(layout, b)  # layout = layouts(config)["g"]
    b = permute(layout, b, match_weights(layout, a, b).orders)
    middle = jax.tree.map(lambda x, y: (x + y) / 2, a, b)

After an average, batch statistics and singular vectors have to be estimated again (`tasks.sample.make_restatistics`,
`singular_vectors`).
"""

from gan_jax.surgery.align.apply import AlignError, inverse, permute, plan_permute, rescale
from gan_jax.surgery.align.matching import Match, match_activations, match_weights
from gan_jax.surgery.align.scales import canonical, canonical_factors, in_scales_of, singular_vectors

__all__ = [
    "AlignError",
    "Match",
    "canonical",
    "canonical_factors",
    "in_scales_of",
    "inverse",
    "match_activations",
    "match_weights",
    "permute",
    "plan_permute",
    "rescale",
    "singular_vectors",
]
