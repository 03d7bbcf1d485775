"""rosinality's layout: the same network computed with NumPy as that program computes it, and every name both ways."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from gan_jax.cli.main import main
from gan_jax.config import StyleGAN2Config
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts import rosinality
from gan_jax.interop.layouts.rosinality import IGNORED, discriminator_links, generator_links
from gan_jax.interop.links import export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, there_and_back, under

CONFIG = StyleGAN2Config(resolution=16, z_dim=5, w_dim=5, mapping_layers=2, channel_base=64, channel_max=8)


def theirs(config=CONFIG, seed=0):
    """A whole file's tensors, drawn."""
    rng, pair, tensors = np.random.default_rng(seed), build(config), rosinality.LAYOUT.constants(config)
    for root, net in (("g_ema", pair.g), ("d", pair.d)):
        leaves = {p: rng.standard_normal(s.shape).astype("f4") for p, s in flatten(net.specs()).items()}
        prefix, links = rosinality.names(config)[root]
        tensors |= {prefix + name: array for name, array in export_tensors(leaves, links).items()}
    return tensors


@pytest.fixture
def read(tmp_path):
    def inner(tensors, **options):
        np.savez(tmp_path / "x.npz", **tensors)
        return import_file(tmp_path / "x.npz", **options)

    return inner


def correlate(x, w, stride=1):
    """`x [N, I, H, W]`, `w [O, I, k, k]`; no padding."""
    windows = sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nihwab,oiab->nohw", windows, w)


def padded(x, before, after):
    return np.pad(x, [(0, 0), (0, 0), (before, after), (before, after)])


def filtered(x, kernel, before, after, stride=1):
    n, c, h, w = x.shape
    y = correlate(padded(x.reshape(n * c, 1, h, w), before, after), kernel[::-1, ::-1][None, None], stride)
    return y.reshape(n, c, *y.shape[2:])


def zeros_between(x):
    y = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
    y[:, :, ::2, ::2] = x
    return y


def active(x, bias):
    x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    return np.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def linear(state, name, x, lr_mul=1.0):
    w = state[f"{name}.weight"]
    return x @ w.T * (lr_mul / math.sqrt(w.shape[1])), state[f"{name}.bias"] * lr_mul


