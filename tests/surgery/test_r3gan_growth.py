"""R3GAN grows without being heard, by silent channels or by copies, and comes back; broken recipes are seen."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.surgery import Action
from gan_jax.surgery.families import layouts
from gan_jax.trees import Rule
from tests.surgery.pairs import SMALL_R3GAN, compare, grow, make_pair
from tests.surgery.test_growth import exact
from tests.surgery.test_layout import permute

EVALUATED = (False,)  # nothing here is another function in training
GROWTHS: dict[str, dict[str, Any]] = {
    "more or larger groups, deeper, more latents": {
        **{"widths": (9, 9, 6), "cardinality": (3, 3, 3), "blocks": (2, 1), "expansion": 4, "z_dim": 11}
    },
    "wider and narrower above, in colour": {
        **{"widths": (9, 6, 8, 7, 5), "blocks": (1, 1, 1, 0), "resolution": 64, "channels": 3}
    },
    "all as wide as the old image": {"resolution": 32},
}


@pytest.mark.parametrize(
    "growth",
    [pytest.param(name, marks=() if len(changes) > 1 else pytest.mark.slow) for name, changes in GROWTHS.items()],
)
def test_growth_preserves_both_networks_and_the_way_back_too(growth):
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        new, fresh = make_pair(1, SMALL_R3GAN, **GROWTHS[growth])
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, EVALUATED)
        strangers = compare(old, old_variables, new, fresh, False)
        assert min(strangers["g"].relative, strangers["d"].relative) > 0.05
        back = grow(new, grown, old, make_pair(2, SMALL_R3GAN)[1], unused="drop")
        exact(old, old_variables, old, back, EVALUATED)


BROKEN = {  # leaf -> a move that keeps something wrong
    "g/params/b8/res1/conv2/kernel": Action("init"),  # a block that is heard
    "g/params/b4/res0/conv2/kernel": Action(
        "fit", args={"view": [[1, 1, 3, 4, 6], [1, 1, 4, 4, 8]]}
    ),  # so are new groups
    "g/params/b32/transition/kernel": Action("init"),
    "d/params/b8/res0/conv0/kernel": Action("fit", args={"view": [[1, 1, 6, 3, 4], [1, 1, 8, 4, 4]]}),
    "d/params/b32/transition/kernel": Action("init"),
    "d/params/from_rgb/kernel": Action("init"),
}


@pytest.mark.slow
def test_each_recipe_counts():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        changes = {"widths": (8, 8, 6, 5), "cardinality": (4, 4, 3, 2), "resolution": 32, "blocks": (1, 2)}
        new, fresh = make_pair(1, SMALL_R3GAN, **changes)
        exact(old, old_variables, new, grow(old, old_variables, new, fresh), EVALUATED)
        for leaf, move in BROKEN.items():
            broken = grow(old, old_variables, new, fresh, {"first": [Rule(leaf, move)]}, unused="drop")
            assert compare(old, old_variables, new, broken, False, leaf[0])[leaf[0]].largest > 1e-3, leaf


@pytest.mark.slow  # copies are those of `test_growth`
def test_copies_preserve_both_networks():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN, num_classes=3)
        changes = {"widths": (9, 8, 6, 5), "cardinality": (3, 4, 3, 2), "resolution": 32, "z_dim": 10}
        new, fresh = make_pair(1, SMALL_R3GAN, num_classes=3, **changes)
        grown = grow(old, old_variables, new, fresh, {"width": "net2wider", "seed": 3})
        exact(old, old_variables, new, grown, EVALUATED)
        basis = np.asarray(grown["d"]["params"]["head"]["basis"])
        assert all(any(np.array_equal(basis[..., j], basis[..., i]) for i in range(6)) for j in (6, 7, 8)), "copies"


def test_the_most_important_channels_are_the_old_ones_wherever_they_lie():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_R3GAN)
        new, fresh = make_pair(1, SMALL_R3GAN, widths=(9, 9, 6), cardinality=(3, 3, 3))  # larger groups, more groups
        grown, layout = grow(old, old_variables, new, fresh), layouts(new.config)
        mixed = {name: permute(layout[name], grown[name], 7) for name in ("g", "d")}
        fresh = make_pair(2, SMALL_R3GAN)[1]
        exact(old, old_variables, old, grow(new, mixed, old, fresh, {"narrow": "strongest"}), EVALUATED)
        worse = compare(old, old_variables, old, grow(new, mixed, old, fresh), False)
        assert worse["g"].largest > 1e-3 and worse["d"].largest > 1e-3, "the leading channels are others now"
