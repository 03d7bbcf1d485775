"""Transplants of pretrained weights into other networks, leaf by leaf, and fresh values of the other leaves.

An example: from the embedded pair to a wider one that makes the same images, and the provenance of its leaves:

    >>> import gan_jax

    >>> wide = gan_jax.transplant("embedded:fashion16", gan_jax.ResNetConfig(resolution=16, channel_max=26))
    >>> folder = wide.save("wide")
    >>> print(gan_jax.provenance("wide", "g_ema/params/to_rgb/bias"))
    history, oldest first:
      1  ...  trained from fresh values: 1,200,128 images of tfds:fashion_mnist:train, classes [0, 1, 2, 3, 5, 6, 7, 8]
           by gan_jax ..., jax ..., flax ...
      2  ...  transplanted from embedded:fashion16 (manifest ...)
           G: function preserved: largest difference ... of 1.0e+00 on 8 probes
           D: function preserved: largest difference ... of 1.2e+00 on 16 probes
           by gan_jax ..., jax ..., flax ...
    <BLANKLINE>
    g_ema/params/to_rgb/bias
      2  copy <- g_ema/params/to_rgb/bias @...
      1  trained from fresh values as g/params/to_rgb/bias, of which this is the moving average
    >>> print(gan_jax.diff("embedded:fashion16", "wide", "g_ema/params/to_rgb/*"))
    leaf                        is                         A                  B                  max |a-b|  / max |a|
    --------------------------  -------------------------  -----------------  -----------------  ---------  ---------
    g_ema/params/to_rgb/kernel  of another shape or dtype  float32[1,1,24,1]  float32[1,1,26,1]
    2 leaves: 1 of another shape or dtype, 1 equal

`print(wide.plan)` is the plan, `wide.measured` how far the function moved, `wide.model.sample(0, 64)` images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import jax

from gan_jax.config import (
    NETS,
    Config,
    ConfigError,
    LayoutTask,
    LossConfig,
    NetConfig,
    PairedTask,
    TrainConfig,
    TransplantConfig,
    net_to_dict,
)
from gan_jax.config.checks import part_problems
from gan_jax.interop import WeightsError
from gan_jax.interop.source import Source
from gan_jax.nets import NamedNets, Networks, Pair, build
from gan_jax.nets.build import net_like
from gan_jax.nets.fronts import with_front
from gan_jax.random_streams import network_key
from gan_jax.roots import is_reversed, is_shared, network_of, origin_in, origins, pair_part
from gan_jax.seeds import root_key
from gan_jax.surgery import Action, Difference, Plan, PlanError, Report, make_plan, measure_pair, pair_notes, pair_rules
from gan_jax.surgery import transplant as carry_out
from gan_jax.surgery.families.layout import families_with, part_of
from gan_jax.surgery.families.notes import with_notes
from gan_jax.surgery.measure import measure_translators
from gan_jax.surgery.ops.width import Width
from gan_jax.surgery.provenance import Step, history_of, transplant_step
from gan_jax.surgery.transplant import reads_fresh
from gan_jax.tasks.model import Model, names_of, save
from gan_jax.train.checkpoint.manager import CheckpointError
from gan_jax.train.state import Variables
from gan_jax.transfer.source import ENCODER, FeatureSource, open_source
from gan_jax.trees import Rule, count, did_you_mean, flatten, match, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Fresh values of a pair's variables: all, or only those that a plan reads.


def fresh_variables(networks: Networks, seed: int) -> dict[str, Variables]:
    """Draws fresh variables of all networks from a seed, `{"g": variables, "d": variables}` of a pair."""
    return {name: jax.jit(net.init)(_key(seed, name)) for name, net in networks.nets.items()}


def fresh_leaves(networks: Networks, seed: int, paths: Collection[str]) -> dict[str, Any]:
    """Draws some of these leaves by path, `{"g_ema/params/stem/kernel": array}`; no other leaf is computed."""
    leaves: dict[str, Any] = {}
    for root in dict.fromkeys(path.partition("/")[0] for path in paths):
        tails = tuple(path.partition("/")[2] for path in paths if path.startswith(f"{root}/"))
        name = network_of(root)
        values = jax.jit(_some, static_argnums=(0, 1))(networks.nets[name].init, tails, _key(seed, name))
        leaves |= {f"{root}/{tail}": value for tail, value in zip(tails, values)}
    return leaves


def _some(init: Any, tails: tuple[str, ...], key: jax.Array) -> list[jax.Array]:
    flat = flatten(init(key))
    return [flat[tail] for tail in tails]  # the compiler drops the computation of all others


def _key(seed: int, network: str) -> jax.Array:
    return jax.random.fold_in(root_key(seed), network_key(network))


# ----------------------------------------------------------------------------------------------------------------------
# Transplants: plan, fill, measure, record.

LACKING = {  # root that a source lacks -> the remedy
    "d": "discriminator; take the generator alone, beside a fresh D that trains by itself at first: "
    "--transfer.networks g --transfer.d-warmup-kimg 1",
    "g_ema": "generator (g_ema); take the discriminator alone: --transfer.networks d",
}


@dataclasses.dataclass(frozen=True)
class TransplantResult:
    """The result of a transplant. Unpacks as `variables, plan, report`.

    Attributes:
      net: configuration of the networks.
      variables: `{"g_ema": .., "d": ..}`, the roots that the plan fills.
      plan: of the transplant.
      report: of each leaf.
      measured: differences of the functions of `g` and `d` from the source's, on probes; text = why there are none.
      history: of the source, and this step.
      about: entries of the source's manifest that hold for the new weights too: licence, names of classes.
    """

    net: NetConfig
    variables: dict[str, Any]
    plan: Plan
    report: Report
    measured: dict[str, Difference] | str
    history: list[Step]
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        """Yields variables, plan and report."""
        return iter((self.variables, self.plan, self.report))

    @property
    def manifest(self) -> dict[str, Any]:
        """Manifest entries of these weights apart from their networks, JSON values."""
        parameters = count({root: tree["params"] for root, tree in self.variables.items()})
        return {"licence": self.about.get("licence"), "parameters": parameters, "history": self.history} | self.about

    @property
    def model(self) -> Model:
        """The new pair, to be sampled or transplanted again."""
        return Model(self.net, self.variables, {"net": net_to_dict(self.net), **self.manifest}, "a transplant")

    def save(self, out: str | Path) -> Path:
        """Writes weights with their history into a folder, which `gan_jax.load` reads; returns the folder."""
        return save(out, self.net, self.variables, self.manifest)


def plan_weights(
    source: Source,
    net: NetConfig,
    target: dict[str, Any],
    policies: TransplantConfig,
    *,
    frozen: Sequence[str] = (),
    fresh: Sequence[str] = (),
) -> Plan:
    """Plans the transplant from a source to the specs of `{"g" or "g_ema": .., "d": ..}`, either or both; reads no weights.

    G comes from the source's moving average. Networks of the source that `target` lacks are not in the plan.

    Args:
      source: the pretrained networks.
      net: configuration of the networks to fill.
      target: their specs.
      policies: treatment of leaves that do not fit. Casts of floats to another width are notes of the plan.
      frozen: patterns over target paths that will not be trained; the table shows them.
      fresh: patterns over target paths that stay fresh; their counterparts in the source may be unused.

    Raises:
      PlanError: the source lacks a network; leaves cannot be taken, with a line for each; the source's G has a front and
        `unused` is `error`.
    """
    if policies.classes is not None and not (getattr(net, "num_classes", 0) or getattr(net, "num_labels", 0)):
        raise PlanError("classes says where each class starts from, and the new networks have none: set num_classes")
    source.check(whole=False)
    chosen = {root: _origin(root, source) for root in target}
    if isinstance(source, FeatureSource) and not (net.translates and part_of(net, "roles")):
        known = ", ".join(name for name in families_with("roles") if NETS[name].translates)
        raise PlanError(f"{source.name} fills the encoder of networks from images to images: use one of {known} (net)")
    left_fresh = _fresh_helpers(target, source) if policies.missing == "init" else {}
    chosen = {root: origin for root, origin in chosen.items() if root not in left_fresh}
    if lacking := [root for root, origin in chosen.items() if origin is None]:
        first = origins(lacking[0])[0]
        raise PlanError(f"{source.name} holds no {LACKING.get(first, f'network {first}')}")
    roots = {root: origin for root, origin in chosen.items() if origin is not None}
    if "front" in source.manifest and "g_ema" in roots.values() and policies.unused == "error":
        raise PlanError(
            f"{source.name} carries a {source.manifest['front']['kind']} before its G, which is no part of G's own leaves "
            "and has no place in other networks: without it G makes images of its whole latent space again. "
            "To take G alone, allow that: unused='drop'"
        )
    specs = {root: tree for root, tree in source.specs.items() if root in roots.values()}
    widths: dict[str, Width] = {
        root: policies.d_width if root == "d" and policies.d_width else policies.width for root in target
    }
    rules = pair_rules(
        net,
        source.net,
        {root: tree for root, tree in target.items() if pair_part(root)},
        specs,
        roots=roots,
        width=widths,
        narrow=policies.narrow,
        classes=policies.classes,
        first=[Rule(pattern, Action("init")) for pattern in fresh],
    )
    helpers = [root for root in target if pair_part(root) is None]
    rules = [*rules, *(Rule(f"{root}/**", Action("init" if root in left_fresh else "fit")) for root in helpers)]
    notes = pair_notes(net, source.net)
    if fresh:
        specs = {origin: _without(specs[origin], root, fresh) for root, origin in roots.items()}
    casts = floats_to_cast(specs, target) if policies.dtype == "cast" else None
    plan = make_plan(
        target,
        specs,
        rules,
        missing=policies.missing,
        unused=policies.unused,
        shape=policies.shape,
        dtype="cast" if casts else "error",
        frozen=frozen,
        notes=notes,
    )
    plan = plan if notes else with_notes(plan)
    more = (*left_fresh.values(), *([] if casts is None else [casts]))
    return dataclasses.replace(plan, notes=(*plan.notes, *more)) if more else plan


def _fresh_helpers(target: dict[str, Any], source: Source) -> dict[str, str]:
    """Networks beside generators and discriminators that are fresh, such as `f`, and why: `{"f": sentence}`.

    They read features of other networks, and are of use only to those that have exactly these.
    """
    reasons = {}
    for root in (root for root in target if pair_part(root) is None):
        shapes = lambda tree: {path: tuple(leaf.shape) for path, leaf in flatten(tree).items()}
        if root not in source.specs:
            reasons[root] = f"{root}: fresh, since {source.name} has none"
        elif shapes(source.specs[root]) != shapes(target[root]):
            reasons[root] = f"{root}: fresh, since that of {source.name} reads features of other shapes"
    return reasons


def _origin(root: str, source: Source) -> str | None:
    """The root of a source from which a network is filled: that of a feature network for generators; None = none."""
    if isinstance(source, FeatureSource):
        return ENCODER if pair_part(root) == "g" else None
    return origin_in(root, source.specs)


def floats_to_cast(source: dict[str, Any], target: dict[str, Any]) -> str | None:
    """A message about leaves of a source whose floats have another width than the target's; None where none have."""
    is_float = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
    widths = {str(leaf.dtype) for leaf in flatten(target).values() if is_float(leaf)}
    other = [str(leaf.dtype) for leaf in flatten(source).values() if is_float(leaf) and str(leaf.dtype) not in widths]
    if not other:
        return None
    kinds = " and ".join(dict.fromkeys(other))
    return f"{len(other)} leaves of the source are {kinds}, and are cast to {' and '.join(sorted(widths))}"


