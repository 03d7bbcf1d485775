"""Facts of a run, each a name and a value: what was run, its cost, its data, its options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gan_jax.config import Config, to_dict
from gan_jax.report.content import Fact
from gan_jax.report.progress import clock_text
from gan_jax.report.run.folder import CHECKPOINTS, RunFolder
from gan_jax.report.run.reading import Row, bytes_text, folder_bytes, is_number
from gan_jax.tasks.model import WEIGHTS


def images_per_s(rows: list[Row]) -> float | None:
    """The median speed of logged dispatches, without the first one, which waited for compilation."""
    rates = sorted(row["images_per_s"] for row in (rows[1:] or rows) if is_number(row.get("images_per_s")))
    return rates[len(rates) // 2] if rates else None


def facts(run: RunFolder) -> list[Fact]:
    """The facts of what was run: data, sources, method, loss, device."""
    device: Any = run.record.get("device")
    where = "not recorded"
    if isinstance(device, Mapping):
        where = f"{device.get('count')} x {device.get('kind')} ({device.get('platform')})"
    classes = run.option("data.classes")
    rows = [
        ("images", run.option("data.source", "unknown"), True),
        ("classes", ", ".join(map(str, classes)) if classes else None, False),
        ("images to train on", _shots(run), False),
        ("started from", ", ".join(run.sources) or "fresh weights", bool(run.sources)),
        ("method", run.method, True),
        ("loss", run.option("loss.name"), True),
        ("augmentation", _augmentation(run), False),
        ("batch and seed", f"{run.option('train.batch', '?')}, seed {run.option('train.seed', '?')}", False),
        ("device", where, False),
        ("folder", str(run.path), True),
    ]
    method_function = run.record.get("method", "table")
    rows += [("method's function", method_function, True)] if method_function != "table" else []
    forked = run.record.get("forked_from")
    rows += [("forked from", _forked(forked), False)] if forked else []
    return [Fact(name, str(value), code) for name, value, code in rows if value is not None]


def costs(run: RunFolder, flops: float | None) -> list[Fact]:
    """The facts of what the run took, as far as they are recorded: time, speed, parameters, memory, disk."""
    out = []
    if run.seconds is not None:
        out.append(Fact("training", f"{clock_text(run.seconds)} ({run.seconds:,.0f} s), over all its processes"))
    if (rate := images_per_s(run.metrics)) is not None:
        out.append(Fact("speed", f"{rate:,.0f} images/s (median of logged dispatches, without evaluations)"))
    for network, root in (("G", "g_ema"), ("D", "d")):
        if values := _values(run.manifest, root):
            out.append(Fact(f"parameters of {network}", f"{values:,}"))
    if flops is not None:
        out.append(Fact("a step of D and G", f"{flops:,.0f} floating-point operations, as XLA counts them"))
    peaks = [value for row in run.metrics for key, value in row.items() if "peak" in key and is_number(value)]
    out.append(Fact("peak memory", bytes_text(max(peaks)) if peaks else "not recorded by this run"))
    sizes = [(at, folder_bytes(run.path / CHECKPOINTS / str(at))) for at in run.checkpoints]
    listed = ", ".join(f"{bytes_text(size)} at {at:,} images" for at, size in sizes)
    out.append(Fact("checkpoints", listed or "none"))
    weights = folder_bytes(run.path / WEIGHTS)
    out.append(Fact("weights", bytes_text(weights) if weights else "none yet"))
    return out


def data_facts(run: RunFolder) -> list[Fact]:
    """The facts in data.json, those with a known name first."""
    names = {"name": "name", "count": "images to train on", "spec": "read from", "train": "fingerprint of training images",
             "reference": "fingerprint of reference", "class_names": "classes"}  # fmt: skip
    values = {key: value for key, value in run.data.items() if value is not None and key != "digests"}
    order = [*(key for key in names if key in values), *(key for key in values if key not in names)]
    code = ("spec", "train", "reference")
    return [Fact(names.get(key, key), _plain(values[key]), key in code) for key in order]


def changed_options(run: RunFolder) -> list[tuple[str, str, str]] | None:
    """(option, value, default) of each changed option; None where the configuration cannot be read.

    Defaults are those of the run's network family and method.
    """
    if run.config is None:
        return None
    net, transfer = type(run.config.net), type(run.config.transfer)
    default = _flat(to_dict(Config(net=net(), transfer=transfer())))
    return [
        (key, value, default.get(key, "–"))
        for key, value in _flat(to_dict(run.config)).items()
        if value != default.get(key)
    ]


def configuration(run: RunFolder) -> Any:
    """The configuration as plain JSON values, with the defaults where it can be read."""
    return run.record.get("config") if run.config is None else to_dict(run.config)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return out


def _shots(run: RunFolder) -> str:
    shots, count, held_out = run.option("data.shots"), run.data.get("count"), run.option("data.reference")
    many = f"{shots:,}, chosen with seed {run.option('data.subset_seed', 0)}" if isinstance(shots, int) else "all"
    many += f" ({count:,})" if isinstance(count, int) and count != shots else ""
    return many + (f"; {held_out:,} others held out for evaluation" if isinstance(held_out, int) else "")


def _augmentation(run: RunFolder) -> str:
    policy, ada = run.option("augment.policy") or [], run.option("augment.ada")
    parts = [", ".join(map(str, policy))] if policy else []
    parts += [f"ADA {ada}"] if ada else []
    parts += ["horizontal flips of real images"] if run.option("data.mirror") else []
    return "; ".join(parts) or "none"


def _values(manifest: Mapping[str, Any], root: str) -> int:
    leaves = manifest.get("leaves")
    if not isinstance(leaves, Mapping):
        return 0
    shapes = [leaf["shape"] for path, leaf in leaves.items() if path.startswith(f"{root}/params/")]
    return sum(math.prod(shape) for shape in shapes)


def _forked(origin: Any) -> str:
    """`runs/a at 512 images, itself forked from runs/b at 256 images`."""
    if not isinstance(origin, Mapping) or "folder" not in origin:
        return _plain(origin)
    images = origin.get("images")
    first = f"{origin['folder']} at {images:,} images" if isinstance(images, int) else str(origin["folder"])
    return f"{first}, itself forked from {_forked(origin['forked_from'])}" if origin.get("forked_from") else first


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
