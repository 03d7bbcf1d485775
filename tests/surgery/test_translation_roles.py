"""Networks from images to images and other families fill each other layer by layer, some of it exactly."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import DCGANConfig, TranslatorConfig, UNetConfig
from gan_jax.nets.conv import conv, conv_down, conv_up, strided
from gan_jax.nets.resample import conv_up3_plain
from gan_jax.surgery import make_plan, pair_notes, pair_rules, transplant
from gan_jax.surgery.families.cross import across, by_stride, roles_of
from gan_jax.surgery.ops import run_steps
from gan_jax.trees import flatten, specs, unflatten
from tests.surgery.pairs import BASE, SMALL_STYLEGAN2, compiled, make_pair, pair_of, shapes

UNET = UNetConfig(32, 1, 1, width=4, depth=5, d_width=4, d_layers=2)
RESNET = TranslatorConfig(32, 1, 1, width=4, blocks=1, norm="batch", d_width=4, d_layers=2)
DCGAN = DCGANConfig(resolution=32, channels=1, z_dim=8, channel_base=64, channel_max=16)  # channels 16, 8, 4 as UNET's
draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape)


def plan_of(new, old, source=None):
    target, source = shapes(new), source or shapes(old)
    rules = pair_rules(new, old, target, source)
    return make_plan(target, source, rules, missing="init", unused="drop", shape="adapt", notes=pair_notes(new, old))


def moved(new, old):
    """Target -> (first source, operation), of the leaves that are not fresh."""
    entries = [entry for entry in plan_of(new, old).entries if entry.op != "init"]
    return {entry.target: (entry.sources[0] if entry.sources else "", entry.op) for entry in entries}


def with_leaves(variables, changes):
    leaves = flatten(variables)
    assert changes.keys() <= leaves.keys()
    return unflatten(leaves | changes)


def test_a_unet_makes_of_its_lowest_maps_what_dcgan_makes_of_them():
    """With maps of 4 px that are the same in both, both images are the same, whatever goes in: skips start at zero."""
    with jax.enable_x64(True):
        old, source = make_pair(0, DCGAN)
        source = with_leaves(source, {"g/params/norm4/scale": np.zeros(16)})  # these maps are the norm's bias
        new, fresh = make_pair(1, UNET)
        fresh = with_leaves(fresh, {"g/params/to_rgb/conv/bias": np.zeros(1)})
        filled, _ = transplant(plan_of(new.config, old.config), source, fresh)
        images = compiled(old.config, "g", False)(source["g"], jnp.asarray(draw(2, 8)))[0]
        translated = compiled(new.config, "g", False)(filled["g"], jnp.asarray(draw(2, 32, 32, 1)))[0]
        assert np.std(images[0]) > 0.01, "padding makes a picture of flat maps"
        np.testing.assert_allclose(translated, images, rtol=1e-10)


def test_a_patch_discriminator_sees_what_dcgan_sees_and_no_condition():
    with jax.enable_x64(True):
        old, source = make_pair(0, DCGAN)
        new, fresh = make_pair(1, UNET)
        fresh = with_leaves(fresh, {"d/params/from_rgb/conv/bias": np.zeros(4)})
        filled, _ = transplant(plan_of(new.config, old.config), source, fresh)
        images = jnp.asarray(draw(2, 32, 32, 1))
        seen = lambda x: new.d.activations(filled["d"], jnp.concatenate([x, images], -1))
        before, after = old.d.activations(source["d"], images), seen(jnp.asarray(draw(1, 2, 32, 32, 1)[0]))
        np.testing.assert_allclose(after["layer1/norm"], before["norm8"], rtol=1e-10)
        np.testing.assert_allclose(after["layer2/norm"][:, ::2, ::2], before["norm4"], rtol=1e-10)
        logits = lambda x: compiled(new.config, "d", False)(filled["d"], jnp.concatenate([x, images], -1))[0]
        np.testing.assert_array_equal(logits(images), logits(0 * images))
        maps, head = draw(2, 4, 4, 16), filled["d"]["params"]["head"]["kernel"]
        at_once = conv(jnp.asarray(maps), jnp.asarray(head), ((0, 0), (0, 0)))[:, 0, 0]
        np.testing.assert_allclose(at_once, maps.reshape(2, -1) @ source["d"]["params"]["head"]["kernel"], rtol=1e-10)


def kernel(role, size, config=RESNET, shape=None):
    """A drawn kernel of a translator in a role in its plain form, and what a plain one of `size` becomes there."""
    part = roles_of(config)["g"][role]
    stored, plain = draw(3, 3, 2, 3), draw(size, size, 2, 3)
    [(_, fill)] = part.fills.items()
    steps = across([plain.shape], (3, 3, 2, 3), fill.about)[1]
    return (
        stored,
        run_steps(part.gives, [stored], None) if part.gives else stored,
        plain,
        run_steps(steps, [plain], None),
    )


def test_kernels_of_three_pixels_and_strides_are_those_of_four():
    with jax.enable_x64(True):
        x = jnp.asarray(draw(1, 8, 8, 2))
        stored, even, plain, back = kernel("double1", 4)
        np.testing.assert_allclose(conv_up(x, jnp.asarray(even)), conv_up3_plain(x, jnp.asarray(stored)), atol=1e-12)
        flat = jnp.ones((1, 8, 8, 2))
        inside = lambda y: y[:, 2:-2, 2:-2]
        made, wanted = (inside(f(flat, jnp.asarray(k))) for f, k in ((conv_up3_plain, back), (conv_up, plain)))
        np.testing.assert_allclose(made, wanted, atol=1e-12, err_msg="flat maps are made as they were")
        stored, even, plain, back = kernel("halve1", 4)
        np.testing.assert_allclose(conv_down(x, jnp.asarray(even)), strided(x, jnp.asarray(stored), 1), atol=1e-12)
        np.testing.assert_allclose(back.sum((0, 1)), plain.sum((0, 1)), atol=1e-12)
        assert back.shape == stored.shape
        np.testing.assert_array_equal(back[:2, :2], plain[:2, :2])
    smooth = kernel("halve1", 3, dataclasses.replace(RESNET, antialias=True))
    np.testing.assert_array_equal(smooth[0], smooth[1])
    np.testing.assert_array_equal(smooth[2], smooth[3], "a 3x3 kernel beside a filter stays one")


def test_which_leaves_a_unet_takes_from_a_resnet_and_how():
    unet = dataclasses.replace(UNET, resolution=16, depth=4)
    assert moved(unet, BASE) == {
        "g/params/up2/conv/kernel": ("g/params/b8/conv0/kernel", "fuse_up+slice+widen"),
        "g/params/up2/skip/kernel": ("", "zero"),
        "g/params/to_rgb/conv/kernel": ("g/params/to_rgb/kernel", "fuse_up+slice"),
        "g/params/to_rgb/skip/kernel": ("", "zero"),
        **{
            f"g/{kind}/up{i}/norm/{leaf}": (f"g/{kind}/b{r}/norm0/{leaf}", op)
            for i, r, op in ((2, 16, "slice"), (3, 8, "widen"))
            for kind, leaf in (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))
        },
        "d/params/from_rgb/conv/kernel": ("d/params/from_rgb/kernel", "unit+fuse_down+slice"),
        "d/params/from_rgb/input/kernel": ("", "zero"),
        "d/params/layer1/conv/kernel": ("d/params/b8/conv1/kernel", "unit+fuse_down+slice+widen"),
        "d/params/head/kernel": ("d/params/head/kernel", "unit+tile+reshape+reshape+widen"),
    }
    assert plan_of(unet, BASE).notes == (
        "ResNet -> UNet: leaves are moved by their role and the function is not preserved; the shares say how much",
    )


def test_which_leaves_a_translator_takes_from_stylegan2_and_how():
    translator = dataclasses.replace(RESNET, resolution=16, norm="instance", d_condition=True)
    styled = "g/params/synthesis"
    assert moved(translator, SMALL_STYLEGAN2) == {
        "g/params/up2/conv/kernel": (f"{styled}/b8/conv0/kernel", "modulated+flip+fuse_up+mix+mix+widen"),
        "g/params/up1/conv/kernel": (f"{styled}/b16/conv0/kernel", "modulated+flip+fuse_up+mix+mix+slice+widen"),
        "g/params/to_rgb/kernel": (f"{styled}/b16/to_rgb/kernel", "modulated+pad+slice"),
        "d/params/from_rgb/conv/kernel": ("d/params/b16/from_rgb/kernel", "scale+fuse_down+slice"),
        "d/params/from_rgb/input/kernel": ("", "zero"),
        "d/params/layer1/conv/kernel": ("d/params/b8/conv1/kernel", "scale+fuse_down+slice+widen"),
        "d/params/head/kernel": ("d/params/b4/fc/kernel", "nested+reshape+widen"),
    }


TO_TRANSLATOR = {  # leaf of the ResNet translator's G -> of the U-Net's, and the operation
    "stem/conv/kernel": ("down1/conv/kernel", "fuse_down+pad"),
    "down1/conv/kernel": ("down2/conv/kernel", "mix+mix"),
    "down2/conv/kernel": ("down3/conv/kernel", "mix+mix"),
    "up2/conv/kernel": ("up3/conv/kernel", "mix+mix"),
    "up1/conv/kernel": ("up2/conv/kernel", "mix+mix"),
    "to_rgb/kernel": ("to_rgb/conv/kernel", "fuse_up+pad"),
    "to_rgb/bias": ("to_rgb/conv/bias", "copy"),
}


def test_encoders_and_decoders_of_two_translators_are_counted_from_the_image():
    there = {path: value for path, value in moved(RESNET, UNET).items() if path.startswith("g/params/")}
    kernels = {f"g/params/{new}": (f"g/params/{old}", op) for new, (old, op) in TO_TRANSLATOR.items()}
    assert {path: value for path, value in there.items() if "/norm/" not in path} == kernels
    assert there["g/params/down1/norm/scale"] == ("g/params/down2/norm/scale", "copy")
    assert there["g/params/up1/norm/scale"] == ("g/params/up2/norm/scale", "copy")
    back = moved(UNET, RESNET)
    layers = {path: old for path, (old, op) in back.items() if path.startswith("g/params/") and op != "zero"}
    wanted = {f"g/params/{unet}": f"g/params/{resnet}" for resnet, (unet, _) in TO_TRANSLATOR.items()}
    assert {path: old for path, old in layers.items() if "/norm/" not in path} == wanted
    assert [path for path, (_, op) in back.items() if op == "zero"] == [
        "d/params/from_rgb/input/kernel",
        *(f"g/params/{name}/skip/kernel" for name in ("to_rgb", "up2", "up3")),
    ]


def test_discriminators_of_one_kind_are_taken_whole():
    conditional = dataclasses.replace(RESNET, d_condition=True)
    plan = plan_of(conditional, UNET)
    assert all(
        entry.sources == (entry.target,) and entry.op == "copy" for entry in plan.entries if entry.target[0] == "d"
    )
    pixel = moved(dataclasses.replace(RESNET, d_kind="pixel", d_condition=True), UNET)
    assert {path: op for path, (_, op) in pixel.items() if path[0] == "d"} == {
        f"d/params/from_rgb/{name}/kernel": "fuse_down" for name in ("conv", "input")
    }
    more = moved(dataclasses.replace(conditional, d_layers=3), UNET)
    assert more["d/params/layer2/conv/kernel"] == ("d/params/layer2/conv/kernel", "copy"), "by size"
    assert "d/params/layer3/conv/kernel" not in more


def test_layers_are_counted_from_the_image_whatever_its_size():
    large = moved(dataclasses.replace(UNET, resolution=64), DCGAN)
    assert large["g/params/up2/conv/kernel"][0] == "g/params/b16/kernel", "of half the image's size in both"
    assert large["g/params/to_rgb/conv/kernel"] == ("g/params/to_rgb/kernel", "copy")
    assert set(by_stride(roles_of(DCGAN)["g"], 32)) >= {"stem", "to_rgb", "up2", "up4", "norm2/scale", "norm8/var"}
    back = moved(DCGAN, dataclasses.replace(UNET, resolution=64))
    assert back["g/params/b16/kernel"] == ("g/params/up2/conv/kernel", "copy")


@pytest.mark.parametrize(("new", "old"), [(UNET, RESNET), (RESNET, DCGAN), (DCGAN, UNET)])
def test_each_transplanted_pair_runs(new, old):
    _, source = make_pair(0, old)
    pair, fresh = make_pair(1, new)
    filled, report = transplant(plan := plan_of(new, old), source, fresh)
    assert report.follows(plan)
    x = draw(2, 32, 32, 1) if new.translates else draw(2, 8)
    images = compiled(pair.config, "g", False)(filled["g"], jnp.asarray(x, np.float32))[0]
    assert images.shape == (2, 32, 32, 1) and np.isfinite(images).all() and np.std(images) > 1e-3


def test_two_translators_are_filled_from_one_generator():
    roots = {"g_ab": "g", "g_ba": "g", "d_a": "d", "d_b": "d"}
    pair = pair_of(RESNET)
    target = {root: specs(getattr(pair, net).specs()) for root, net in roots.items()}
    rules = pair_rules(RESNET, DCGAN, target, shapes(DCGAN), roots=roots)
    plan = make_plan(target, shapes(DCGAN), rules, missing="init", unused="drop", shape="adapt")
    taken = {entry.target: entry.sources for entry in plan.entries if entry.sources}
    for root in ("g_ab", "g_ba"):
        assert taken[f"{root}/params/up2/conv/kernel"] == ("g/params/b16/kernel",)
    for root in ("d_a", "d_b"):
        assert taken[f"{root}/params/layer1/conv/kernel"] == ("d/params/b8/kernel",)


def test_a_resnet_takes_the_decoder_of_a_unet_with_its_singular_vectors():
    resnet = dataclasses.replace(BASE, resolution=32)
    back = moved(resnet, UNET)
    assert back["g/params/b16/conv0/kernel"] == ("g/params/up2/conv/kernel", "fuse_up+slice+widen")
    assert back["d/spectral/b16/conv1/u"] == ("d/params/layer1/conv/kernel", "fuse_down+slice+top_vector")
