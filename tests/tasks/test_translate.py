"""Translation of images of any size, whole and in tiles; models that translate."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import gan_jax
from gan_jax.config import DCGANConfig, TranslatorConfig, UNetConfig
from gan_jax.data.convert import to_float, to_uint8
from gan_jax.interop import WeightsError
from gan_jax.nets import build
from gan_jax.tasks.model import Model, save
from gan_jax.tasks.translate import Geometry, InexactTiles, geometry, make_translator, tiles
from gan_jax.trees import map_with_path
from tests.nets.families import drawn

SMALL: Any = {"width": 2, "d_width": 2, "d_layers": 1}
RESNET = TranslatorConfig(blocks=1, resolution=16, affine=True, **SMALL)
UNET = UNetConfig(depth=2, resolution=16, **SMALL)


def pictures(n: int, h: int, w: int, c: int = 3) -> np.ndarray:
    """Pictures whose parts differ, so that statistics of a part are not those of the whole."""
    y, x = np.mgrid[:h, :w]
    waves = 128 + 60 * np.sin(x / 17)[..., None] * np.linspace(1, -1, c) + 60 * (y / h)[..., None]
    noisy = waves[None] + np.random.default_rng(0).normal(0, 20, (n, h, w, c))
    noisy[:, : h // 2, : w // 3] *= 0.3
    return noisy.clip(0, 255).astype(np.uint8)


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int))


@pytest.fixture(scope="module")
def resnet():
    pair = build(RESNET)
    return pair, drawn(pair.g)


@pytest.fixture(scope="module")
def unet():
    pair = build(UNET)
    return pair, drawn(pair.g)


def test_sizes_are_padded_by_reflection_and_cut_back(resnet):
    pair, g_vars = resnet
    images = pictures(3, 13, 18)
    padded = np.pad(images, ((0, 0), (0, 3), (0, 2), (0, 0)), mode="reflect")
    whole = np.asarray(to_uint8(jax.jit(lambda x: pair.g.apply(g_vars, x)[0])(to_float(padded))))
    out = make_translator(pair, batch=3)(g_vars, images)
    assert out.shape == (3, 13, 18, 3) and out.dtype == np.uint8 and whole.std() > 20
    assert_array_equal(out, whole[:, :13, :18])


def test_batch_norm_has_the_statistics_of_each_image(unet):
    pair, g_vars = unet
    images = pictures(3, 16, 16)
    images[1] = images[1] // 4
    out = make_translator(pair, batch=2)(g_vars, images)
    # the published program translates one image at a time in training mode, here without its dropout
    single = jax.jit(lambda x: pair.g.apply(g_vars, x, train=True)[0])
    for i in range(3):
        assert apart(out[i], np.asarray(to_uint8(single(to_float(images[i : i + 1]))))[0]).max() <= 1
    running = make_translator(pair, statistics="running", batch=3)(g_vars, images)
    assert_array_equal(running, to_uint8(jax.jit(lambda x: pair.g.apply(g_vars, x)[0])(to_float(images))))
    assert apart(running, out).mean() > 5


def test_a_seed_turns_dropout_on():
    config = UNetConfig(depth=6, resolution=64, **SMALL)
    pair = build(config)
    g_vars = drawn(pair.g)
    translate = make_translator(pair, batch=2)
    images = np.repeat(pictures(1, 64, 64), 2, 0)
    plain, noisy = translate(g_vars, images), translate(g_vars, images, seed=3)
    assert_array_equal(plain[0], plain[1])
    assert apart(noisy[0], noisy[1]).max() > 0, "each image has draws of its own"
    assert_array_equal(translate(g_vars, images, seed=3), noisy)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_tiles_have_no_seams_where_norms_have_statistics_of_the_whole_image(norm):
    pair = build(TranslatorConfig(blocks=1, resolution=16, norm=norm, **SMALL))
    g_vars = drawn(pair.g)
    image = pictures(1, 101, 130)
    whole = make_translator(pair)(g_vars, image)
    tiled = make_translator(pair, tile=68, batch=4)(g_vars, image)
    assert tiled.shape == whole.shape and whole.std() > 20
    assert apart(tiled, whole).max() <= 1  # of rounding
    assert apart(tiled, whole).mean() < 0.01
    # that tiles by themselves differ, so that the test could fail
    alone = make_translator(pair)(g_vars, image[:, :68, :68])
    assert apart(alone[:, :20, :20], whole[:, :20, :20]).max() > 10


def test_tiles_of_a_network_that_sees_little_are_exact():
    pair = build(UNetConfig(depth=2, resolution=16, norm="none", dropout=False, **SMALL))
    g_vars = drawn(pair.g)
    image = pictures(1, 77, 130)
    whole = make_translator(pair)(g_vars, image)
    assert apart(make_translator(pair, tile=52, batch=3)(g_vars, image), whole).max() <= 1


def test_tiles_that_cannot_be_exact_are_blended_and_said():
    pair = build(UNetConfig(depth=3, resolution=16, norm="none", dropout=False, **SMALL))
    g_vars = drawn(pair.g)
    image = pictures(1, 64, 80)
    whole = make_translator(pair)(g_vars, image)
    with pytest.warns(InexactTiles, match="overlap by 16 px, but .* depend on 15 px"):
        tiled = make_translator(pair, tile=32, batch=4)(g_vars, image)
    assert apart(tiled, whole).mean() < 2


@pytest.mark.parametrize("config", [RESNET, TranslatorConfig(blocks=2, antialias=True, **SMALL), UNET])
def test_an_output_pixel_depends_on_no_input_beyond_the_reach(config):
    config = dataclasses.replace(config, norm="none", affine=False)
    pair, sizes = build(config), geometry(config)
    assert sizes.reach is not None
    # nothing cancels, no ReLU is closed, and tanh is linear
    g_vars = map_with_path(lambda path, x: np.abs(x) * (not path.endswith("bias")), drawn(pair.g))
    side = 2 * sizes.multiple * (2 + sizes.reach // sizes.multiple)
    x = jnp.full((1, side, side, 3), 1e-12)
    middle = slice(side // 2, side // 2 + sizes.multiple)
    grid = np.asarray(jax.jit(jax.grad(lambda x: pair.g.apply(g_vars, x)[0][0, middle, middle].sum()))(x))
    rows = np.flatnonzero(np.abs(grid[0]).sum((1, 2)))
    furthest = max(middle.start - rows.min(), rows.max() - (middle.stop - 1))
    assert sizes.reach - 2 * sizes.multiple < furthest <= sizes.reach


def test_weights_of_tiles_add_up_to_one():
    for reach, tile in ((5, 40), (None, 40), (100, 40)):
        grid = tiles((96, 72), tile, Geometry(4, 4, reach))
        total = np.zeros((96, 72))
        for top, left in grid.places:
            assert top % 4 == 0 and left % 4 == 0
            total[top : top + 40, left : left + 40] += grid.weight((top, left))
        assert_allclose(total, 1, rtol=1e-6)
        assert grid.exact == (reach == 5)


def test_options_without_meaning_are_refused(resnet, unet):
    pair, g_vars = resnet
    translate = make_translator(pair)
    with pytest.raises(ValueError, match=r"images are uint8\[1, 16, 16, 1\]; this network takes uint8 \[N, H, W, 3\]"):
        translate(g_vars, pictures(1, 16, 16, 1))
    with pytest.raises(ValueError, match="float64"):
        translate(g_vars, pictures(1, 16, 16) / 255.0)
    with pytest.raises(ValueError, match="no images"):
        translate(g_vars, pictures(1, 16, 16)[:0])
    with pytest.raises(ValueError, match="a seed is for dropout"):
        translate(g_vars, pictures(1, 16, 16), seed=0)
    with pytest.raises(ValueError, match="dropout needs statistics of each image"):
        make_translator(unet[0], statistics="running")(unet[1], pictures(1, 16, 16), seed=0)
    with pytest.raises(ValueError, match="use at least 16 px"):
        make_translator(pair, tile=12)
    with pytest.raises(ValueError, match="batch is 0"):
        make_translator(pair, batch=0)
    with pytest.raises(ValueError, match="dcgan makes images from latents"):
        make_translator(build(DCGANConfig(resolution=16, channel_base=16, channel_max=4)))


# ----------------------------------------------------------------------------------------------------------------------
# Models.


def test_a_model_translates_what_was_saved(tmp_path, resnet):
    pair, g_vars = resnet
    save(tmp_path / "w", RESNET, {"g_ema": g_vars}, {})
    model = gan_jax.load(tmp_path / "w")
    images = pictures(2, 16, 16)
    assert_array_equal(model.translate(images), make_translator(pair)(g_vars, images))
    assert repr(model).startswith("Model('translator 16 px, 3 to 3 channels, ")
    with pytest.raises(WeightsError, match=r"makes images from images, .*translate\(images\)"):
        model.sample(0, 4)
    with pytest.raises(WeightsError, match="one generator, and no direction 'ba'"):
        model.translate(images, direction="ba")


def test_two_generators_are_chosen_by_direction():
    config = TranslatorConfig(blocks=1, resolution=16, in_channels=1, **SMALL)
    back = TranslatorConfig(blocks=1, resolution=16, in_channels=3, channels=1, **SMALL)
    there, here = drawn(build(config).g), drawn(build(back).g)
    model = Model(config, {"g_ab_ema": there, "g_ba_ema": here, "g_ab": here}, {})
    grey, colour = pictures(1, 16, 16, 1), pictures(1, 16, 16, 3)
    assert model.directions == ("ab", "ba")
    assert_array_equal(model.translate(grey), make_translator(build(config))(there, grey))
    assert_array_equal(model.translate(colour, direction="ba"), make_translator(build(back))(here, colour))
    assert "1 to 3 channels" in repr(model) and repr(model).endswith("g_ab_ema+g_ba_ema+g_ab')")
    with pytest.raises(WeightsError, match="no generator of direction 'aa'; use ab or ba"):
        model.translate(grey, direction="aa")
    with pytest.raises(WeightsError, match="two generators"):
        _ = model.generator


def test_a_generator_from_latents_translates_nothing():
    config = DCGANConfig(resolution=16, channel_base=16, channel_max=4)
    model = Model(config, {"g_ema": {}}, {}, "runs/x")
    with pytest.raises(WeightsError, match=r"runs/x makes images from latents and translates none; .*sample\(key, n\)"):
        model.translate(pictures(1, 16, 16))
