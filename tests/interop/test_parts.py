"""Checkpoints as trainings leave them: networks among optimisers, counters, averages and wrappers, in every layout."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from gan_jax.cli.main import main
from gan_jax.config import DCGANConfig, MLPConfig, R3GANConfig, SNGANConfig, StyleGAN2Config, TranslatorConfig
from gan_jax.interop import parts
from gan_jax.interop.exporters import tensors_of
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.nets import build
from gan_jax.trees import flatten, unflatten

CONFIGS = {
    "dcgan": DCGANConfig(16, 3, 8, 128, 16),
    "mlp": MLPConfig(4, 1, 0, 6, (8, 8), (8, 8)),
    "mimicry": SNGANConfig(32, 3, 0, 8, (8, 8, 8, 8), (8, 8), (8, 8)),
    "r3gan": R3GANConfig(16, 3, 0, 8, (8, 8, 8), (2, 2, 2)),
    "stylegan2-ada": StyleGAN2Config(16, 3, 0, 8, 8, 2, 128, 16),
    "rosinality": StyleGAN2Config(16, 3, 0, 8, 8, 2, 128, 16),
    "translation": TranslatorConfig(128, width=2, blocks=2, norm="batch", d_width=2),
}
TINY = DCGANConfig(8, 1, 4, 32, 8)


def variables_of(config):
    rng, pair = np.random.default_rng(0), build(config)
    values = lambda net: {p: np.abs(rng.normal(size=s.shape)).astype(s.dtype) for p, s in flatten(net.specs()).items()}
    return {"g_ema": unflatten(values(pair.g)), "d": unflatten(values(pair.d))}


def state(config=TINY, layout="dcgan", variables=None):
    """The tensors of a pair, by the names of a layout."""
    return {
        root: dict(tensors)
        for root, tensors in tensors_of(config, variables or variables_of(config), layout)[0].items()
    }


def read(tmp_path, tensors, **options):
    np.savez(tmp_path / "x.npz", **tensors)  # keeps the order, as a torch file does
    return import_file(tmp_path / "x.npz", **options)


def same(found, variables):
    for root, tree in found.variables.items():
        for path, leaf in flatten(tree).items():
            np.testing.assert_array_equal(leaf, flatten(variables[root])[path], err_msg=path)


STATE = {
    "optimizerG_state_dict.state.0.exp_avg": np.zeros((3, 3), "f4"), "optD.state.1.exp_avg_sq": np.zeros(3, "f4"),
    "optimizer_states.0.state.0.step": np.float32(3), "lr_schedulers.0.last": np.zeros(2), "epoch": np.int64(3),
    "loss": np.float32(0.5), "fixed_noise": np.zeros((4, 8, 1, 1), "f4"), "n_averaged": np.int64(7),
    "scaler.scale": np.float32(65536), "scaler._growth_tracker": np.int32(1), "rng_state": np.zeros(5, "u1"),
    "G_losses": np.zeros(9), "lpips.lin0.weight": np.zeros((1, 2, 1, 1), "f4"),
}  # fmt: skip


@pytest.mark.parametrize("layout", CONFIGS)
def test_every_layout_leaves_out_what_is_no_network(tmp_path, layout):
    """And in the same file the wrappers of DataParallel and of `torch.compile`, in both orders."""
    config = CONFIGS[layout]
    variables = variables_of(config)
    whole = {name: array for part in state(config, layout, variables).values() for name, array in part.items()}
    nested = tensors_of(config, variables, layout)[1]
    place = {True: "{}.module._orig_mod.{}", False: "{}._orig_mod.module.{}"}
    wrapped = {place[i % 2 == 0].format(*n.split(".", 1)) if n.split(".")[0] in nested else n: a
               for i, (n, a) in enumerate(whole.items())}  # fmt: skip
    found = read(tmp_path, {**wrapped, **STATE})
    assert found.layout == layout and set(found.variables) == {"g_ema", "d"}
    same(found, variables)
    assert {*found.account.used, *found.account.ignored} == {*wrapped, *STATE}, "every tensor, by its name in the file"
    assert found.account.ignored["optD.state.1.exp_avg_sq"] == parts.OPTIMISER


@pytest.mark.parametrize("layout", CONFIGS)
@pytest.mark.parametrize("average", ["{}_ema", "ema.ema_model.{}", "{}_swa.module"])
def test_the_moving_average_of_g_is_taken(tmp_path, layout, average):
    config = CONFIGS[layout]
    variables = variables_of(config)
    tensors = state(config, layout, variables)
    names = [name.split(".", 1) for name in tensors["g_ema"] if "." in name]
    head = names[0][0]
    raw, ema = (head.removesuffix("_ema") + "_raw", average.format(head))
    copies = {f"{ema}.{rest}": tensors["g_ema"][f"{head}.{rest}"] for _, rest in names}
    constant = lambda rest: rest.endswith(("kernel", "Kernel", "resample_filter", "num_batches_tracked"))
    old = {
        f"{raw}.{rest}": a if constant(rest) else a + 1
        for _, rest in names
        for a in [tensors["g_ema"][f"{head}.{rest}"]]
    }
    rest = {name: a for name, a in tensors["g_ema"].items() if "." not in name}
    found = read(tmp_path, {**old, **copies, **rest, f"{ema}.n_averaged": np.int64(3), **tensors["d"]})
    assert found.layout == layout and set(found.variables) == {"g_ema", "d"}
    same(found, variables)
    assert found.account.ignored[next(iter(old))] == parts.DROPPED


def test_averages_of_parameters_alone(tmp_path):
    """Named ones, a list as torch_ema keeps it, and names without dots: statistics are those of the other copy."""
    variables = variables_of(TINY)
    tensors = state(variables=variables)
    g = {name.split(".", 1)[1]: array for name, array in tensors["g_ema"].items()}
    learned = [name for name in g if name.rpartition(".")[2] in ("weight", "bias")]
    old = {f"netG.{name}": array + 1 if name in learned else array for name, array in g.items()}
    for average in (
        {f"ema.shadow.{name}": g[name] for name in learned},
        {f"ema.shadow_params.{i}": g[name] for i, name in enumerate(learned)} | {"ema.collected_params.0": np.zeros(3)},
        {"model_ema." + name.replace(".", ""): g[name] for name in learned} | {"model_ema.num_updates": np.int32(3)},
    ):
        found = read(tmp_path, {**old, **average, **tensors["d"]})
        same(found, variables)
        first = next(iter(average))
        assert found.account.used[first].startswith("g_ema/params/")
        assert found.account.ignored[f"netG.{learned[0]}"] == parts.DROPPED


def test_of_d_the_trained_one_is_taken(tmp_path):
    variables = variables_of(TINY)
    tensors = state(variables=variables)
    average = {name.replace("netD_state_dict", "netD_ema"): array + 1 for name, array in tensors["d"].items()}
    found = read(tmp_path, {**tensors["g_ema"], **tensors["d"], **average})
    same(found, variables)
    assert found.account.ignored[next(iter(average))] == parts.D_AVERAGE


def test_ignore_leaves_out_what_the_user_names(tmp_path, capsys):
    variables = variables_of(TINY)
    tensors = {name: array for part in state(variables=variables).values() for name, array in part.items()}
    more = {"netE.fc.weight": np.zeros((2, 3), "f4"), "netE.fc.bias": np.zeros(2, "f4")}
    with pytest.raises(ForeignLayoutError, match="'netE.fc.weight' belongs to no network that dcgan knows.*--ignore"):
        read(tmp_path, {**tensors, **more}, layout="dcgan")
    same(found := read(tmp_path, {**tensors, **more}, ignore=["netE.*"]), variables)
    assert found.account.ignored["netE.fc.bias"] == "left out as asked, --ignore 'netE.*'"
    with pytest.raises(ForeignLayoutError, match="--ignore 'netF.*' covers no tensor"):
        read(tmp_path, {**tensors, **more}, ignore=["netF.*"])
    out = tmp_path / "out"
    words = ["import", str(tmp_path / "x.npz"), "--out", str(out)]
    assert main([*words, "--ignore", "netE.*"]) == 0 and "left out as asked" in capsys.readouterr().out
    assert main([*words, "--ignore", "netE.*"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*words, "--ignore", "netE.*", "--overwrite"]) == 0


@pytest.mark.parametrize("step", ["dropout", "no activations"])
def test_numbers_that_are_moved(tmp_path, step):
    """A dropout behind each activation, or activations that are no layers: the order of the numbers tells."""
    config = DCGANConfig(32, 3, 8, 128, 16)  # whose numbers have two digits then
    variables = variables_of(config)
    tensors = state(config, variables=variables)

    def moved(names):
        numbers = sorted({int(name.split(".")[2]) for name in names})
        place = {n: i for i, n in enumerate(numbers)} if step == "no activations" else {n: n + n // 3 for n in numbers}
        return lambda name: ".".join([*name.split(".")[:2], str(place[int(name.split(".")[2])]), name.split(".")[3]])

    renamed = {moved(part)(name): array for part in tensors.values() for name, array in part.items()}
    save_file(renamed, tmp_path / "x.safetensors")  # sorts names
    found = import_file(tmp_path / "x.safetensors")
    assert found.config == config and set(found.variables) == {"g_ema", "d"}
    same(found, variables)


def test_a_norm_before_its_kernel_is_another_network(tmp_path):
    tensors = {n.split(".", 1)[1]: a for n, a in state()["g_ema"].items() if not n.endswith("tracked")}
    swapped = {n.translate(str.maketrans("01", "10")): a for n, a in tensors.items()}
    with pytest.raises(ForeignLayoutError, match="a DCGAN has each norm behind its kernel"):
        read(tmp_path, swapped, layout="dcgan")


def test_spectral_norm_and_biases_in_a_dcgan(tmp_path):
    """Both spellings of spectral norm; a bias before a batch norm; the functions stay what they were."""
    variables = variables_of(TINY)
    tensors = state(variables=variables)
    g = {n.split(".", 1)[1]: a for n, a in tensors["g_ema"].items()}
    d = {n.split(".", 1)[1]: a for n, a in tensors["d"].items()}
    bias = np.linspace(-1, 1, len(g["main.1.bias"])).astype("f4")
    mean = g["main.1.running_mean"]
    spelled = {"weight_orig": "{}.weight_orig", "weight_u": "{}.weight_u", "weight_v": "{}.weight_v"}
    newer = {"weight_orig": "{}.parametrizations.weight.original", "weight_u": "{}.parametrizations.weight.0._u",
             "weight_v": "{}.parametrizations.weight.0._v"}  # fmt: skip
    for names in (spelled, newer):
        normed = {}
        for name, array in d.items():
            if array.ndim == 4:
                u, s, v = np.linalg.svd(array.reshape(len(array), -1))
                of = {"weight_orig": array * 3, "weight_u": u[:, 0], "weight_v": v[0]}
                normed |= {names[key].format(name.removesuffix(".weight")): value for key, value in of.items()}
            else:
                normed[name] = array
        biased = {"main.0.bias": bias, **g, "main.1.running_mean": mean + bias}
        file = {**{f"netG.{n}": a for n, a in biased.items()}, **{f"netD.{n}": a for n, a in normed.items()}}
        found = read(tmp_path, file)
        assert {*found.account.used, *found.account.ignored} == set(file)
        got, want = flatten(found.variables), flatten(variables)
        for path in got:
            kernel = path.startswith("d/params") and path.endswith("kernel")
            size = np.linalg.svd(d_matrix(want[path]), compute_uv=False)[0] if kernel else 1
            np.testing.assert_allclose(got[path], want[path] / size, rtol=1e-4, atol=1e-6, err_msg=path)


def d_matrix(kernel):
    """`[out, everything else]`."""
    return kernel.reshape(-1, kernel.shape[-1]).T


def test_weight_norm_and_pruning_are_put_together(tmp_path):
    variables = variables_of(TINY)
    g = {n.split(".", 1)[1]: a for n, a in state(variables=variables)["g_ema"].items()}
    kernel = g.pop("main.0.weight")
    size = np.sqrt((kernel**2).sum(axis=(1, 2, 3), keepdims=True))
    for more in (
        {"main.0.weight_g": size, "main.0.weight_v": kernel * 5},
        {"main.0.parametrizations.weight.original0": size, "main.0.parametrizations.weight.original1": kernel * 5},
        {"main.0.weight_orig": kernel + 1e9 * (kernel == kernel.max()), "main.0.weight_mask": kernel < kernel.max()},
    ):
        found = read(tmp_path, {**more, **g})
        made = flatten(found.variables)["g_ema/params/b4/kernel"]
        want = np.where(kernel < kernel.max(), kernel, 0) if "main.0.weight_mask" in more else kernel
        np.testing.assert_allclose(made.sum(), want.sum(), rtol=1e-5)
        assert {*more} <= {*found.account.used, *found.account.ignored}


BAD = {
    "int8": (lambda a: (a * 10).astype(np.int8), "is int8.*no.* without their scales.*'main.3.weight_scale'"),
    "uint8": (lambda a: (a * 10).astype(np.uint8), "is uint8"),
    "bool": (lambda a: a > 0, "is bool.*truth values"),
    "float8": (lambda a: a.astype(ml_dtypes.float8_e4m3fn), "is float8_e4m3fn.* times a scale, 'main.3.weight_scale'"),
    "int64": (lambda a: (a * 10).astype(np.int64), "is int64"),
    "complex64": (lambda a: a * (1 + 1j), "is complex64.*complex numbers"),
    "nan": (lambda a: np.where(a == a.max(), np.nan, a).astype("f4"), r"becomes leaf 'g_ema/params/b8/kernel', holds 1 of .*nan"),
    "inf": (lambda a: np.where(a == a.max(), -np.inf, a).astype("f4"), "not finite .inf"),
    "float64": (lambda a: np.where(a == a.max(), 1e300, a.astype("f8")), "values of up to 1e.300, beyond the largest float32"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_values_that_are_no_weights(tmp_path, kind):
    config = DCGANConfig(16, 1, 4, 32, 8)
    g = {n.split(".", 1)[1]: a for n, a in state(config)["g_ema"].items()}
    change, message = BAD[kind]
    more = {"main.3.weight_scale": np.ones(1, "f4")} if kind in ("int8", "float8") else {}
    save_file({**g, "main.3.weight": change(g["main.3.weight"]), **more}, tmp_path / "x.safetensors")
    for ignore in ((), more):
        with pytest.raises(ForeignLayoutError, match=f"x.safetensors.*'main.3.weight'.*{message}"):
            import_file(tmp_path / "x.safetensors", ignore=[*ignore])


@pytest.mark.parametrize(
    "scale",
    ["main.3.scale_weight", "scales.main.3.weight", "scaled_fp8", "main.3.weight_amax", "main.3.weight_scale_inv"],
)
def test_float8_with_a_scale_anywhere_is_refused(tmp_path, scale):
    g = {n.split(".", 1)[1]: a for n, a in state()["g_ema"].items()}
    kernel = g["main.3.weight"].astype(ml_dtypes.float8_e4m3fn)
    for value in (np.ones(1, "f4"), np.float32(0.5)):  # a lone number is no tensor of the file
        save_file({**g, "main.3.weight": kernel, scale: np.asarray(value)}, tmp_path / "x.safetensors")
        for ignore in ((), (scale,)) if np.ndim(value) else ((),):
            with pytest.raises(
                ForeignLayoutError, match=f"'main.3.weight' is float8_e4m3fn.* times a scale, '{scale}'"
            ):
                import_file(tmp_path / "x.safetensors", ignore=ignore)


def test_float8_without_a_scale_is_said(tmp_path, capsys):
    g = {n.split(".", 1)[1]: a for n, a in state()["g_ema"].items()}
    kernel = g["main.3.weight"].astype(ml_dtypes.float8_e4m3fn)
    save_file({**g, "main.3.weight": kernel, "main.30.weight_scale": np.ones(1, "f4")}, tmp_path / "x.safetensors")
    words = ["import", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "out"), "--ignore", "main.30.*"]
    assert main(words) == 0, capsys.readouterr().err
    assert (
        "note: 'main.3.weight' of float8_e4m3fn, numbers of 8 bits: no scale is in the file" in capsys.readouterr().out
    )
    assert "8 bits" in (tmp_path / "out" / "manifest.json").read_text()


def test_a_bias_that_has_no_place_is_part_of_its_layer(tmp_path, capsys):
    g = {n.split(".", 1)[1]: a for n, a in state()["g_ema"].items()}
    last = max((n for n in g if g[n].ndim == 4), key=lambda n: int(n.split(".")[1])).replace("weight", "bias")
    save_file({**g, last: np.full(1, 0.25, "f4")}, tmp_path / "x.safetensors")
    with pytest.raises(ForeignLayoutError) as error:
        import_file(tmp_path / "x.safetensors")
    said = str(error.value)
    assert "its layer is used" in said and "changes what the network computes" in said
    assert "no part of the networks" not in said and "did you mean" not in said
    assert main(["import", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "out"), "--ignore", last]) == 0
    assert f"note: '{last}' (values up to 0.25) is left out of a layer that is used" in capsys.readouterr().out


def test_a_negative_variance_is_not_written(tmp_path, capsys):
    g = {n.split(".", 1)[1]: a for n, a in state()["g_ema"].items()}
    np.savez(tmp_path / "x.npz", **{**g, "main.1.running_var": -g["main.1.running_var"] - 1})
    assert main(["import", str(tmp_path / "x.npz"), "--out", str(tmp_path / "out")]) == 2
    assert "'main.1.running_var', which becomes leaf 'g_ema/batch_stats/norm4/var'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("g_optim.state.0.exp_avg", parts.OPTIMISER), ("optG.x", parts.OPTIMISER), ("genOptimizer.a.b", parts.OPTIMISER),
        ("fixed_z", parts.FIXED), ("sample_noise", parts.FIXED), ("noise_fixed", parts.FIXED), ("D_loss_real", parts.LOSS),
        ("errD_fake", parts.LOSS), ("cuda_rng_state", parts.RANDOM), ("grad_scaler.scale", parts.SCALER),
        ("noises.noise_0", None), ("conv1.noise.weight", None), ("G.synthesis.b4.conv1.noise_const", None),
        ("mapping.w_avg", None), ("main.0.weight", None), ("latent_avg", None), ("G.optical.weight", None),
        ("g_ema/params/b8/conv0/kernel", None), ("lossless.weight", None),
    ],
)  # fmt: skip
def test_names_of_what_is_beside(name, why):
    assert parts.why_left_out(name, np.zeros(3)) == why


def test_which_names_say_average():
    assert all(
        map(parts.is_average, ("G_ema", "netGEma", "ema", "shadow_params", "swa_model", "emaG", "averaged_model"))
    )
    assert not any(map(parts.is_average, ("netG", "schema", "mean", "running_mean", "G", "module")))
