"""Methods combined: LoRA with EWC, Freeze-D with CDC, a fusion and a term that preserves it.

`chain(a, b)` is one method. A leaf is trained where both train it; terms are added; hooks run in the order of the methods;
preparations too, so the constants of `b` are of the networks that `a` prepared. Each method reads its own constants, the
leaves `kept/NAME/..` of the state. Two methods that need the same place are refused by name.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from gan_jax.config import ConfigError
from gan_jax.random_streams import CHAIN_KEY
from gan_jax.train.context import StepContext
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.train.state import GanState, Networks
from gan_jax.transfer.method import Graft, Method
from gan_jax.transfer.preparation import PrepareContext, PreparedState

SINGLE = {  # hook that only one method of a chain can have -> what two methods would both do
    "transform": "choose the latents or the images of a batch",
    "logits_fn": "choose the logits of the adversarial loss",
    "sharding": "cut leaves over devices",
}


def chain(*methods: Method) -> Method:
    """Combines several methods into one.

    Raises:
      ConfigError: there is no method, or two exclude each other; names both and the conflict.
    """
    if not methods:
        raise ConfigError("a chain needs at least one method")
    if len(methods) == 1:
        return methods[0]
    named = {method.name or f"method{i}": method for i, method in enumerate(methods, 1)}
    if len(named) < len(methods):
        names = [method.name for method in methods]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{twice} is in a chain twice; name each method once")
    _check(named)
    networks = dict.fromkeys(network for method in methods for network in method.grafts)
    return _Chain(
        name="+".join(named),
        starts=tuple(dict.fromkeys(network for method in methods for network in method.starts)),
        fresh=tuple(pattern for method in methods for pattern in method.fresh),
        frozen=tuple(pattern for method in methods for pattern in method.frozen),
        grafts={network: _joined_graft(named, network) for network in networks},
        constants=lambda nets: {name: method.constants(nets) for name, method in named.items()},
        prepare=functools.partial(_prepare, named) if any(m.prepare for m in methods) else None,
        extension=_joined_extension(named),
        changes_source=any(method.changes_source for method in methods),
        parts=tuple(methods),
    )


@dataclasses.dataclass(frozen=True)
class _Chain(Method):
    """A chain of methods; a leaf is trained where every part trains it."""

    parts: tuple[Method, ...] = ()

    def trains(self, network: str) -> Callable[[str], bool]:
        graft = self.grafts.get(network, Graft())
        rules = [part.trains(network) for part in self.parts]

        def trained(path: str) -> bool:
            of_graft = graft.trains(path)
            return of_graft if of_graft is not None else all(trains(path) for trains in rules)

        return trained


def _check(named: dict[str, Method]) -> None:
    for (a, first), (b, second) in itertools.combinations(named.items(), 2):
        for reason in _conflicts(first, second):
            raise ConfigError(f"{a} and {b} cannot be combined: {reason}")


def _conflicts(first: Method, second: Method) -> Iterator[str]:
    for network in first.grafts.keys() & second.grafts.keys():
        a, b = first.grafts[network], second.grafts[network]
        if a.adapter is not None and b.adapter is not None:
            yield f"both adapt the leaves of {network}"
        if a.front is not None and b.front is not None:
            yield f"both put something before {network}"
        if shared := a.branches.keys() & b.branches.keys():
            yield f"both add {min(shared)} to {network}"
    for hook, deed in SINGLE.items():
        if all(getattr(method.extension, hook) is not getattr(NO_EXTENSION, hook) for method in (first, second)):
            yield f"both {deed}"
    names = {term.name for term in first.extension.regularisers}
    if shared := names & {term.name for term in second.extension.regularisers}:
        yield f"both have a term {min(shared)}"
    if first.changes_source and second.changes_source:
        yield "both choose or make the G that training begins with"
    for method, other in ((first, second), (second, first)):
        if not method.extension.adversarial and (asks := _asks_d(other.extension)):
            yield f"one has no adversarial loss, so that D is never asked, and the other {asks}"


def _asks_d(extension: Extension) -> str | None:
    """How an extension uses D in the step, in words; None = it does not."""
    if any(term.network.startswith("d") for term in extension.regularisers):  # d, d_a, d_b
        return "has a term of D"
    if extension.logits_fn is not NO_EXTENSION.logits_fn or extension.capture:
        return "looks inside D"
    return None


def _joined_graft(named: dict[str, Method], network: str) -> Graft:
    grafts = [method.grafts[network] for method in named.values() if network in method.grafts]
    return Graft(
        adapter=next((graft.adapter for graft in grafts if graft.adapter is not None), None),
        branches={name: init for graft in grafts for name, init in graft.branches.items()},
        front=next((graft.front for graft in grafts if graft.front is not None), None),
    )


def _prepare(
    named: dict[str, Method], context: PrepareContext, nets: Networks, constants: dict[str, Any]
) -> PreparedState:
    """Runs the preparations one after the other, each on the networks of the one before."""
    total = PreparedState(nets, {})
    for i, (name, method) in enumerate(named.items()):
        own_constants = constants[name] if i == 0 else method.constants(total.nets)
        result = PreparedState(total.nets, own_constants)
        if method.prepare is not None:
            later = context if i == 0 else context.replace(key=jax.random.fold_in(context.key, CHAIN_KEY + i))
            result = method.prepare(later, total.nets, own_constants)
        total = PreparedState(
            result.nets,
            {**total.constants, name: result.constants},
            total.images + result.images,
            total.history if result.history is None else result.history,
            total.record | result.record,
            (*total.notes, *result.notes),
        )
    return total


def _joined_extension(named: dict[str, Method]) -> Extension:
    parts = [(name, method.extension) for name, method in named.items()]

    def changed(hook: str) -> Named:
        """The methods that override a hook."""
        return [(n, e) for n, e in parts if getattr(e, hook) is not getattr(NO_EXTENSION, hook)]

    def only(hook: str) -> Any:
        return next((_scoped(name, getattr(e, hook)) for name, e in changed(hook)), getattr(NO_EXTENSION, hook))

    return Extension(
        regularisers=tuple(_scoped_term(name, term) for name, e in parts for term in e.regularisers),
        transform=_joined_transform(changed("transform")),
        capture=tuple(dict.fromkeys(path for _, e in parts for path in e.capture)),
        logits_fn=only("logits_fn"),
        weight=_joined_weight(changed("weight")) if changed("weight") else NO_EXTENSION.weight,
        post_update=_joined_post_update(changed("post_update")) if changed("post_update") else None,
        post_step=_joined_post_step(changed("post_step")) if changed("post_step") else None,
        metrics=_joined_metrics(changed("metrics")) if changed("metrics") else NO_EXTENSION.metrics,
        adversarial=all(e.adversarial for _, e in parts),
        init_extras=lambda nets: _union([(name, e.init_extras(nets)) for name, e in parts]),
        sharding=next((e.sharding for _, e in changed("sharding")), None),
    )


Named = Sequence[tuple[str, Extension]]


def _scoped_state(name: str, state: GanState) -> GanState:
    """The state with the constants of one method."""
    return state.replace(constants=state.constants[name])


def _own_constants(name: str, ctx: StepContext) -> StepContext:
    """The context with the constants of one method."""
    return ctx.replace(constants=ctx.constants[name])


def _scoped(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook `(ctx, ...)` that sees its method's constants."""

    def scoped(ctx: StepContext, *args: Any) -> Any:
        return hook(_own_constants(name, ctx), *args)

    return scoped


