from __future__ import annotations

import numpy as np
import pytest

from gan_jax.surgery import Move, PlanError, pair_rules
from gan_jax.trees import Rule
from tests.surgery.pairs import BASE, SMALL_DCGAN, compare, grow, make_pair


@pytest.mark.parametrize("train", [False, True])
def test_growth_preserves_both_networks(train):
    old, old_variables = make_pair(0, SMALL_DCGAN)
    new, fresh = make_pair(1, SMALL_DCGAN, channel_max=9, channels=3, z_dim=11)
    grown = grow(old, old_variables, fresh)
    for name, difference in compare(old, old_variables, new, grown, train).items():
        assert difference.relative < 1e-5 and difference.scale > 0.1, (name, str(difference))
    loud = grow(old, old_variables, fresh, {"first": [Rule("d/params/b4/kernel", Move("fit"))]})
    assert compare(old, old_variables, new, loud, train)["d"].relative > 1e-3, "the same test sees a broken recipe"


def test_another_resolution_wants_both_permissions_and_keeps_what_it_can():
    old, old_variables = make_pair(0, SMALL_DCGAN)
    _, fresh = make_pair(1, SMALL_DCGAN, resolution=32)
    with pytest.raises(PlanError, match="'g/params/b16/kernel' .* which the source lacks"):
        grow(old, old_variables, fresh)
    grown = grow(old, old_variables, fresh, missing="init")
    np.testing.assert_array_equal(grown["g"]["params"]["b8"]["kernel"], old_variables["g"]["params"]["b8"]["kernel"])


def test_between_families_there_are_no_rules_yet():
    with pytest.raises(PlanError, match="no rules from DCGANConfig to ResNetConfig; .*write your own"):
        pair_rules(BASE, SMALL_DCGAN, {}, {})
