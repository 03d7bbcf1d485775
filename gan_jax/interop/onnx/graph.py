"""An ONNX graph while it is written: nodes, constants, and the shapes of what they make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax.extras import require
from gan_jax.interop.onnx.trace import Reference

OPSET = 17  # of ai.onnx: all runtimes since the middle of 2022 read it
IR_VERSION = 8  # of the file, which goes with that opset
LARGEST = 2**31 - 2**20  # bytes that one message of protobuf can hold


class GraphError(ValueError):
    """An operation that has no form in ONNX; the message names it."""


class Tensor(NamedTuple):
    """A value of the graph.

    `shape` is what JAX says it has. `laid` is what it has in the graph: 1 where all values along an axis are the same
    (a broadcast that no node has had to make yet).
    """

    name: str
    shape: tuple[Any, ...]
    laid: tuple[Any, ...]
    dtype: Any


class Graph:
    """Collects nodes and constants; a batch of any size is known by the first input's first axis."""

    def __init__(self, batch: Any):
        self.onnx = require("onnx", extra="onnx")
        self.batch = batch
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._named: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._shapes: dict[tuple[Any, ...], str] = {}
        self._first: str | None = None

    # -- parts -----------------------------------------------------------------------------------

    def constant(self, array: Any) -> str:
        """The name of a constant; equal ones are kept once."""
        array = np.asarray(array)
        content = array.tobytes()
        key = (str(array.dtype), array.shape, content)
        if key not in self._named:
            name = self._named[key] = f"c{len(self._named)}"
            kind = self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            self.constants[name] = self.onnx.helper.make_tensor(name, kind, array.shape, content, raw=True)
        return self._named[key]

    def whole(self, values: Sequence[int]) -> str:
        """The name of a list of whole numbers."""
        return self.constant(np.asarray(values, np.int64))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output; returns its name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def input(self, reference: Reference, name: str) -> Tensor:
        """Names an input; the first of any batch says how large the batch is."""
        if self._first is None and reference.shape and not isinstance(reference.shape[0], int):
            self._first = name
        return Tensor(name, reference.shape, reference.shape, reference.dtype)

    def tensor(self, value: np.ndarray) -> Tensor:
        """A constant as a value of the graph."""
        return Tensor(self.constant(value), value.shape, value.shape, value.dtype)

    # -- shapes ----------------------------------------------------------------------------------

    def sizes(self, shape: Sequence[Any]) -> str:
        """The name of a shape as a list of numbers, computed from the batch where it depends on it."""
        key = tuple(shape)
        if all(isinstance(size, int) for size in key):
            return self.whole(key)
        if key not in self._shapes:
            pieces = [self.whole([size]) if isinstance(size, int) else self._size(size) for size in key]
            self._shapes.setdefault(key, self.node("Concat", *pieces, axis=0) if len(pieces) > 1 else pieces[0])
        return self._shapes[key]

    def _size(self, size: Any) -> str:
        """A size that is a multiple of the batch."""
        times = size // self.batch
        if self._first is None or not isinstance(times, int) or times * self.batch != size:
            raise GraphError(f"a size of {size}, which is no multiple of the batch")
        if (self.batch,) not in self._shapes:
            self._shapes[self.batch,] = self.node("Shape", self._first, start=0, end=1)
        examples = self._shapes[self.batch,]
        return examples if times == 1 else self.node("Mul", examples, self.whole([times]))

    def reshaped(self, name: str, shape: Sequence[Any]) -> str:
        """Reshapes; one size that is not known is left for the runtime to find."""
        open_ = [i for i, size in enumerate(shape) if not isinstance(size, int)]
        if len(open_) == 1:
            return self.node("Reshape", name, self.whole([-1 if i in open_ else size for i, size in enumerate(shape)]))
        return self.node("Reshape", name, self.sizes(shape))

    def full(self, tensor: Tensor) -> Tensor:
        """The tensor with its broadcasts made."""
        if tensor.laid == tensor.shape:
            return tensor
        return tensor._replace(name=self.node("Expand", tensor.name, self.sizes(tensor.shape)), laid=tensor.shape)

    # -- the file --------------------------------------------------------------------------------

    def model(self, inputs: Sequence[Any], output: Any, result: Tensor, metadata: Mapping[str, Any]) -> bytes:
        """The file's bytes.

        Args:
          inputs: `(name, dtype, shape)` of each; sizes are numbers, or the name of one that is open.
          output: the same.
          result: the value that becomes the output.
          metadata: texts or JSON values.
        """
        helper = self.onnx.helper

        def info(name: str, dtype: Any, shape: Any) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

        last = helper.make_node("Identity", [self.full(result).name], [output[0]])
        used = {name for node in self.nodes for name in node.input} | {last.input[0]}
        constants = [tensor for name, tensor in self.constants.items() if name in used]
        size = sum(len(tensor.raw_data) for tensor in constants)
        if size > LARGEST:
            raise GraphError(f"{size:,} bytes of weights, where one ONNX file holds {LARGEST:,}")
        described = [info(*value) for value in inputs], [info(*output)]
        graph = helper.make_graph([*self.nodes, last], "generator", *described, constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="gan_jax"
        )
        texts = {key: x if isinstance(x, str) else json.dumps(x) for key, x in metadata.items() if x}
        helper.set_model_props(model, texts)
        return model.SerializeToString(deterministic=True)