def _scoped_term(name: str, term: Regulariser) -> Regulariser:
    return dataclasses.replace(term, value=_scoped(name, term.value))


def _joined_transform(parts: Named) -> Callable[[StepContext], StepContext]:
    if not parts:
        return NO_EXTENSION.transform
    ((name, extension),) = parts

    def transform(ctx: StepContext) -> StepContext:
        return extension.transform(_own_constants(name, ctx)).replace(constants=ctx.constants)

    return transform


def _joined_weight(parts: Named) -> Callable[[StepContext, str], jax.Array | float]:
    def weight(ctx: StepContext, network: str) -> jax.Array | float:
        product: jax.Array | float = 1.0
        for name, extension in parts:
            product = product * extension.weight(_own_constants(name, ctx), network)
        return product

    return weight


def _joined_post_update(parts: Named) -> Callable[..., Any]:
    def post_update(ctx: StepContext, network: str, before: Any, after: Any) -> Any:
        for name, extension in parts:
            assert extension.post_update is not None
            after = extension.post_update(_own_constants(name, ctx), network, before, after)
        return after

    return post_update


def _joined_post_step(parts: Named) -> Callable[..., GanState]:
    def post_step(before: GanState, state: GanState, ctx: StepContext) -> GanState:
        for name, extension in parts:
            assert extension.post_step is not None
            state = extension.post_step(
                _scoped_state(name, before), _scoped_state(name, state), _own_constants(name, ctx)
            )
            state = state.replace(constants=before.constants)
        return state

    return post_step


def _joined_metrics(parts: Named) -> Callable[[GanState], dict[str, jax.Array]]:
    def metrics(state: GanState) -> dict[str, jax.Array]:
        return {key: value for name, e in parts for key, value in e.metrics(_scoped_state(name, state)).items()}

    return metrics


def _union(parts: Sequence[tuple[str, Extras]]) -> Extras:
    extras: Extras = {}
    for name, values in parts:
        if shared := extras.keys() & values.keys():
            raise ConfigError(f"{name} and another method of the chain both keep a running value {min(shared)}")
        extras |= values
    return extras