def _without(tree: dict[str, Any], root: str, patterns: Sequence[str]) -> dict[str, Any]:
    """The leaves of a network that no pattern over `root/..` covers."""
    covered = lambda path: any(match(pattern, f"{root}/{path}") for pattern in patterns)
    return unflatten({path: leaf for path, leaf in flatten(tree).items() if not covered(path)})


def fill(
    source: Source, plan: Plan, networks: Networks, target: dict[str, Any], *, seed: int, probes: int = 8
) -> TransplantResult:
    """Carries out a plan with one leaf in memory beside the result, and measures the change of the functions.

    Args:
      source: of the plan; whole networks are read to measure.
      plan: of `plan_weights`.
      networks: to fill.
      target: specs of the plan; a leaf with a sharding is placed there, others stay on the host.
      seed: of fresh values; only those that the plan reads are drawn.
      probes: number of latents, or of images to translate, to measure with; 0 = do not measure.
    """
    fresh = fresh_leaves(networks, seed, [entry.target for entry in plan.entries if reads_fresh(entry)])
    variables, report = carry_out(plan, source.take, target, init=fresh.pop, digests=source.digests)
    measured = _measure(source, networks, variables, probes)
    origin = {"name": source.name, "digest": source.digest}
    step = transplant_step(plan, report, origin, seed=seed, measured=measured)
    return TransplantResult(networks.config, variables, plan, report, measured, [*history_of(source.manifest), step])


