"""Reserved names are those of no module of any family, and of no other use."""

from __future__ import annotations

import pytest

from gan_jax import reserved
from gan_jax.config.nets import NETS
from tests.nets.families import CASES, FAMILIES, TEXTS, pair_of, text_pair


def test_names_are_disjoint():
    for names in (
        reserved.BRANCHES,
        reserved.GRAFTS,
        reserved.MIXTURE,
        (reserved.DONORS, reserved.LAYERS),
        reserved.COLLECTIONS,
    ):
        assert len(set(names)) == len(names), names
    assert not {*reserved.BRANCHES} & {*reserved.GRAFTS, *reserved.MIXTURE}


def test_every_name_is_in_a_group():
    names = {value for name, value in vars(reserved).items() if name.isupper() and isinstance(value, str)}
    groups = (reserved.BRANCHES, reserved.GRAFTS, reserved.MIXTURE, (reserved.LAYERS,), reserved.COLLECTIONS)
    assert names == set().union(*groups)


def test_every_family_is_looked_at():
    assert {type(config) for config in [*(row.config for row in FAMILIES.values()), *TEXTS.values()]} == {
        *NETS.values()
    }


@pytest.mark.parametrize("name,resolution", [*CASES, *((name, 0) for name in TEXTS)])
def test_no_network_has_a_reserved_name(name, resolution):
    for network, net in (text_pair(name) if name in TEXTS else pair_of(name, resolution)).nets.items():
        specs = net.specs()
        taken = {*specs["params"]} & {*reserved.BRANCHES, *reserved.MIXTURE}
        assert not taken, (
            f"{name}'s {network} has a module {min(taken)}, a name of gan_jax/reserved.py; give it another"
        )
        assert not {*specs} & {*reserved.COLLECTIONS}, network
