"""BSA: a latent for each image, scales and shifts, reconstruction without a game; each term by hand."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import BSAConfig, ConfigError, FinetuneConfig, StyleGAN2Config
from gan_jax.metrics import MetricError
from gan_jax.nets.build import build
from gan_jax.nets.features.perceptual import perceptual_layers
from gan_jax.tasks.image import draw_latents
from gan_jax.tasks.model import load
from gan_jax.train.feed import Feed
from gan_jax.transfer.dataset import counted
from gan_jax.transfer.methods import make_method
from tests.losses.test_nearest import by_hand
from tests.train.toy import build_toy
from tests.transfer import tiny_perceptual
from tests.transfer.methods import conformance as ask
from tests.transfer.methods.resumed import assert_resumes

CONFIG = ask.make_config(BSAConfig(images=24, noise=0.1))


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


@pytest.mark.usefixtures("toy")
def test_latents_scales_and_shifts_move_and_nothing_of_d():
    begun = ask.conform(CONFIG)
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: path.startswith(("g/params/norm0/", "g/params/graft/latents/")))


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_devices_do_the_same():
    ask.assert_same_on_devices(ask.conform(CONFIG))


@pytest.mark.usefixtures("toy")
def test_images_come_to_be_reconstructed(monkeypatch):
    blocks = np.random.default_rng(3).integers(96, 160, (6, 4, 4, 1), np.uint8).repeat(4, 1).repeat(4, 2)
    monkeypatch.setattr(ask, "images", lambda: (blocks, None))
    config = ask.make_config(BSAConfig(images=6, earth_mover=0.0, scale=0.0, noise=0.0))
    begun = ask.begin(config)
    first, last = begun.after(1)[1], begun.after(100)[1]
    assert set(first) == {"finite", "l1"} and last["l1"] < 0.7 * first["l1"]


def context(**fields):
    """What a regulariser or a transform reads of a context of four examples."""

    def keys(purpose, of=None):
        index = jnp.arange(4) if of is None else jnp.asarray(of)
        return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(int(purpose)), index)

    return SimpleNamespace(keys=keys, **fields)


@dataclasses.dataclass
class Part:
    """What a transform reads of a context."""

    g: dict
    batch: dict
    keys: Callable | None = None


def terms(config):
    return {term.name: term.value for term in make_method(config, build(CONFIG.net)).extension.regularisers}


@pytest.mark.usefixtures("toy")
def test_each_term_by_hand():
    draw, config = np.random.default_rng(0), BSAConfig(images=5, earth_mover=0.2, normals=3, scale=0.5)
    real, fake, z, scale, bias = (draw.normal(size=shape) for shape in ((4, 8, 8, 1), (4, 8, 8, 1), (5, 4), (4,), (4,)))
    with jax.enable_x64():
        params = {
            "norm0": {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)},
            "graft": {"latents": {"z": jnp.asarray(z)}},
        }
        start = {"norm0": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}
        real_x = jnp.asarray(real)
        at = lambda params, fake: context(real=real_x, fake=fake, g={"params": params}, constants={"scales": start})
        got = {}
        for name, value in terms(config).items():
            of = lambda params, fake, value=value: value(at(params, fake))[0]
            got[name] = jax.value_and_grad(of, argnums=(0, 1))(params, jnp.asarray(fake))
        normals = np.asarray(draw_latents(context().keys(17, np.arange(15)), 4), np.float64)
    assert set(got) == {"l1", "earth_mover", "moved"}
    assert_allclose(got["l1"][0], np.abs(real - fake).mean(), rtol=1e-12)
    assert_allclose(got["l1"][1][1], np.sign(fake - real) / fake.size, rtol=1e-12)
    want, slope, _ = by_hand(z, normals)
    assert_allclose(got["earth_mover"][0], 0.2 * want, rtol=1e-10)
    assert_allclose(got["earth_mover"][1][0]["graft"]["latents"]["z"], 0.2 * slope, rtol=1e-10)
    assert_allclose(got["moved"][0], 0.5 * (np.square(scale - 1).mean() + np.square(bias).mean()), rtol=1e-12)
    assert_allclose(got["moved"][1][0]["norm0"]["scale"], 0.5 * 2 * (scale - 1) / 4, rtol=1e-12)


@pytest.mark.usefixtures("toy")
def test_an_image_is_asked_of_its_own_latent_with_noise():
    begun = ask.conform(CONFIG)
    z, index = begun.state.nets["g"]["params"]["graft"]["latents"]["z"], jnp.asarray([3, 0, 3, 23])

    def batch(noise):
        extension = make_method(BSAConfig(images=24, noise=noise), build(CONFIG.net)).extension
        ctx = Part(g=begun.state.nets["g"], batch={"index": index}, keys=context().keys)
        return extension.transform(ctx).batch

    np.testing.assert_array_equal(batch(0.0)["z"], z[index])
    moved = batch(0.5)["z"] - z[index]
    assert 0.25 < moved.std() < 0.8 and (moved[0] != moved[2]).all()
    assert not batch(0.0)["mixing"].any()
    with pytest.raises(ConfigError, match="this feed does not say which; use data.pipeline device"):
        begun.method.extension.transform(Part(g=begun.state.nets["g"], batch={"image": None}))


@pytest.mark.usefixtures("toy")
def test_features_are_kept_and_have_gradients(tmp_path, monkeypatch):
    tiny_perceptual.install(monkeypatch, tmp_path)
    config = ask.make_config(BSAConfig(images=24, features="tiny", perceptual=0.3, earth_mover=0.0, scale=0.0))
    stages, params = tiny_perceptual.STAGES, ask.begin(config).state.constants["features"]
    assert np.abs(params["conv0"]["kernel"]).max() > 0
    real, fake = np.random.default_rng(0).uniform(-1, 1, (2, 4, 16, 16, 1)).astype(np.float32)
    value = lambda fake: dict(terms(config.transfer))["perceptual"](
        context(real=jnp.asarray(real), fake=fake, constants={"features": params})
    )[0]
    maps = [perceptual_layers(params, stages, jnp.asarray(x).repeat(3, -1)) for x in (real, fake)]
    want = 0.3 * sum(np.abs(np.float64(a) - np.float64(b)).mean() for a, b in zip(*maps, strict=True))
    got, slope = jax.value_and_grad(value)(jnp.asarray(fake))
    assert_allclose(got, want, rtol=1e-4)
    step = slope * (0.01 / jnp.abs(slope).max())  # uphill, where few kinks cancel
    assert_allclose(value(fake + step) - value(fake - step), 2 * (slope * step).sum(), rtol=0.05)


@pytest.mark.usefixtures("toy")
def test_what_cannot_be_is_said_before_training(tmp_path, monkeypatch):
    tiny_perceptual.install(monkeypatch, tmp_path, weights=False)
    with pytest.raises(MetricError, match="gan-jax weights get tiny"):
        ask.begin(ask.make_config(BSAConfig(images=24, features="tiny")))
    with pytest.raises(ConfigError, match="transfer.images is 23, but there are 24; leave it None"):
        ask.begin(ask.make_config(BSAConfig(images=23)))
    with pytest.raises(ConfigError, match="transfer.images is None"):
        ask.begin(ask.make_config(BSAConfig()))
    with pytest.raises(ConfigError, match="alexnet needs images of at least 31 px, not 16"):
        make_method(BSAConfig(features="alexnet"), build(CONFIG.net))
    stream = SimpleNamespace(feed=Feed(draw=lambda *_: {}), config=CONFIG)
    with pytest.raises(ConfigError, match="a stream does not say which; use data.pipeline device"):
        make_method(BSAConfig(images=24), build(CONFIG.net)).prepare(stream, {}, {})


def test_the_number_of_images_is_filled_in_where_it_was_left_open():
    assert counted(BSAConfig(), 7).images == 7 and counted(BSAConfig(images=3), 7).images == 3
    plain = FinetuneConfig()
    assert counted(plain, 7) is plain  # asks for nothing


@pytest.mark.slow
def test_a_run_resumes_to_the_bit_and_is_sampled_near_the_middle(tmp_path):
    whole = assert_resumes(BSAConfig(), tmp_path)
    assert whole.state.nets["g"]["params"]["graft"]["latents"]["z"].shape == (24, 4)
    assert load(tmp_path / "whole").sample(jax.random.key(0), 2, truncation=0.3).shape == (2, 16, 16, 1)


@pytest.mark.slow
def test_a_real_stylegan2_learns_latents_without_mixing_styles():
    net = StyleGAN2Config(16, 1, z_dim=4, w_dim=4, channel_max=4, mapping_layers=1)
    begun = ask.conform(ask.make_config(BSAConfig(images=24), net=net))
    ask.assert_identity(begun)
    moves = lambda path: (
        path.startswith(("g/params/adapter/", "g/params/graft/"))
        or (path.startswith("g/params/synthesis/") and path.endswith("/bias"))
    )
    ask.assert_only(begun, moves, times=2)
    ask.assert_baked(begun)
