"""Networks as pure functions over dict trees, built from their configurations."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import NETS, ConfigError, NetConfig, TextFamily, TranslatorFamily, kind_of
from gan_jax.nets.changes import Changes, changed
from gan_jax.nets.layers import MOMENTUM
from gan_jax.nets.texts import example_text
from gan_jax.roots import is_reversed, pair_part
from gan_jax.trees import flatten

Variables = dict[str, Any]  # {"params": tree, "batch_stats": tree, "spectral": tree}; the last two are optional


@dataclasses.dataclass(frozen=True)
class Net:
    """A network as pure functions of its variables.

    All functions but `init`, and `parts`, also take `changes={module path: output -> output}`: the outputs of inner modules
    are changed before the next modules read them (`nets.changes`).

    Attributes:
      init: `(key) -> variables`.
      apply: `(variables, x, labels=None, train=False, keys=None) -> (output, collections)`. The collections are all but
        `params`, updated if `train`. `keys [N]` are for networks that draw in training (StyleGAN2's noise and style mixing,
        which also takes `mixing [N]`); others ignore them.
      statistics: `(variables, x, labels=None) -> batch_stats` of exactly this batch.
      activations: `(variables, x, labels=None, train=False) -> {module path: output}`, such as `b8/conv0: [N, 8, 8, C]`.
      apply_with_intermediates: the arguments of `apply` -> `(output, collections, {module path: output})`, in one pass.
      parts: parts by name, `(variables, ...) -> output`: StyleGAN2's "map", "styles" and "synthesise".
    """

    init: Callable[[jax.Array], Variables]
    apply: Callable[..., tuple[jax.Array, Variables]]
    statistics: Callable[..., Variables]
    activations: Callable[..., dict[str, jax.Array]]
    apply_with_intermediates: Callable[..., tuple[jax.Array, Variables, dict[str, jax.Array]]]
    parts: dict[str, Callable[..., jax.Array]] = dataclasses.field(default_factory=dict)

    def specs(self) -> Variables:
        """Returns the shapes and dtypes of the variables; no array is made."""
        specs, wide = self._specs, bool(jax.config.read("jax_enable_x64"))
        if wide not in specs:
            specs[wide] = jax.eval_shape(self.init, jax.random.key(0))
        return jax.tree_util.tree_map(lambda leaf: leaf, specs[wide])  # new containers for the caller

    @functools.cached_property
    def _specs(self) -> dict[bool, Variables]:
        return {}


@dataclasses.dataclass(frozen=True)
class NamedNets:
    """Networks by name, for tasks other than a pair's.

    Attributes:
      nets: the networks.
      generators, discriminators: names of the generators and of the discriminators.
      config: configuration of the networks, of any type.
      g_blocks, d_blocks, d_head: as of a `Pair`, of every generator and every discriminator.
      judges: generator -> the discriminator of its images.
      reads: generator -> the entry of a batch that it translates; empty where `Task.generate` is of the only generator.
      axis_name: as of a `Pair`.
    """

    nets: dict[str, Net]
    generators: tuple[str, ...] = ()
    discriminators: tuple[str, ...] = ()
    config: Any = None
    g_blocks: tuple[str, ...] = ()
    d_blocks: tuple[str, ...] = ()
    d_head: tuple[str, ...] = ()
    judges: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    axis_name: Any = None

    def with_nets(self, **nets: Net) -> NamedNets:
        """Returns a copy with some networks replaced."""
        return dataclasses.replace(self, nets={**self.nets, **nets})


@dataclasses.dataclass(frozen=True)
class Pair:
    """A generator `(z [N, z_dim], labels) -> images` and a discriminator `(images, labels) -> logits [N]`.

    Where the family translates, G reads images in place of latents, and logits have more axes, `[N, h, w, 1]`.
    """

    g: Net
    d: Net
    config: NetConfig
    d_blocks: tuple[str, ...]  # names of D's layers from the image upwards, for freezing
    g_blocks: tuple[str, ...]  # names of G's layers from the latents upwards, without the last, which makes the image
    d_head: tuple[str, ...]  # names of the layers from D's blocks to its logits
    examples_mix: bool = False  # whether examples influence each other inside D (batch norm, minibatch stddev)
    d_group: int = 1  # examples that D compares with each other, in evaluation too; 1 = D scores each example alone
    axis_name: Any = None  # mapped axis, or axes, over which batch statistics are synchronised

    @property
    def nets(self) -> dict[str, Net]:
        """The networks by name."""
        return {"g": self.g, "d": self.d}

    generators: ClassVar[tuple[str, ...]] = ("g",)
    discriminators: ClassVar[tuple[str, ...]] = ("d",)
    judges: ClassVar[Mapping[str, str]] = {"g": "d"}
    reads: ClassVar[Mapping[str, str]] = {}

    def with_nets(self, **nets: Net) -> Pair:
        """Returns a copy with some networks replaced."""
        return dataclasses.replace(self, **nets)


Networks = Pair | NamedNets


def build(config: NetConfig, axis_name: Any = None) -> Pair:
    """Builds the pair of a configuration.

    Args:
      config: one of the classes in `NETS`.
      axis_name: the mapped axis, or axes, over which batch statistics are synchronised; None = no such axis.
    """
    make = family_maker(config)
    wide = bool(jax.config.read("jax_enable_x64"))
    try:
        return _built(make, config, axis_name, wide)
    except TypeError:  # a list in place of a tuple cannot be a cache key
        return _built.__wrapped__(make, config, axis_name, wide)


def net_like(pair: Pair, root: str) -> Net | None:
    """The network of the leaves below a root: G or D of a pair, for `g_ba` and `d_a` of the configuration reversed.

    None for networks that are like neither, such as the `f` of contrastive translation.
    """
    part = pair_part(root)
    if part is None:
        return None
    if is_reversed(root) and pair.config.translates:
        pair = build(pair.config.reversed, pair.axis_name)
    return pair.nets[part]


def family_maker(config: NetConfig) -> Callable[..., Pair]:
    """Returns `make(config, axis_name) -> Pair` of a family's module, which is imported on first use.

    Raises:
      ConfigError: an unknown family, or one without a module.
    """
    name = kind_of(config)
    if NETS.get(name) is not type(config):
        raise ConfigError(f"no network for {name}; the known ones are {', '.join(NETS)}")
    module_name = f"gan_jax.nets.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise ConfigError(f"the family {name} has a row in NETS, but there is no module {module_name}") from None
    if not hasattr(module, "make"):
        raise ConfigError(f"the family {name} has a row in NETS, but {module_name} has no make(config, axis_name)")
    return module.make


@functools.lru_cache(maxsize=32)
def _built(make: Callable[..., Pair], config: NetConfig, axis_name: Any, wide: bool) -> Pair:
    """Builds a pair once per configuration: JAX reuses the trace of a function only if it is the same object.

    The pair holds its example inputs. They are concrete even if it is first built under a trace, and float64 if `wide`.
    """
    with jax.ensure_compile_time_eval():
        return dataclasses.replace(make(config, axis_name), axis_name=axis_name)


def make_net(module: nn.Module, example: tuple[Any, ...], *, draws: bool = False, **parts: str) -> Net:
    """Wraps a Linen module, whose call takes `(x, labels, train)`, as a `Net`.

    Args:
      module: the network.
      example: shapes-only inputs for `init`.
      draws: whether the call also takes `keys [N]`, for its draws in training.
      parts: name -> method of the module, for `Net.parts`.
    """

    def init(key: jax.Array) -> Variables:
        return dict(module.init(key, *example, train=True))

    def apply(
        variables: Variables,
        x: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        keys: jax.Array | None = None,
        changes: Changes | None = None,
        **options: Any,
    ) -> tuple[jax.Array, Variables]:
        collections = {k: v for k, v in variables.items() if k != "params"}
        with changed(changes):
            if not train:
                return cast(jax.Array, module.apply(variables, x, labels, train=False)), collections
            drawn: dict[str, Any] = {"keys": keys, **options} if draws else {}
            out, updated = cast(Any, module.apply(variables, x, labels, train=True, mutable=list(collections), **drawn))
        return out, dict(updated)

    def statistics(
        variables: Variables, x: jax.Array, labels: jax.Array | None = None, changes: Changes | None = None
    ) -> Variables:
        # An average that starts from zero holds (1 - momentum) times the statistics of its first batch.
        zeros = jax.tree_util.tree_map(jnp.zeros_like, variables.get("batch_stats", {}))
        _, updated = apply({**variables, "batch_stats": zeros}, x, labels, train=True, changes=changes)
        return jax.tree_util.tree_map(lambda v: v / (1 - MOMENTUM), updated.get("batch_stats", {}))

    def apply_with_intermediates(
        variables: Variables,
        x: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        keys: jax.Array | None = None,
        changes: Changes | None = None,
        **options: Any,
    ) -> tuple[jax.Array, Variables, dict[str, jax.Array]]:
        collections = {k: v for k, v in variables.items() if k != "params"}
        mutable = ["intermediates", *(collections if train else ())]
        drawn: dict[str, Any] = {"keys": keys, **options} if draws and train and keys is not None else {}
        with changed(changes):
            out, updated = cast(
                Any,
                module.apply(variables, x, labels, train=train, mutable=mutable, capture_intermediates=True, **drawn),
            )
        updated = dict(updated)
        outputs = {path.rpartition("/__call__")[0]: y for path, y in flatten(updated.pop("intermediates")).items()}
        intermediates = {path: y for path, y in outputs.items() if path}  # the network's own output has no name
        return out, collections | updated, intermediates

    def activations(
        variables: Variables,
        x: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        changes: Changes | None = None,
    ) -> dict[str, jax.Array]:
        return apply_with_intermediates(variables, x, labels, train, changes=changes)[2]

    def part(method: str) -> Callable[..., jax.Array]:
        def run(variables: Variables, *args: Any, changes: Changes | None = None, **options: Any) -> jax.Array:
            with changed(changes):
                return cast(jax.Array, module.apply(variables, *args, method=method, **options))

        return run

    return Net(
        init,
        apply,
        statistics,
        activations,
        apply_with_intermediates,
        {name: part(method) for name, method in parts.items()},
    )


def example_inputs(config: NetConfig) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Returns example inputs of G and D: `((latents [2, z_dim], labels), (images [2, r, r, C], labels))`.

    G of a family that translates reads images `[2, r, r, in_channels]`, and D with `d_condition` both, joined. Both networks of
    texts read texts.
    """
    if isinstance(config, TextFamily):
        return (example_text(config), None), (example_text(config), None)
    labels = jnp.zeros((2,), jnp.int32) if config.num_classes else None
    r = config.resolution
    if config.translates:
        net = cast(TranslatorFamily, config)
        seen = net.channels + (net.in_channels if net.d_condition else 0)
        return (jnp.zeros((2, r, r, net.in_channels)), None), (jnp.zeros((2, r, r, seen)), None)
    return (jnp.zeros((2, config.z_dim)), labels), (jnp.zeros((2, r, r, config.channels)), labels)


def projection_head(config: Any) -> tuple[str, ...]:
    """Returns the names of D's last layers, with the projection on classes if there are classes."""
    return ("head", "embed") if config.num_classes else ("head",)


# ----------------------------------------------------------------------------------------------------------------------
# Networks derived from another by a function of their variables, such as adapters and mixtures of weights.


def derived(net: Net, plain: Callable[[Variables], Variables], init: Callable[[jax.Array], Variables]) -> Net:
    """Makes the network that computes `net` on `plain(variables)`; `init(key)` makes its variables."""

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda variables, *args, **options: function(plain(variables), *args, **options)

    return Net(
        init,
        through(net.apply),
        through(net.statistics),
        through(net.activations),
        through(net.apply_with_intermediates),
        {name: through(part) for name, part in net.parts.items()},
    )
