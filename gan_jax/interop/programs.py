"""Samplers as programs that run without this library: a generator as a function of latents, as StableHLO and as ONNX.

Beside each lies a JSON file: the calling convention, the versions it was made with, digests, and what is known about
the weights. Neither format holds Python code; reading one runs nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from gan_jax.config import NetConfig, net_to_dict
from gan_jax.data.convert import to_uint8
from gan_jax.documents import escaped
from gan_jax.extras import check, require
from gan_jax.files import replace
from gan_jax.interop.fitting import check_finite
from gan_jax.interop.onnx.graph import OPSET, Graph, GraphError
from gan_jax.interop.onnx.ops import write
from gan_jax.interop.onnx.trace import Reference, trace
from gan_jax.nets import build
from gan_jax.nets.conv import single_operations
from gan_jax.nets.fronts import with_front
from gan_jax.reserved import GRAFT
from gan_jax.surgery.provenance import versions
from gan_jax.trees import Tree

# ----------------------------------------------------------------------------------------------------------------------
# A generator with its weights inside, as one function of latents: what is exported as a program.

Images = Literal["uint8", "float32"]


class Input(NamedTuple):
    """An argument of the function; `batched`: whether its first axis is the batch, which `shape` leaves out."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    batched: bool = True

    def spec(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Its spec for a batch of this size, which may be symbolic."""
        return jax.ShapeDtypeStruct((batch, *self.shape) if self.batched else self.shape, np.dtype(self.dtype))

    def described(self, batch: Any) -> dict[str, Any]:
        """For a JSON file."""
        shape = [str(batch) if type(batch) is not int else batch] if self.batched else []
        return {"name": self.name, "shape": [*shape, *self.shape], "dtype": self.dtype}


class Sampler(NamedTuple):
    """`function(*inputs) -> images [batch, H, W, C]`.

    Of `sampler_of`, inputs are `z` (standard normal), `label` (classes) where the networks are conditional, and `truncation` (one
    number; 1 = none) where they have a mapping.
    """

    function: Callable[..., jax.Array]
    inputs: tuple[Input, ...]
    output: Input


def sampler_of(
    config: NetConfig, variables: Tree, images: Images = "uint8", front: Mapping[str, Any] | None = None
) -> Sampler:
    """Makes the function.

    Args:
      config: of the networks.
      variables: of the generator; they become constants of the program.
      images: uint8, or float32 as the network gives them: about [-1, 1].
      front: what the manifest says of one that these weights have before G.

    Raises:
      ValueError: the weights have a front that nothing is said of.
    """
    if GRAFT in variables["params"] and front is None:
        raise ValueError("these weights have a front before G; pass on what their manifest says of it: front=..")
    pair = with_front(build(config), front)
    variables = jax.tree_util.tree_map(jnp.asarray, variables)
    conditional, mapped = config.num_classes > 0, "map" in pair.g.parts
    inputs = [Input("z", (config.z_dim,), "float32")]
    inputs += [Input("label", (), "int32")] if conditional else []
    inputs += [Input("truncation", (), "float32", batched=False)] if mapped else []

    def function(*values: jax.Array) -> jax.Array:
        named = dict(zip((argument.name for argument in inputs), values))
        with single_operations():  # a program runs on machines that this one's fast forms are not for
            if mapped:
                ws = pair.g.parts["map"](variables, named["z"], named.get("label"), named["truncation"])
                pixels = pair.g.parts["synthesise"](variables, ws)
            else:
                pixels = pair.g.apply(variables, named["z"], named.get("label"))[0]
        return to_uint8(pixels) if images == "uint8" else pixels.astype(jnp.float32)

    output = Input("images", (config.resolution, config.resolution, config.channels), images)
    return Sampler(function, tuple(inputs), output)


MakeSampler = Callable[[NetConfig, Tree, Images, "Mapping[str, Any] | None"], Sampler]

# ----------------------------------------------------------------------------------------------------------------------
# Programs: StableHLO, for whatever has JAX, and ONNX.

BATCH = "b"  # the name of a batch of any size
NOT_FINITE = "images that are not finite, as the network makes them"
OPEN_BATCH = "this generator does not take batches of any size"
PROBES = 2  # images of a check, where the batch is open
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class ProgramError(ValueError):
    """A sampler that cannot be exported as asked, or a program that is damaged; the message says what to do."""


def export_stablehlo(
    path: str | Path,
    config: NetConfig,
    variables: Tree,
    *,
    images: Images = "uint8",
    batch: int | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    about: Mapping[str, Any] | None = None,
    front: Mapping[str, Any] | None = None,
    make: MakeSampler = sampler_of,
) -> Path:
    """Writes the sampler as `jax.export` serialises it, with its weights inside; `load_stablehlo` reads it.

    Args:
      path: of the file; its facts go to the same name and `.json`.
      config: of the networks.
      variables: of the generator.
      images: what comes out, see `sampler_of`.
      batch: how many images a call makes; None = as many as there are latents.
      platforms: that it can run on.
      about: JSON values for the file beside it: history, licence.
      front: what the manifest says of one that these weights have before G.
      make: makes the function of networks with other inputs than latents, as `tasks.program` does.

    Raises:
      ImportError: flatbuffers is absent; the message says what to install.
      ProgramError: unknown platforms, or a generator that needs a batch of a fixed size.
    """
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise ProgramError(f"platforms are {', '.join(platforms) or 'none'}; use some of {', '.join(PLATFORMS)}")
    check("flatbuffers", extra="stablehlo")  # which jax.export would ask for after all the work
    check_finite({"g_ema": variables}, "these weights", ProgramError)
    sampler, size = make(config, variables, images, front), _size(batch)
    specs = [argument.spec(size) for argument in sampler.inputs]
    try:
        exported = jax.export.export(jax.jit(sampler.function), platforms=tuple(platforms))(*specs)
    except Exception as error:
        if batch is not None:
            raise
        raise ProgramError(f"{OPEN_BATCH} ({one_line(error)}); name one: --batch 16") from error
    facts = {"format": "jax.export", "calling_convention": exported.calling_convention_version}
    facts |= {"platforms": list(platforms)}
    body = bytes(exported.serialize())
    return _write(Path(path), body, sampler, size, facts, config, about, lambda part: _reread(part, sampler, batch))


def _reread(path: Path, sampler: Sampler, batch: int | None) -> str:
    """Reads a program back and runs it on the first of its platforms that is here; returns where."""
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    here = next((d for platform in program.platforms if (d := _device(platform)) is not None), None)
    if here is None:
        return "no platform of this machine; only read back"

    def run(values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str]:
        with jax.default_device(here):
            return np.asarray(program.call(*values.values())), here.platform

    with jax.default_device(here):
        return compare(sampler, batch, run)


def _device(platform: str) -> Any:
    try:
        return jax.devices(platform)[0]
    except RuntimeError:
        return None


def load_stablehlo(path: str | Path) -> Callable[..., jax.Array]:
    """Reads a program of `export_stablehlo`: `program(z, [label], [truncation]) -> images`.

    Raises:
      ProgramError: it is not what the file beside it says, or no such program.
    """
    check("flatbuffers", extra="stablehlo")
    path = Path(path)
    facts_path = facts_of(path)
    body = path.read_bytes()
    if facts_path.is_file() and f'"{_digest(body)}"' not in facts_path.read_text(encoding="utf-8", errors="replace"):
        raise ProgramError(f"{path} is damaged: its sha256 is not the one in {facts_path.name}; copy both again")
    try:
        exported = jax.export.deserialize(bytearray(body))
    except Exception as error:
        raise ProgramError(f"{path} is no program that jax.export wrote, or of a newer version: {error}") from error
    return exported.call


def export_onnx(
    path: str | Path,
    config: NetConfig,
    variables: Tree,
    *,
    images: Images = "uint8",
    batch: int | None = None,
    about: Mapping[str, Any] | None = None,
    front: Mapping[str, Any] | None = None,
    make: MakeSampler = sampler_of,
) -> Path:
    """Writes the sampler as an ONNX graph with its weights inside; arguments as `export_stablehlo`.

    It computes in float32, whatever the network's own dtype: no runtime computes bfloat16 on a CPU. Lower weights are
    widened, which changes none of them. The file is in its place only once it was checked, loaded and run.

    Raises:
      ImportError: onnx is absent; the message says what to install.
      ProgramError: an operation of this generator has no form in ONNX here, or the graph makes other images.
    """
    onnx = require("onnx", extra="onnx")
    check_finite({"g_ema": variables}, "these weights", ProgramError)
    sampler, size = make(widened(config), widened_weights(variables), images, front), batch or BATCH
    metadata = {"net": net_to_dict(config), **(about or {})}
    try:
        body = _graph(sampler, batch, size, metadata)
    except GraphError as error:
        raise ProgramError(f"this generator cannot be written as ONNX: {error}") from error
    except Exception as error:  # noqa: BLE001  of the tracing of a batch that is open
        if batch is not None:
            raise
        raise ProgramError(f"{OPEN_BATCH} ({one_line(error)}); name one: --batch 16") from error
    facts = {"format": "onnx", "opset": {"ai.onnx": OPSET}, "computes": "float32"}

    def check(part: Path) -> str:
        try:
            onnx.checker.check_model(str(part), full_check=True)
        except Exception as error:  # noqa: BLE001  of several kinds, from its native code
            raise ProgramError(f"the graph is not valid ONNX: {one_line(error)}") from error
        return compare(sampler, batch, lambda values: _run_onnx(part, values))

    return _write(Path(path), body, sampler, size, facts, config, about, check)


def widened(config: NetConfig) -> NetConfig:
    """The configuration that computes in float32."""
    return dataclasses.replace(config, dtype="float32") if hasattr(config, "dtype") else config


def widened_weights(variables: Tree) -> Tree:
    """The variables, floating ones in float32."""
    wide = lambda x: np.asarray(x, np.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x
    return jax.tree_util.tree_map(wide, variables)


def _graph(sampler: Sampler, batch: int | None, size: Any, metadata: Mapping[str, Any]) -> bytes:
    """The sampler as the bytes of an ONNX file."""
    symbol = _size(batch)
    graph, program = Graph(symbol), trace(sampler.function, [argument.spec(symbol) for argument in sampler.inputs])
    named = zip(program.inputs, sampler.inputs, strict=True)
    values = {reference.number: graph.input(reference, argument.name) for reference, argument in named}
    for operation in program.operations:
        write(graph, operation, values)
    result = values[program.output.number] if isinstance(program.output, Reference) else graph.tensor(program.output)
    named_shape = lambda argument: (argument.name, argument.dtype, argument.described(size)["shape"])
    return graph.model(
        [named_shape(argument) for argument in sampler.inputs], named_shape(sampler.output), result, metadata
    )


def _run_onnx(path: Path, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """Images, and what made them: onnxruntime where it is installed, else the reference that comes with onnx."""
    try:
        runtime = require("onnxruntime", extra="onnx")
    except ImportError:
        reference = require("onnx.reference", extra="onnx")
        return reference.ReferenceEvaluator(str(path)).run(None, dict(values))[0], "onnx.reference"
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, dict(values))[0], f"onnxruntime {runtime.__version__}"
    except Exception as error:  # noqa: BLE001  of several kinds, from its native code
        raise ProgramError(f"onnxruntime does not run the graph: {one_line(error)}") from error


def compare(
    sampler: Sampler, batch: int | None, run: Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, str]]
) -> str:
    """Runs a program on some latents and compares its images with the sampler's; returns what it ran on.

    Raises:
      ProgramError: they differ by more than rounding.
    """
    n = batch or PROBES
    values = {argument.name: _probe(argument, n) for argument in sampler.inputs}
    with jax.default_matmul_precision("highest"):
        expected = np.asarray(jax.jit(sampler.function)(*values.values()))
    actual, where = run(values)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ProgramError(
            f"the program makes {actual.dtype}{list(actual.shape)}, for {expected.dtype}{list(expected.shape)}"
        )
    whole = np.isfinite(expected)
    gap = np.abs(actual.astype(np.float64) - expected)[whole].max(initial=0)
    limit = 2 if expected.dtype == np.uint8 else 1e-3 * max(1.0, float(np.abs(expected[whole]).max(initial=0)))
    if not gap <= limit or not np.array_equal(np.isfinite(actual), whole):
        raise ProgramError(f"the program makes other images on {where}: they differ by up to {gap:.3g}")
    return where if whole.all() else f"{where}; {NOT_FINITE}"


def _probe(argument: Input, n: int) -> np.ndarray:
    """A value of an input: normal latents, labels 0 and 1, no truncation; of images random pixels."""
    if not argument.batched:
        return np.ones(argument.shape, argument.dtype)
    if argument.dtype == "int32" and not argument.shape:
        return np.arange(n, dtype=argument.dtype) % 2
    if argument.dtype in ("int32", "uint8"):
        top = 2 if argument.dtype == "int32" else 256
        return np.random.default_rng(0).integers(0, top, (n, *argument.shape)).astype(argument.dtype)
    return np.random.default_rng(0).standard_normal((n, *argument.shape)).astype(argument.dtype)


def _size(batch: int | None) -> Any:
    return jax.export.symbolic_shape(BATCH)[0] if batch is None else batch


def _write(
    path: Path,
    body: bytes,
    sampler: Sampler,
    size: Any,
    facts: Mapping[str, Any],
    config: NetConfig,
    about: Mapping[str, Any] | None,
    check: Callable[[Path], str],
) -> Path:
    """Writes a program and its facts, once `check(file)` has run it; returns the program's place."""
    document: dict[str, Any] = {
        **facts,
        "inputs": [argument.described(size) for argument in sampler.inputs],
        "outputs": [sampler.output.described(size)],
        "sha256": _digest(body),
        "versions": versions(),
        "net": net_to_dict(config),
        **{key: value for key, value in (about or {}).items() if value},
    }
    path.parent.mkdir(parents=True, exist_ok=True)

    def write_checked(part: Path) -> None:
        part.write_bytes(body)
        document["checked"] = check(part)

    replace(path, write_checked)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    replace(facts_of(path), lambda part: part.write_text(text, encoding="utf-8"))
    return path


def facts_of(path: Path) -> Path:
    """Where the facts of a program lie."""
    return path.with_name(path.name + ".json")


def one_line(error: BaseException) -> str:
    """The message of any exception on one line of bearable length."""
    return escaped(" ".join(str(error).split()), 300) or type(error).__name__


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
