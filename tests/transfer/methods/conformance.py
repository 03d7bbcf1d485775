"""What every method must keep, asked of each on a pair that compiles in a second."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import Config, LossConfig, OptimConfig, TrainConfig
from gan_jax.nets import build
from gan_jax.nets.build import family_maker
from gan_jax.train.feed import resident_feed
from gan_jax.train.state import GanState
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.method import Method, make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import PreparedState, Start
from gan_jax.transfer.start import make_prepared
from gan_jax.trees import flatten, unflatten
from tests.train import games
from tests.train.games import dispatches, host
from tests.train.toy import NET, images

EVERYWHERE = [("pmap", 2), ("population", 1)]  # asked of a method with every hook: test_own_method
KEY = 7  # of the run


def make_config(transfer, net=NET, **train) -> Config:
    return Config(
        net=net,
        transfer=transfer,
        loss=LossConfig(name="non_saturating"),  # hinge has no gradient for the last bias while nobody is sure
        optim=OptimConfig(lr=1e-2),
        train=TrainConfig(**{"batch": 8, "steps_per_dispatch": 1, "kimg": 1.0, "devices": 1, **train}),
    )


@dataclasses.dataclass
class Begun:
    """A method on one pair and one device: its start, and what its steps leave, each trained once.

    Attributes:
      method, trainer: of the configuration.
      start: the source.
      state: at the start of training.
    """

    method: Method
    trainer: Trainer
    start: Start
    state: GanState

    def __post_init__(self) -> None:
        self.before = host(self.state)  # leaves by path
        self._rows, self._left = dispatches(self.trainer, self.state), []

    def after(self, times: int = 5) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The leaves by path after some dispatches, and the metrics of the last."""
        self._left += [next(self._rows) for _ in range(times - len(self._left))]
        return self._left[times - 1]

    def state_after(self, times: int = 5) -> GanState:
        """The same as a state."""
        leaves = {**self.after(times)[0], "key": self.state.key}
        like = jax.tree_util.tree_structure(self.state)
        return jax.tree_util.tree_unflatten(like, [leaves[path] for path in self.before])  # which keeps their order


def source(config: Config) -> Start:
    """The plain pair of seed 0."""
    bare = build(config.net)
    return Start({"g": jax.jit(bare.g.init)(jax.random.key(0)), "d": jax.jit(bare.d.init)(jax.random.key(1))})


def prepared(
    config: Config, start: Start | None = None, method: Method | None = None, data: np.ndarray | None = None
) -> PreparedState:
    """What a method prepares of a start."""
    method = method or make_method(config.transfer, build(config.net))
    trainer = make_trainer(config, method, resident_feed(images()[0] if data is None else data, None, mirror=False))
    return make_prepared(trainer, start or source(config), method, jax.random.key(KEY))


def begin(config: Config, method: Method | None = None, **parts: Any) -> Begun:
    """A method at its start from `source`; `parts` are other ones of its trainer."""
    method = method or make_method(config.transfer, build(config.net))
    trainer = make_trainer(config, method, resident_feed(images()[0], None, mirror=False)).replace(**parts)
    start, key = source(config), jax.random.key(KEY)
    ready = make_prepared(trainer, start, method, key)
    init = lambda nets, constants: trainer.init(nets, key, constants)
    return Begun(method, trainer, start, jax.jit(init)(ready.nets, ready.constants))


def conform(config: Config) -> Begun:
    """The method of a configuration, begun and compiled once however many questions are asked of it."""
    return _conform(config, family_maker(config.net))


@functools.lru_cache(maxsize=4)
def _conform(config: Config, builder: Any) -> Begun:
    return begin(config)


def assert_identity(begun: Begun) -> None:
    """Before the first step both networks compute what the source's do, to the bit; so do the plain ones."""
    plain_nets, nets = build(begun.trainer.config.net).nets, begun.trainer.task.nets
    for name, inputs in _inputs(begun).items():
        want = plain_nets[name].apply(begun.start.nets[name], inputs)[0]
        now = begun.state.nets[name]
        assert_array_equal(nets[name].apply(now, inputs)[0], want)
        assert_array_equal(plain_nets[name].apply(begun.method.plain(name, now), inputs)[0], want)


