"""Samplers as programs that run without this library: StableHLO, for whatever has JAX, and ONNX.

Beside each lies a JSON file: the calling convention, the versions it was made with, digests, and what is known about
the weights. Neither format holds Python code; reading one runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export

from gan_jax.config import NetConfig, net_to_dict
from gan_jax.extras import check, require
from gan_jax.files import replace
from gan_jax.interop.sampler import Images, Sampler, sampler_of
from gan_jax.surgery.provenance import versions
from gan_jax.trees import Tree

BATCH = "b"  # the name of a batch of any size
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

    Raises:
      ImportError: flatbuffers is absent; the message says what to install.
      ProgramError: unknown platforms, or a generator that needs a batch of a fixed size.
    """
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise ProgramError(f"platforms are {', '.join(platforms) or 'none'}; use some of {', '.join(PLATFORMS)}")
    check("flatbuffers", extra="stablehlo")  # which jax.export would ask for after all the work
    sampler, size = sampler_of(config, variables, images, front), _size(batch)
    specs = [one.spec(size) for one in sampler.inputs]
    try:
        exported = jax.export.export(jax.jit(sampler.function), platforms=tuple(platforms))(*specs)
    except Exception as error:
        if batch is not None:
            raise
        raise ProgramError(
            f"this generator does not take batches of any size ({error}); name one: --batch 16"
        ) from error
    facts = {"format": "jax.export", "calling_convention": exported.calling_convention_version}
    body = bytes(exported.serialize())
    return _write(Path(path), body, sampler, size, {**facts, "platforms": list(platforms)}, config, about)


def load_stablehlo(path: str | Path) -> Callable[..., jax.Array]:
    """Reads a program of `export_stablehlo`: `program(z, [label], [truncation]) -> images`.

    Raises:
      ProgramError: it is not what the file beside it says, or no such program.
    """
    check("flatbuffers", extra="stablehlo")
    path = Path(path)
    beside = facts_of(path)
    body = path.read_bytes()
    if beside.is_file() and f'"{_digest(body)}"' not in beside.read_text(encoding="utf-8", errors="replace"):
        raise ProgramError(f"{path} is damaged: its sha256 is not the one in {beside.name}; copy both anew")
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
) -> Path:
    """Writes the sampler as an ONNX graph with its weights inside; arguments as `export_stablehlo`.

    Raises:
      ImportError: jax2onnx is absent; the message says what to install.
      ProgramError: the exporter does not know an operation of this generator.
    """
    exporter = require("jax2onnx", extra="onnx")
    sampler, size = sampler_of(config, variables, images, front), batch or BATCH
    typed = [one.spec(size) for one in sampler.inputs]
    names = {"input_names": [one.name for one in sampler.inputs], "output_names": [sampler.output.name]}
    try:
        model = exporter.to_onnx(sampler.function, typed, model_name="generator", **names)
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise ProgramError(f"jax2onnx cannot export this generator: {error}") from error
    facts = {"format": "onnx", "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import}}
    for key, value in {"net": net_to_dict(config), **(about or {})}.items():
        if value:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    return _write(Path(path), model.SerializeToString(), sampler, size, facts, config, about)


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
) -> Path:
    said = {
        **facts,
        "inputs": [one.described(size) for one in sampler.inputs],
        "outputs": [sampler.output.described(size)],
        "sha256": _digest(body),
        "versions": versions(),
        "net": net_to_dict(config),
        **{key: value for key, value in (about or {}).items() if value},
    }
    text = json.dumps(said, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda part: part.write_bytes(body))
    replace(facts_of(path), lambda part: part.write_text(text, encoding="utf-8"))
    return path


def facts_of(path: Path) -> Path:
    """Where the facts of a program lie."""
    return path.with_name(path.name + ".json")


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
