"""A traced function as a flat list of operations, with everything that does not depend on its inputs computed.

What is left of a generator is small: weights that were scaled, normalised, turned or cut are constants by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

CALLS = {  # operations that only wrap others, and the parameter that holds them
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}
LARGE = 1 << 16  # values of a constant that is broadcast only where it is used


class Reference(NamedTuple):
    """A value that is not known before the inputs are: its number, shape (sizes may be symbolic) and dtype."""

    number: int
    shape: tuple[Any, ...]
    dtype: Any


class Operation(NamedTuple):
    """One primitive of JAX; inputs are numpy arrays or references."""

    primitive: str
    params: dict[str, Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Reference, ...]


class Program(NamedTuple):
    """Operations in their order."""

    inputs: tuple[Reference, ...]
    operations: tuple[Operation, ...]
    output: Any  # a reference, or an array


class _Step(NamedTuple):
    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Reference, ...]


class _Tracer:
    """Inlines calls; every variable becomes a reference with a number of its own."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.count = 0

    def reference(self, aval: Any) -> Reference:
        self.count += 1
        return Reference(self.count, tuple(aval.shape), aval.dtype)

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Adds the steps of a jaxpr; returns its outputs."""
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))
        read = lambda atom: np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]
        for equation in jaxpr.eqns:
            operands = [read(atom) for atom in equation.invars]
            if equation.primitive.name == "concatenate":  # parts without values: edges that were padded by nothing
                operands = [x for x in operands if 0 not in x.shape] or operands[:1]
            if inner := equation.params.get(CALLS.get(equation.primitive.name, "")):
                closed = hasattr(inner, "consts")
                results = self.run(inner.jaxpr if closed else inner, inner.consts if closed else (), operands)
            else:
                results = [self.reference(var.aval) for var in equation.outvars]
                self.steps.append(_Step(equation.primitive, equation.params, tuple(operands), tuple(results)))
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def trace(function: Callable[..., Any], specs: Sequence[jax.ShapeDtypeStruct]) -> Program:
    """Traces `function(*inputs) -> array`; what its inputs do not change is computed."""
    with jax.default_matmul_precision("highest"):
        closed = jax.make_jaxpr(function)(*specs)
    tracer = _Tracer()
    inputs = tuple(tracer.reference(var.aval) for var in closed.jaxpr.invars)
    [output] = tracer.run(closed.jaxpr, closed.consts, inputs)
    constant_steps, input_steps = _divide(tracer.steps, inputs)
    needed = {x.number for step in input_steps for x in step.inputs if isinstance(x, Reference)}
    needed |= {output.number} if isinstance(output, Reference) else set()
    values = _compute(constant_steps, needed)
    value = lambda x: values.get(x.number, x) if isinstance(x, Reference) else np.asarray(x)
    operations = tuple(
        Operation(step.primitive.name, step.params, tuple(map(value, step.inputs)), step.outputs)
        for step in _needed(input_steps, output)
    )
    return Program(inputs, operations, value(output))


def _divide(steps: Sequence[_Step], inputs: Sequence[Reference]) -> tuple[list[_Step], list[_Step]]:
    """Steps that depend on no input, and the others."""
    depends = {x.number for x in inputs}
    constant_steps, input_steps = [], []
    for step in steps:
        open_ = any(isinstance(x, Reference) and x.number in depends for x in step.inputs)
        if open_ or not all(_computable(step, out) for out in step.outputs):
            depends |= {out.number for out in step.outputs}
            input_steps.append(step)
        else:
            constant_steps.append(step)
    return constant_steps, input_steps


def _computable(step: _Step, out: Reference) -> bool:
    """Whether sizes are numbers, and the values not merely many copies of the same."""
    if step.primitive.name == "dim_as_value" or not all(isinstance(size, int) for size in out.shape):
        return False
    spread = step.primitive.name in ("broadcast_in_dim", "iota")
    return not spread or int(np.prod(out.shape)) <= max(LARGE, *(int(np.prod(x.shape)) for x in step.inputs), 1)


def _compute(steps: Sequence[_Step], needed: set[int]) -> dict[int, np.ndarray]:
    """The values of the references in `needed` that the steps make, in one compilation."""
    constants = {id(x): x for step in steps for x in step.inputs if not isinstance(x, Reference)}
    computed = {out.number for step in steps for out in step.outputs} & needed
    if not computed:
        return {}

    def run(arguments: dict[int, Any]) -> dict[int, Any]:
        values: dict[int, Any] = {}
        for step in steps:
            inputs = [values[x.number] if isinstance(x, Reference) else arguments[id(x)] for x in step.inputs]
            out = step.primitive.bind(*inputs, **step.params)
            outputs = out if step.primitive.multiple_results else [out]
            values.update(zip((output.number for output in step.outputs), outputs, strict=True))
        return {number: values[number] for number in computed}

    return {number: np.asarray(value) for number, value in jax.jit(run)(constants).items()}


def _needed(steps: Sequence[_Step], output: Any) -> list[_Step]:
    """The steps on which the output depends."""
    needed, needed_steps = {output.number} if isinstance(output, Reference) else set(), []
    for step in reversed(steps):
        if any(out.number in needed for out in step.outputs):
            needed_steps.append(step)
            needed |= {x.number for x in step.inputs if isinstance(x, Reference)}
    return needed_steps[::-1]