def assert_only(begun: Begun, moves, times: int = 5) -> None:
    """Leaves move if and only if `moves(path of g/params/.. or d/params/..)`: parameters, average and moments.

    All others are equal to the bit; frozen leaves have no moments at all.
    """
    before, (after, metrics) = begun.before, begun.after(times)
    assert metrics["finite"].all()
    paths = [path for path in before if path.startswith(("g/params/", "d/params/"))]
    assert any(moves(path) for path in paths), "a method that trains nothing tests nothing"
    for path in paths:
        name, _, tail = path.partition("/params/")
        assert (before[path] != after[path]).any() == moves(path), path
        if name == "g":
            average = f"g_ema/params/{tail}"
            assert (before[average] != after[average]).any() == moves(path), average
        moments = [p for p in before if p.startswith(f"opt_{name}/") and p.endswith(f"/{tail}")]
        assert bool(moments) == moves(path), f"moments of {path}"


def assert_trains(begun: Begun, moves) -> None:
    """The optimisers have moments of a leaf if and only if `moves(path of g/params/.. or d/params/..)`. No step is compiled.

    That what has moments moves, and nothing else, `assert_only` says of some methods in every run.
    """
    paths = [path for path in begun.before if path.startswith(("g/params/", "d/params/"))]
    assert any(moves(path) for path in paths), "a method that trains nothing tests nothing"
    for path in paths:
        name, _, tail = path.partition("/params/")
        moments = [p for p in begun.before if p.startswith(f"opt_{name}/") and p.endswith(f"/{tail}")]
        assert bool(moments) == moves(path), f"moments of {path}"


def moved_networks(begun: Begun) -> dict[str, Any]:
    """G and D whose trained leaves are elsewhere, as after training."""
    draw = np.random.default_rng(5)
    nets = {}
    for name, variables in begun.state.nets.items():
        trained = begun.trainer.trains(name) if begun.trainer.trains is not None else lambda path: True
        params = {
            path: leaf + 0.2 * draw.standard_normal(leaf.shape, np.float32) if trained(path) else leaf
            for path, leaf in flatten(jax.device_get(variables["params"])).items()
        }
        nets[name] = {**variables, "params": unflatten(params, like=variables["params"])}
    return nets


def assert_baked(begun: Begun) -> None:
    """Away from the start the plain networks compute what the grafted ones do."""
    plain_nets, nets = build(begun.trainer.config.net).nets, begun.trainer.task.nets
    for name, variables in moved_networks(begun).items():
        inputs = _inputs(begun)[name]
        plain = begun.method.plain(name, variables)
        want = jax.jit(nets[name].apply)(variables, inputs)[0]
        assert_allclose(jax.jit(plain_nets[name].apply)(plain, inputs)[0], want, rtol=1e-5, atol=1e-6)
        assert set(plain["params"]) == set(plain_nets[name].specs()["params"])


def assert_same_on_devices(
    begun: Begun, devices: int = 8, rtol: float = 2e-4, atol: float = 2e-6, compiler: str = "jit"
) -> None:
    """The first dispatch on several devices gives the gradients, collections, extras and metrics of one device.

    This is what the author of a method can break: a mean over a device in place of all, draws by place in place of index.
    Adam's first moments stand for gradients: its steps have one size, so that rounding could turn them round.
    """
    (want, metrics), (got, other) = begun.after(1), games.dispatch(begun.trainer, begun.state, compiler, devices)
    weights = tuple(f"{name}/params/" for name in ("g", "d", "g_ema"))
    for path, value in want.items():
        if not path.startswith(weights) and "/nu/" not in path:
            assert_allclose(got[path], value, rtol=rtol, atol=atol, err_msg=path)
    assert any("/mu/" in path for path in want), "there are no gradients to compare"
    for name, value in metrics.items():
        assert_allclose(other[name], value, rtol=rtol, atol=atol, err_msg=name)


def assert_same_everywhere(config: Config, method: Method | None = None, runs=EVERYWHERE, atol=2e-6) -> None:
    """A step by `jit` on one device gives what the other compilers give. Plain SGD, so that changes are gradients."""
    begun = begin(dataclasses.replace(config, optim=games.PLAIN_SGD), method, optimizer=games.gradients)
    games.assert_same_everywhere(begun.trainer, begun.state, runs, atol)


def _inputs(begun: Begun) -> dict[str, jax.Array]:
    """Latents for G, images for D."""
    net = begun.trainer.config.net
    shape = (4, net.resolution, net.resolution, net.channels)
    return {
        "g": jax.random.normal(jax.random.key(3), (4, net.z_dim)),
        "d": jax.random.normal(jax.random.key(4), shape),
    }