def measured_lines(measured: dict[str, Difference] | str) -> list[str]:
    """Lines `G: function preserved: largest difference ..`, one for each network."""
    if isinstance(measured, str):
        return [f"function {measured}"]
    return [f"{name.upper()}: function {difference}" for name, difference in measured.items()]


def transplant(
    source: str | Path | Model,
    net: NetConfig,
    policies: TransplantConfig | None = None,
    *,
    checkpoint: int | None = None,
    seed: int = 0,
    probes: int = 8,
    **options: Any,
) -> TransplantResult:
    """Moves pretrained weights into another architecture, in memory.

        variables, plan, report = gan_jax.transplant("embedded:fashion16", gan_jax.ResNetConfig(resolution=32))

    Args:
      source: a weights folder, a run or checkpoint folder, `embedded:NAME`, `features:NAME` (a feature network, for the
        encoder of a translator), or a model that `gan_jax.load` gave.
      net: configuration of the networks to fill.
      policies: treatment of leaves that do not fit; None = `TransplantConfig()`.
      checkpoint: images of a run's checkpoint.
      seed: of fresh values.
      probes: number of latents to measure the functions with; 0 = do not measure.
      **options: fields of `TransplantConfig`, which win over `policies`: `unused="drop"`.

    Returns:
      variables `{"g_ema": .., "d": ..}` of the networks that the source holds, NumPy leaves; the plan, the report,
      measured differences, the history.

    Raises:
      ConfigError: networks that cannot be built, or a policy that does not exist.
      PlanError: leaves cannot be taken; a line for each, with the option that would allow it.
      WeightsError, CheckpointError: something in the source is missing, damaged or foreign.
    """
    policies = _policies(policies, options)
    check_net(net)
    opened = open_source(source, checkpoint)
    pair: Networks = build(net)
    specs = {"g_ema": pair.g.specs, "d": pair.d.specs}
    if net.translates and any(is_reversed(root) for root in opened.specs):  # both directions
        of_both = {root: like for root in opened.specs if (like := net_like(pair, root)) is not None}
        pair = NamedNets({network_of(root): like for root, like in of_both.items()}, config=net)
        specs = {root: like.specs for root, like in of_both.items() if is_shared(root)}
    target = {root: make() for root, make in specs.items() if _origin(root, opened)}
    if not target:
        raise WeightsError(f"{opened.name} holds neither a generator (g_ema) nor a discriminator (d)")
    plan = plan_weights(opened, net, target, policies)
    about = {"licence": opened.manifest.get("licence")}
    if policies.classes is None and net.num_classes == opened.manifest["net"].get("num_classes", 0):
        about |= names_of(opened.manifest)
    return dataclasses.replace(fill(opened, plan, pair, target, seed=seed, probes=probes), about=about)