def modulated(state, name, x, style, up=False, demodulate=True):
    """A kernel for each example: scaled by its style, normed, and, `up`, a transposed convolution of stride 2."""
    w = state[f"{name}.weight"]
    out = []
    for one, s in zip(x, np.add(*linear(state, f"{name}.modulation", style))):
        kernel = w[0] * s[None, :, None, None] / math.sqrt(w[0, 0].size)
        if demodulate:
            kernel = kernel / np.sqrt((kernel**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        if up:  # what a transposed convolution is: zeros between, the flipped kernel, all places that it reaches
            y = correlate(padded(zeros_between(one[None]), 2, 1), kernel[:, :, ::-1, ::-1])
            y = filtered(y, state[f"{name}.blur.kernel"], 1, 1)
        else:
            y = correlate(padded(one[None], *[w.shape[-1] // 2] * 2), kernel)
        out.append(y)
    return np.concatenate(out)


def mapped(state, z):
    w = z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-8)
    for i in (1, 2):
        w = active(*linear(state, f"style.{i}", w, 0.01))
    return w


def generate(state, z):
    w = mapped(state, z)
    styled = lambda name, x, k, up=False: active(
        modulated(state, f"{name}.conv", x, w, up)
        + state[f"{name}.noise.weight"] * state[f"noises.noise_{k}"],
        state[f"{name}.activate.bias"],
    )  # fmt: skip
    rgb = lambda name, x: modulated(state, f"{name}.conv", x, w, demodulate=False) + state[f"{name}.bias"]
    x = styled("conv1", np.repeat(state["input.input"], len(z), 0), 0)
    image = rgb("to_rgb1", x)
    for i in range(2):
        x = styled(f"convs.{2 * i}", x, 2 * i + 1, up=True)
        x = styled(f"convs.{2 * i + 1}", x, 2 * i + 2)
        image = filtered(zeros_between(image), state[f"to_rgbs.{i}.upsample.kernel"], 2, 1) + rgb(f"to_rgbs.{i}", x)
    return w, image


def discriminate(state, x):
    scaled = lambda name: state[f"{name}.weight"] / math.sqrt(state[f"{name}.weight"][0].size)
    x = active(correlate(x, scaled("convs.0.0")), state["convs.0.1.bias"])
    for name in ("convs.1", "convs.2"):
        y = active(correlate(padded(x, 1, 1), scaled(f"{name}.conv1.0")), state[f"{name}.conv1.1.bias"])
        y = correlate(filtered(y, state[f"{name}.conv2.0.kernel"], 2, 2), scaled(f"{name}.conv2.1"), 2)
        skip = correlate(filtered(x, state[f"{name}.skip.0.kernel"], 1, 1), scaled(f"{name}.skip.1"), 2)
        x = (active(y, state[f"{name}.conv2.2.bias"]) + skip) / math.sqrt(2)
    groups = x.reshape(min(4, len(x)), -1, *x.shape[1:])
    spread = np.sqrt(groups.var(0) + 1e-8).mean((1, 2, 3))
    spread = np.tile(spread, len(groups))[:, None, None, None] * np.ones((1, 1, 4, 4))
    x = correlate(padded(np.concatenate([x, spread], 1), 1, 1), scaled("final_conv.0"))
    x = active(x, state["final_conv.1.bias"]).reshape(len(x), -1)
    return np.add(*linear(state, "final_linear.1", active(*linear(state, "final_linear.0", x))))[:, 0]


def test_the_functions_are_theirs(read):
    tensors = theirs()
    found = read(tensors)
    assert found.layout == "rosinality"
    state = {name: array.astype("f8") for name, array in tensors.items()}
    z = np.random.default_rng(1).standard_normal((8, 5))
    w, image = generate(under(state, "g_ema."), z)
    pair, variables = build(found.config), found.variables
    close(pair.g.parts["map"](variables["g_ema"], jnp.asarray(z, "f4"))[:, 0], w, 1e-5)
    ours = jax.jit(pair.g.apply)(variables["g_ema"], jnp.asarray(z, "f4"))[0]
    close(ours, image.transpose(0, 2, 3, 1), 1e-5)
    logits = jax.jit(pair.d.apply)(variables["d"], ours)[0]
    close(logits, discriminate(under(state, "d."), image), 1e-4)


@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"resolution": 8, "mbstd_group": 0}], ids=str)
def test_there_and_back(options):
    config = StyleGAN2Config(**{**vars(CONFIG), **options})
    tensors, pair = theirs(config), build(config)
    found = rosinality.find(tensors)
    assert found.config == config
    for root, net in (("g_ema", pair.g), ("d", pair.d)):
        part = found.parts[root]
        wanted = {name: array for name, array in part.tensors.items() if name in part.links}
        assert {name for name in part.tensors if name not in wanted} <= {
            n for n in part.tensors if n.endswith(".kernel")
        }
        there_and_back(wanted, part.links, IGNORED, net.specs())


def test_a_checkpoint_of_a_training(read):
    """Everything that a file may hold besides is left out for a reason; the mean w is made as their program does."""
    tensors = theirs()
    average = tensors.pop("latent_avg")
    more = {f"g.{name}": array for name, array in under(tensors, "g_ema.").items()}
    more |= {f"g_s.{name}": array for name, array in under(tensors, "g_ema.").items()}
    more |= {"g_optim.state.0.exp_avg": average, "extra.new_conv.0.0.weight": average, "ada_aug_p": np.float32(0.1)}
    found = read({**more, **tensors})
    said = found.account.ignored
    assert len(said) == len(more) + len(rosinality.constants(CONFIG)) and all(said[name] for name in more)
    assert "CDC" in said["extra.new_conv.0.0.weight"] and "optimiser" in said["g_optim.state.0.exp_avg"]
    assert found.computed == {"g_ema/moving/mapping/w_avg": "the mean of w over 4,096 latents, as their program does"}
    made = found.variables["g_ema"]["moving"]["mapping"]["w_avg"]
    z = np.random.default_rng(2).standard_normal((100_000, 5))
    np.testing.assert_allclose(made, mapped(under(tensors, "g_ema."), z).mean(0), atol=0.05)
    with_average = read({**tensors, "latent_avg": average[None]})
    np.testing.assert_array_equal(with_average.variables["g_ema"]["moving"]["mapping"]["w_avg"], average)
    parallel = {name.replace("g_ema.", "g_ema.module."): array for name, array in tensors.items()}
    assert read(parallel).config == CONFIG


def test_a_made_leaf_is_told(tmp_path, capsys):
    """On import, and whenever somebody asks where it comes from."""
    tensors: Any = theirs()
    del tensors["latent_avg"]
    np.savez(tmp_path / "x.npz", **tensors)
    assert main(["import", str(tmp_path / "x.npz"), "--as", "rosinality", "--out", str(tmp_path / "w")]) == 0
    assert (
        "g_ema/moving/mapping/w_avg: not in the file; made: the mean of w over 4,096 latents" in capsys.readouterr().out
    )
    assert main(["inspect", str(tmp_path / "w"), "--provenance", "--match", "g_ema/moving/**"]) == 0
    assert "made, for the files lack it: the mean of w over 4,096 latents" in capsys.readouterr().out


def test_what_does_not_fit_is_named(read):
    tensors = theirs()
    with pytest.raises(ForeignLayoutError, match=r"'convs.0.conv.blur.kernel' is not the filter \[1, 3, 3, 1\]"):
        read({**tensors, "g_ema.convs.0.conv.blur.kernel": np.ones((2, 2))}, layout="rosinality")
    with pytest.raises(
        ForeignLayoutError, match=r"'g_ema.conv1.conv.weight' is \[2, 8, 8, 3, 3\], which cannot become"
    ):
        read({**tensors, "g_ema.conv1.conv.weight": np.ones((2, 8, 8, 3, 3), "f4")}, layout="rosinality")
    with pytest.raises(ForeignLayoutError, match="8 channels at 16 px.* which would be 2 there"):
        wider = {f"g_ema.convs.{i}.conv.weight": np.ones((1, 8, 8, 3, 3), "f4") for i in (2, 3)}
        narrow = {f"g_ema.convs.{i}.conv.weight": np.ones((1, 4, 8, 3, 3), "f4") for i in (0, 1)}
        read({**tensors, **wider, **narrow}, layout="rosinality")
    with pytest.raises(ForeignLayoutError, match="a tensor 'mystery'"):
        read({**tensors, "d.mystery": np.ones(2)}, layout="rosinality")
    with pytest.raises(ForeignLayoutError, match="tensor 'mystery.weight' belongs to no network that rosinality knows"):
        read({**tensors, "mystery.weight": np.ones(2)}, layout="rosinality")
    with pytest.raises(ForeignLayoutError, match="unconditional with a residual D; this pair has num_classes=3"):
        rosinality.names(StyleGAN2Config(num_classes=3))


def test_links_fill_every_leaf():
    pair = build(CONFIG)
    filled = {link.path for link in generator_links(CONFIG).values()}
    assert filled | {"moving/mapping/w_avg"} == set(flatten(pair.g.specs()))
    assert {link.path for link in discriminator_links(CONFIG).values()} == set(flatten(pair.d.specs()))
