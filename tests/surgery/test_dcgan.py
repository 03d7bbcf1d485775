from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.surgery import Action, PlanError, resize_images
from gan_jax.surgery.families.dcgan import new_norms
from gan_jax.surgery.measure import calibrate
from gan_jax.trees import Rule
from tests.surgery.pairs import SMALL_DCGAN, compare, compiled, grow, latents, make_pair


@pytest.mark.parametrize("train", [pytest.param(False, marks=pytest.mark.slow), True])
def test_growth_preserves_both_networks(train):
    old, old_variables = make_pair(0, SMALL_DCGAN)
    new, fresh = make_pair(1, SMALL_DCGAN, channel_max=9, channels=3, z_dim=11)
    grown = grow(old, old_variables, new, fresh)
    for name, difference in compare(old, old_variables, new, grown, train).items():
        assert difference.relative < 1e-5 and difference.scale > 0.1, (name, str(difference))
    loud = grow(old, old_variables, new, fresh, {"first": [Rule("d/params/b4/kernel", Action("fit"))]})
    assert compare(old, old_variables, new, loud, train)["d"].relative > 1e-3, "the same test sees a broken recipe"


@pytest.mark.parametrize("changes", [{}, {"channels": 3, "channel_max": 9}, {"width": "net2wider", "channel_max": 9}])
def test_two_more_resolutions_are_exact_in_evaluation_and_so_is_the_way_back(changes):
    with jax.enable_x64(True):
        changes, options = dict(changes), {"width": changes.get("width", "silent")}
        changes.pop("width", None)
        old, old_variables = make_pair(0, SMALL_DCGAN)
        new, fresh = make_pair(1, SMALL_DCGAN, resolution=64, **changes)
        grown = grow(old, old_variables, new, fresh, options)
        for name, difference in compare(old, old_variables, new, grown, train=False).items():
            assert difference.scale > 0.1 and difference.largest <= 1e-10, (name, str(difference))
        if not changes:
            back = grow(new, grown, old, make_pair(2, SMALL_DCGAN)[1], unused="drop")
            for name, difference in compare(old, old_variables, old, back, train=False).items():
                assert difference.largest <= 1e-10, (name, str(difference))


@pytest.mark.slow
def test_in_training_mode_new_norms_want_calibration():
    """Before it the batch standardises what carries the image; after it almost nothing is left of that."""
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, SMALL_DCGAN)
        new, fresh = make_pair(1, SMALL_DCGAN, resolution=32)
        grown = grow(old, old_variables, new, fresh)
        before = compare(old, old_variables, new, grown, train=True)
        norms = new_norms(new.config, old.config)
        assert norms == {"g": ("norm16",), "d": ("norm8",)}
        z = latents(new, 64, 3)
        images = compiled(new.config, "g", False)(grown["g"], latents(new, 64, 4))[0]
        calibrated = {
            "g": calibrate(new.g.statistics, grown["g"], z, norms["g"]),
            "d": calibrate(new.d.statistics, grown["d"], images, norms["d"]),
        }
        after = compare(old, old_variables, new, calibrated, train=False)
        for name in ("g", "d"):
            assert before[name].relative > 0.1, (name, str(before[name]))
            assert after[name].largest <= 1e-10, (name, str(after[name]))
        same, made = (
            compiled(pair.config, "g", True)(v["g"], z)[0] for pair, v in ((new, calibrated), (old, old_variables))
        )
        np.testing.assert_allclose(same, resize_images(made, 32, 1), atol=1e-10)
        training = compare(old, old_variables, new, calibrated, train=True)
        assert training["g"].relative < 0.5 * before["g"].relative, (str(before["g"]), str(training["g"]))
        with pytest.raises(PlanError, match="no norm 'norm64'.*did you mean"):
            calibrate(new.g.statistics, grown["g"], z, ["norm64"])


def test_where_the_image_does_not_fit_through_a_new_layer_nothing_is_claimed():
    old, old_variables = make_pair(0, SMALL_DCGAN, channel_base=24)
    new, fresh = make_pair(1, SMALL_DCGAN, channel_base=24, resolution=32)
    with pytest.raises(PlanError, match="'g/params/b16/kernel' .* which the source lacks"):
        grow(old, old_variables, new, fresh)
    grown = grow(old, old_variables, new, fresh, missing="init")
    np.testing.assert_array_equal(grown["g"]["params"]["b8"]["kernel"], old_variables["g"]["params"]["b8"]["kernel"])