def transplant_weights(
    source: str | Path | Model,
    net: NetConfig,
    out: str | Path,
    policies: TransplantConfig | None = None,
    **options: Any,
) -> TransplantResult:
    """Moves weights into another architecture and writes the result, with its history in the manifest.

    Args:
      source: as of `transplant`.
      net: configuration of the networks to fill.
      out: folder to write to.
      policies: treatment of leaves that do not fit.
      **options: as of `transplant`.
    """
    result = transplant(source, net, policies, **options)
    result.save(out)
    return result


def check_net(net: NetConfig) -> None:
    """Checks that networks can be built, for weights that are not trained.

    Raises:
      ConfigError: they cannot; says what to change.
    """
    if not isinstance(net, get_args(NetConfig)):
        kinds = ", ".join(kind.__name__ for kind in get_args(NetConfig))
        raise ConfigError(f"net is of the type {type(net).__name__}; use the configuration of networks, one of {kinds}")
    group = (
        net.compared
    )  # nothing trains: any batch that falls into groups, and any task and loss that suit the networks
    config = Config(net=net, train=TrainConfig(batch=group or 1))
    if net.translates:
        task = LayoutTask() if hasattr(net, "num_labels") else PairedTask()
        config = dataclasses.replace(config, task=task, loss=LossConfig("least_squares"))
    config.validate()


