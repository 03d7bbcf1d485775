"""Small ResNet pairs with the kinds of values that trained nets have, and their functions, each compiled once."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import BigGANConfig, DCGANConfig, NetConfig, R3GANConfig, ResNetConfig, StyleGAN2Config
from gan_jax.nets import Pair, build
from gan_jax.surgery import Difference, make_plan, measure, pair_rules, transplant
from gan_jax.surgery.measure import common_latents, common_views
from gan_jax.trees import map_with_path, specs

BASE = ResNetConfig(resolution=16, channels=1, z_dim=8, channel_base=1024, channel_max=6)
SMALL_DCGAN = DCGANConfig(resolution=16, channels=1, z_dim=8, channel_base=1024, channel_max=6)
SMALL_STYLEGAN2 = StyleGAN2Config(
    *(16, 1, 0, 8, 5, 2, 1024, 6), d_mapping_layers=2, mbstd_group=3
)  # resolution, channels, classes, z, w, mapping layers, widths
SMALL_R3GAN = R3GANConfig(
    *(16, 1, 0, 8, (6, 6, 4), (3, 3, 2), (1,)),
)  # resolution, channels, classes, z, widths, cardinality, blocks
SMALL_BIGGAN = BigGANConfig(
    *(16, 1, 0, 9, 2, (3, 3, 2), (2, 3, 4)), shared_dim=4, attention=(8,)
)  # resolution, channels, classes, z, width, multipliers of G and D
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


@functools.cache
def pair_of(config: NetConfig) -> Pair:
    return build(config)


@functools.cache
def compiled(config: NetConfig, net: str, train: bool) -> Callable:
    pair = pair_of(config)
    apply = getattr(pair, net).apply
    return jax.jit(lambda v, x: apply(v, x, labels(pair, x.shape[0]), train=train), compiler_options=QUICK)


@functools.cache
def shapes(config: NetConfig) -> dict:
    pair = pair_of(config)
    return {"g": pair.g.specs(), "d": pair.d.specs()}


def make_pair(seed: int = 0, base: NetConfig = BASE, **changes) -> tuple[Pair, dict]:
    """A pair of the base configuration with changes, and drawn variables in the widest dtype that is enabled.

    Singular vectors have been through a few power iterations, not enough to converge.
    """
    double = jax.config.jax_enable_x64
    config = dataclasses.replace(base, **changes, dtype="float64" if double else "float32")

    def draw(path: str, spec) -> np.ndarray:
        rng = np.random.default_rng([seed, zlib.crc32(path.encode())])
        x = rng.standard_normal(spec.shape)
        if isinstance(base, StyleGAN2Config):
            return _equalised(path, x)
        if path.endswith(("kernel", "embedding")):
            return x / np.sqrt(np.prod(spec.shape[:-1]))
        return {"var": 0.5 + x**2, "scale": 1 + 0.2 * x, "u": x, "basis": x}.get(path.split("/")[-1], 0.2 * x)

    tree = map_with_path(draw, shapes(config))
    for net in tree.values():
        if "spectral" in net:
            net["spectral"] = map_with_path(
                lambda path, u, params=net["params"]: _iterate(params, path, u), net["spectral"]
            )
    return pair_of(config), jax.tree.map(lambda x: np.asarray(x, np.float64 if double else np.float32), tree)


def _equalised(path: str, x: np.ndarray) -> np.ndarray:
    """StyleGAN2's leaves: stored weights are N(0, 1), in mapping networks over their learning rate of 0.01."""
    slow = 100 if "/mapping/fc" in path else 1
    if path.endswith("bias"):
        return slow * 0.2 * x + path.endswith("affine/bias")
    return 0.2 * x if path.endswith(("noise_strength", "w_avg")) else slow * x


def _iterate(params: dict, path: str, u: np.ndarray) -> np.ndarray:
    for name in path.split("/")[:-1]:
        params = params[name]
    matrix = np.reshape(next(params[name] for name in ("kernel", "embedding") if name in params), (-1, len(u)))
    for _ in range(3):
        u = matrix.T @ (matrix @ u)
    return u / np.linalg.norm(u)


def latents(pair: Pair, n: int, seed: int = 0) -> jax.Array:
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    return jax.random.normal(jax.random.key(100 + seed), (n, pair.config.z_dim), dtype)


def labels(pair: Pair, n: int) -> jax.Array | None:
    return jnp.arange(n, dtype=jnp.int32) % pair.config.num_classes if pair.config.num_classes else None


def grow(old: Pair, old_variables, new: Pair, fresh, rules_options=None, **options):
    """The transplanted variables."""
    target, origin = specs(fresh), specs(old_variables)
    rules = pair_rules(new.config, old.config, target, origin, **(rules_options or {}))
    plan = make_plan(target, origin, rules, **{"shape": "adapt", **options})
    grown, report = transplant(plan, old_variables, fresh)
    assert report.follows(plan)
    return grown


def compare(old: Pair, old_variables: dict, new: Pair, new_variables: dict, train: bool, nets: str = "gd"):
    """As `measure_pair`, for all classes, and in training mode too; of both networks, or of one."""
    z, old_z = common_latents(new.config, old.config, jax.random.key(101), 6)
    generate = lambda pair, v, z: compiled(pair.config, "g", train)(v["g"], z)[0]
    judge = lambda pair, v, x: compiled(pair.config, "d", train)(v["d"], x)[0]
    made_old, made_new, seen_old, seen_new = common_views(new.config, old.config)
    made = generate(old, old_variables, old_z)
    noise = jax.random.uniform(jax.random.key(5), made.shape, made.dtype, minval=-1.0)
    probes = [made, noise]
    measures: dict[str, Callable[[], Difference]] = {
        "g": lambda: measure(lambda _: made_old(made), lambda _: made_new(generate(new, new_variables, z)), [z]),
        "d": lambda: measure(
            lambda x: judge(old, old_variables, seen_old(x)), lambda x: judge(new, new_variables, seen_new(x)), probes
        ),
    }
    return {name: measures[name]() for name in nets}
