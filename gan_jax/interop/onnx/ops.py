"""JAX's primitives as ONNX nodes: those that generators are made of, each by the few operators that all runtimes have.

Padding, dilation and broadcasting are written out, so that no runtime has to know a rare form of an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gan_jax.interop.onnx.graph import Graph, GraphError, Tensor
from gan_jax.interop.onnx.trace import Operation, Reference

Write = Callable[[Graph, Operation, "list[Tensor]"], Tensor]
END = np.iinfo(np.int64).max
START = np.iinfo(np.int64).min


def write(graph: Graph, operation: Operation, values: dict[int, Tensor]) -> None:
    """Adds the nodes of an operation; `values` gains its outputs.

    Raises:
      GraphError: the operation is not known here, or not in this form.
    """
    name = operation.primitive
    inputs = [values[x.number] if isinstance(x, Reference) else graph.tensor(x) for x in operation.inputs]
    if name == "split":
        outputs = _split(graph, operation, inputs)
    elif name in OPERATIONS:
        outputs = [OPERATIONS[name](graph, operation, inputs)]
    else:
        raise GraphError(f"the operation {name!r}")
    for reference, output in zip(operation.outputs, outputs, strict=True):
        values[reference.number] = output


# -- by element --------------------------------------------------------------------------------


def _result(operation: Operation, inputs: Sequence[Tensor], name: str) -> Tensor:
    """The output of an operation by element: laid out as far as its inputs are."""
    out = operation.outputs[0]
    laid: list[Any] = [1] * len(out.shape)
    for tensor in inputs:
        for axis, size in enumerate(tensor.laid):
            if not (isinstance(size, int) and size == 1):
                laid[axis + len(out.shape) - len(tensor.laid)] = size
    # the rank in the graph is the largest of the inputs': a scalar's where all of them are scalars
    rank = max((len(tensor.laid) for tensor in inputs), default=0)
    if rank != len(out.shape):
        raise GraphError(f"{operation.primitive} of ranks that differ")
    return Tensor(name, out.shape, tuple(laid), out.dtype)


def _by_element(kind: str) -> Write:
    return lambda graph, op, x: _result(op, x, graph.node(kind, *(tensor.name for tensor in x)))


def _same(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    return x[0]._replace(dtype=op.outputs[0].dtype)


def _square(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    return _result(op, x, graph.node("Mul", x[0].name, x[0].name))


def _rsqrt(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    return _result(op, x, graph.node("Reciprocal", graph.node("Sqrt", x[0].name)))


def _integer_pow(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    if op.params["y"] == 2:
        return _square(graph, op, x)
    return _result(op, x, graph.node("Pow", x[0].name, graph.constant(np.asarray(op.params["y"], x[0].dtype))))


def _not_equal(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    return _result(op, x, graph.node("Not", graph.node("Equal", x[0].name, x[1].name)))


def _clamp(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    low, value, high = (tensor.name for tensor in x)
    return _result(op, x, graph.node("Min", graph.node("Max", value, low), high))


def _select(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    if len(x) != 3 or x[0].dtype != np.bool_:
        raise GraphError("a selection among more than two")
    return _result(op, x, graph.node("Where", x[0].name, x[2].name, x[1].name))


def _convert(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    new = np.dtype(op.outputs[0].dtype)
    if new == x[0].dtype:
        return x[0]
    kind = graph.onnx.helper.np_dtype_to_tensor_dtype(new)
    return x[0]._replace(name=graph.node("Cast", x[0].name, to=kind), dtype=new)


# -- shapes ------------------------------------------------------------------------------------


def _broadcast(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    out, axes = op.outputs[0], op.params["broadcast_dimensions"]
    laid: list[Any] = [1] * len(out.shape)
    for size, axis in zip(x[0].laid, axes, strict=True):
        laid[axis] = size
    name = x[0].name if tuple(laid) == x[0].laid else graph.reshaped(x[0].name, laid)
    return Tensor(name, out.shape, tuple(laid), out.dtype)


def _reshape(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    if op.params.get("dimensions") is not None:
        raise GraphError("a reshape that turns axes")
    return _output(op, graph.reshaped(graph.full(x[0]).name, op.outputs[0].shape))


def _squeeze(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    axes = [axis % len(x[0].shape) for axis in op.params["dimensions"]]
    laid = tuple(size for axis, size in enumerate(x[0].laid) if axis not in axes)
    return Tensor(graph.node("Squeeze", x[0].name, graph.whole(axes)), op.outputs[0].shape, laid, x[0].dtype)


def _transpose(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    order = op.params["permutation"]
    laid = tuple(x[0].laid[axis] for axis in order)
    return Tensor(graph.node("Transpose", x[0].name, perm=list(order)), op.outputs[0].shape, laid, x[0].dtype)


def _output(op: Operation, name: str) -> Tensor:
    """The output of an operation that lays out everything."""
    out = op.outputs[0]
    return Tensor(name, out.shape, out.shape, out.dtype)


def _concatenate(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    return _output(op, graph.node("Concat", *(graph.full(tensor).name for tensor in x), axis=op.params["dimension"]))


def _stack(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    axis = op.params["axis"]
    each = [graph.node("Unsqueeze", graph.full(tensor).name, graph.whole([axis])) for tensor in x]
    return _output(op, graph.node("Concat", *each, axis=axis))


def cut(graph: Graph, name: str, ranges: dict[int, tuple[int, int, int]]) -> str:
    """A part along some axes: `{axis: (start, end, step)}`."""
    if not ranges:
        return name
    starts, ends, steps = zip(*ranges.values(), strict=True)
    return graph.node("Slice", name, *map(graph.whole, (starts, ends, list(ranges), steps)))


def _slice(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    begin, end = op.params["start_indices"], op.params["limit_indices"]
    steps = op.params["strides"] or [1] * len(begin)
    return _output(op, _part(graph, graph.full(x[0]), begin, end, steps))


def _part(graph: Graph, x: Tensor, begin: Sequence[Any], end: Sequence[Any], steps: Sequence[int]) -> str:
    ranges = {}
    for axis, (a, b, step, size) in enumerate(zip(begin, end, steps, x.shape, strict=True)):
        if (isinstance(a, int) and a == 0) and b == size and step == 1:
            continue
        if not isinstance(a, int) or not (isinstance(b, int) or b == size):
            raise GraphError(f"a part from {a} to {b}")
        ranges[axis] = (a, b if isinstance(b, int) else END, step)
    return cut(graph, x.name, ranges)


def _reverse(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    return _output(op, cut(graph, graph.full(x[0]).name, dict.fromkeys(op.params["dimensions"], (-1, START, -1))))


def _split(graph: Graph, op: Operation, inputs: list[Tensor]) -> list[Tensor]:
    x, axis, at, out = graph.full(inputs[0]), op.params["axis"], 0, []
    for reference, size in zip(op.outputs, op.params["sizes"], strict=True):
        out.append(Tensor(cut(graph, x.name, {axis: (at, at + size, 1)}), reference.shape, reference.shape, x.dtype))
        at += size
    return out


def _pad(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    value, config = x[1], op.params["padding_config"]
    if value.shape:
        raise GraphError("padding with more than one value")
    full = graph.full(x[0])
    return _output(op, padded(graph, full.name, full.shape, config, value.name))


def padded(graph: Graph, name: str, shape: Sequence[Any], config: Sequence[tuple[int, int, int]], value: str) -> str:
    """Pads each axis by (before, after, between); negative numbers cut."""
    for axis, (_, _, between) in enumerate(config):
        if between:
            name = _spread(graph, name, shape, axis, between, value)
            size = shape[axis]
            shape = [*shape[:axis], size + (size - 1) * between, *shape[axis + 1 :]]
    before, after = ([max(0, c[side]) for c in config] for side in (0, 1))
    if any(before) or any(after):
        name = graph.node("Pad", name, graph.whole([*before, *after]), value, mode="constant")
    cuts = {axis: (max(0, -c[0]), -max(0, -c[1]) or END, 1) for axis, c in enumerate(config) if min(c[0], c[1]) < 0}
    return cut(graph, name, cuts)


def _spread(graph: Graph, name: str, shape: Sequence[Any], axis: int, between: int, value: str) -> str:
    """Puts `between` values after each but the last: pads an axis of its own, and folds it in."""
    size = shape[axis]
    if not isinstance(size, int):
        raise GraphError("padding between examples")
    name = graph.node("Unsqueeze", name, graph.whole([axis + 1]))
    ends = [between if i == axis + 1 else 0 for i in range(len(shape) + 1)]
    name = graph.node("Pad", name, graph.whole([0] * len(ends) + ends), value, mode="constant")
    name = graph.reshaped(name, [*shape[:axis], size * (between + 1), *shape[axis + 1 :]])
    return cut(graph, name, {axis: (0, -between, 1)})


def _iota(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    out, axis = op.outputs[0], op.params["dimension"]
    if not isinstance(out.shape[axis], int):
        raise GraphError("numbers of examples")
    laid = tuple(size if i == axis else 1 for i, size in enumerate(out.shape))
    numbers = np.arange(out.shape[axis], dtype=np.dtype(out.dtype)).reshape(laid)
    return Tensor(graph.constant(numbers), out.shape, laid, out.dtype)


def _size(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    """The number of examples, or a multiple, as a value."""
    kind = graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(op.outputs[0].dtype))
    count = graph.node("Squeeze", graph.sizes([op.params["dim"]]), graph.whole([0]))
    return _output(op, graph.node("Cast", count, to=kind))


def _gather(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    """Rows by their numbers, and parts at fixed places; the other forms are refused."""
    dims, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    if getattr(dims, "operand_batching_dims", ()) or getattr(dims, "start_indices_batching_dims", ()):
        raise GraphError("a gather with batches")
    table, at = graph.full(x[0]), op.inputs[1]
    axes, gone = tuple(dims.start_index_map), tuple(dims.collapsed_slice_dims)
    if not isinstance(at, Reference) and at.ndim == 1:  # one place, which is known
        begin: list[Any] = [0] * len(table.shape)
        for axis, start in zip(axes, at.tolist(), strict=True):
            begin[axis] = min(max(start, 0), table.shape[axis] - sizes[axis])
        end = [
            table.shape[i] if not isinstance(size, int) else start + size
            for i, (start, size) in enumerate(zip(begin, sizes, strict=True))
        ]
        name = _part(graph, table, begin, end, [1] * len(begin))
        return _output(op, graph.node("Squeeze", name, graph.whole(gone)) if gone else name)
    others = [axis for axis in range(len(table.shape)) if axis not in axes]
    if len(axes) != 1 or gone != axes or any(sizes[axis] != table.shape[axis] for axis in others):
        raise GraphError("a gather of other parts than rows")
    [axis], rank = axes, len(x[1].shape) - 1
    rows = graph.node("Squeeze", graph.full(x[1]).name, graph.whole([rank]))
    if "CLIP" in str(op.params["mode"]).upper():
        bound = graph.constant(np.asarray(table.shape[axis] - 1, x[1].dtype))
        rows = graph.node("Min", graph.node("Max", rows, graph.constant(np.asarray(0, x[1].dtype))), bound)
    name = graph.node("Gather", table.name, rows, axis=axis)
    # ONNX puts the rows' own axes where the axis was; JAX, where the other axes are not
    places = [i for i in range(rank + len(others)) if i not in dims.offset_dims]
    order = [*dims.offset_dims[:axis], *places, *dims.offset_dims[axis:]]
    turned = sorted(range(len(order)), key=order.__getitem__)
    return _output(op, name if turned == sorted(turned) else graph.node("Transpose", name, perm=turned))


# -- sums --------------------------------------------------------------------------------------


def _reduce(kind: str) -> Write:
    def reduce(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
        axes, name = list(op.params["axes"]), graph.full(x[0]).name
        if kind == "ReduceSum":  # whose axes became an input first
            return _output(op, graph.node(kind, name, graph.whole(axes), keepdims=0))
        return _output(op, graph.node(kind, name, axes=axes, keepdims=0))

    return reduce


def _dot(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    (by_left, by_right), (over_left, over_right) = op.params["dimension_numbers"]
    a, b = graph.full(x[0]), graph.full(x[1])
    if not over_left and len(b.shape) == 2 and tuple(by_left) == (len(a.shape) - 1,) and tuple(by_right) == (0,):
        return _output(op, graph.node("MatMul", a.name, b.name))
    left, right = _axes_without(a, *by_left, *over_left), _axes_without(b, *by_right, *over_right)
    take = lambda t, axes: [t.shape[axis] for axis in axes]
    batch = take(a, over_left)
    inner = _product(take(a, by_left))
    a_name = graph.node("Transpose", a.name, perm=[*over_left, *left, *by_left])
    b_name = graph.node("Transpose", b.name, perm=[*over_right, *by_right, *right])
    a_name = graph.reshaped(a_name, [*batch, _product(take(a, left)), inner])
    b_name = graph.reshaped(b_name, [*batch, inner, _product(take(b, right))])
    return _output(op, graph.reshaped(graph.node("MatMul", a_name, b_name), op.outputs[0].shape))


def _axes_without(tensor: Tensor, *axes: int) -> list[int]:
    return [i for i in range(len(tensor.shape)) if i not in axes]


def _product(sizes: Sequence[Any]) -> Any:
    out: Any = 1
    for size in sizes:
        out = out * size
    return out


def _convolve(graph: Graph, op: Operation, x: list[Tensor]) -> Tensor:
    dims, params = op.params["dimension_numbers"], op.params
    if params["batch_group_count"] != 1:
        raise GraphError("a convolution in groups of examples")
    image, kernel = graph.full(x[0]), graph.full(x[1])

    def turned(name: str, order: Sequence[int]) -> str:
        return name if list(order) == sorted(order) else graph.node("Transpose", name, perm=list(order))

    name = turned(image.name, dims.lhs_spec)
    fixed = op.inputs[1]
    if isinstance(fixed, Reference):
        filters = turned(kernel.name, dims.rhs_spec)
    else:
        filters = graph.constant(np.ascontiguousarray(np.transpose(fixed, dims.rhs_spec)))
    pads, between = params["padding"], [step - 1 for step in params["lhs_dilation"]]
    if any(between) or any(min(pair) < 0 for pair in pads):  # written out: Conv pads with zeros, at the edges only
        shape = [image.shape[axis] for axis in dims.lhs_spec]
        config = [(0, 0, 0), (0, 0, 0), *((a, b, c) for (a, b), c in zip(pads, between, strict=True))]
        name = padded(graph, name, shape, config, graph.constant(np.zeros((), np.dtype(image.dtype))))
        pads = [(0, 0)] * len(pads)
    name = graph.node(
        "Conv", name, filters,
        strides=list(params["window_strides"]), dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"], pads=[*(a for a, _ in pads), *(b for _, b in pads)],
        kernel_shape=[kernel.shape[axis] for axis in dims.rhs_spec[2:]],
    )  # fmt: skip
    return _output(op, turned(name, [dims.out_spec.index(axis) for axis in range(len(dims.out_spec))]))


OPERATIONS: dict[str, Write] = {
    **{
        name: _by_element(kind)
        for name, kind in {
            "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "pow": "Pow",
            "add_any": "Add", "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
            "exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "erf": "Erf",
            "logistic": "Sigmoid", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
            "eq": "Equal", "and": "And", "or": "Or", "not": "Not",
        }.items()
    },
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "sharding_constraint"), _same),
    "square": _square,
    "rsqrt": _rsqrt,
    "integer_pow": _integer_pow,
    "ne": _not_equal,
    "clamp": _clamp,
    "select_n": _select,
    "convert_element_type": _convert,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "slice": _slice,
    "rev": _reverse,
    "pad": _pad,
    "iota": _iota,
    "dim_as_value": _size,
    "gather": _gather,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "dot_general": _dot,
    "conv_general_dilated": _convolve,
}  # fmt: skip
