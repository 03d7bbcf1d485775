"""Blocks and attention of BigGAN with zero output at first, although spectral norm keeps every kernel from being zero."""

from __future__ import annotations

import re
from typing import Any

from gan_jax.surgery.families.case import Case, vector_role
from gan_jax.trees import Rule


def moved(case: Case, path: str, op: str, **more: Any) -> list[Rule]:
    """Rules for a kernel by another resolver than `fit`, and for its singular vector."""
    role = {**case.role(path), **more}
    sources = lambda *paths: case.sources(*paths) if "keep" in role else list(paths)
    rules = [case.move(path, op, sources(path), **role)]
    vector = path.replace("params/", "spectral/", 1).removesuffix("kernel") + "u"
    if vector in case.leaves:
        role = {**vector_role(case, path, vector), **more}
        rules.append(case.move(vector, f"{op}_vector", sources(vector, path), **role))
    return rules


def identity(case: Case, block: str) -> list[Rule]:
    """A layer beside a block that passes channels on."""
    rules = [case.create(f"params/{block}/skip/kernel", "identity"), case.create(f"params/{block}/skip/bias", "zero")]
    return [*rules, case.create(f"spectral/{block}/skip/u", "one_hot", index=0)]


def zero_output_blocks(case: Case, blocks: list[str]) -> list[Rule]:
    """Rules for blocks that pass their input on: the last hidden unit is zero, and the only weight of conv1 reads it."""
    if not blocks:
        return []
    block = f"({'|'.join(map(re.escape, blocks))})"
    rules = [rule for name in blocks for rule in identity(case, name)]
    if case.layout.spectral:
        rules += [
            case.create(f"params/{block}/conv0/kernel", "mute"),
            case.create(f"params/{block}/norm1/bias/kernel", "mute"),
            case.create(f"params/{block}/conv1/kernel", "ballast"),
            case.create(f"spectral/{block}/conv1/u", "one_hot", index=-1),
        ]
    else:
        rules.append(case.create(f"params/{block}/conv1/kernel", "zero"))
    return [
        *rules,
        case.create(f"params/{block}/attention/gamma", "zero"),
        case.create(f"(params/{block}/(conv[01]|norm1)/bias|batch_stats/{block}/norm1/mean)", "zero"),
        case.create(f"(params|batch_stats|spectral)/{block}/.*", "init", unheard=True),
    ]


def zero_output_attention(case: Case) -> list[Rule]:
    """Rules for attention that the old network does not have."""
    gammas = [path for path in case.leaves if path.endswith("/attention/gamma") and path not in case.old]
    rules = []
    for path in gammas:
        part = re.escape(path.removeprefix("params/").removesuffix("/gamma"))
        rules += [
            case.create(f"params/{part}/gamma", "zero"),
            case.create(f"(params|spectral)/{part}/.*", "init", unheard=True),
        ]
    return rules