def _policies(policies: TransplantConfig | None, options: dict[str, Any]) -> TransplantConfig:
    """Replaces some policies by options; raises ConfigError for an unknown name or a wrong value."""
    names = [field.name for field in dataclasses.fields(TransplantConfig)]
    if unknown := [name for name in options if name not in names]:
        near = did_you_mean(unknown[0], names)
        raise ConfigError(f"a transplant has no option {unknown[0]!r}{near}; its policies are {', '.join(names)}")
    if policies is not None and not isinstance(policies, TransplantConfig):
        raise ConfigError(
            f"policies is of the type {type(policies).__name__}; use a TransplantConfig, or keyword arguments"
        )
    policies = dataclasses.replace(policies or TransplantConfig(), **options)
    plain = {name: getattr(policies, name) for name in names if name != "classes"}  # classes have checks of their own
    if wrong := next(part_problems("TransplantConfig", TransplantConfig(**plain)), None):
        raise ConfigError(wrong)
    return policies


def _measure(source: Source, networks: Networks, variables: dict[str, Any], probes: int) -> dict[str, Difference] | str:
    if not probes:
        return "not measured: no probes were asked for"
    if isinstance(source, FeatureSource):
        return "not measured: a feature network makes no images"
    if source.net.translates != networks.config.translates:
        return "not measured: networks of latents and networks of images have no common probes"
    new = {network_of(root): tree for root, tree in variables.items()}
    try:  # whole networks, with leaves that the plan does not take
        roots = {network_of(root): origin_in(root, source.specs) or root for root in variables}
        paths = {name: [p for p in flatten(source.specs) if p.startswith(f"{root}/")] for name, root in roots.items()}
        old = {name: source.load(paths[name])[root] for name, root in roots.items()}
    except (WeightsError, CheckpointError) as error:
        return f"not measured: {error}"
    before = with_front(build(source.net), source.manifest.get("front"))
    if not isinstance(networks, Pair):
        return measure_translators(before, old, roots, networks, new, jax.random.key(0), probes)
    return measure_pair(before, old, networks, new, jax.random.key(0), probes)
