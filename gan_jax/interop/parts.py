"""What a checkpoint of a training holds besides its networks, and in which wrappers networks lie in it.

Optimisers, counters, losses, fixed latents and further copies of a network are left out, each with a reason. Names lose
what DataParallel and `torch.compile` put into them; kernels that lie in parts (weight norm, pruning) are put together.
All of that is the same for every layout, which sees plain names of one generator and one discriminator then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.interop.layouts.layout import DROPPED, Tensors
from gan_jax.interop.links import ForeignLayoutError, check_floats
from gan_jax.trees import did_you_mean, match

OPTIMISER, NUMBER = "state of an optimiser", "a number of the training beside the networks"
SCALER, FIXED = "state of a gradient scaler or a schedule", "inputs that the training showed its images of"
AVERAGING, RANDOM = "a counter of a moving average", "state of a random generator"
LOSS, MEASURE = "losses that the training noted", "a network of a loss or of a metric, no part of the pair"
D_AVERAGE = "a moving average of the discriminator; the one that was trained is what is kept"
SET_ASIDE = "weights that a moving average had set aside"
ASKED = "left out as asked, --ignore"
BUFFER = "a buffer that its program makes anew, no weight"
PUT_TOGETHER = "multiplied into the kernel that it belongs to"

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
AVERAGES = ("ema", "swa", "shadow", "averaged", "average", "avg", "polyak", "smoothed")  # words of names of averages
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v", "sn_u", "sn_sigma", "n_averaged",
           "noise_const", "resample_filter", "w_avg", "u0", "sv0", "kernel")  # no parameters  # fmt: skip
MOMENTS = r"exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer|square_avg|grad_avg|step|sum|acc_delta|mu_product"

SHOWN = "fixed|test|sample|eval|val|vis|static|grid"  # words of what samples were drawn from

# (where it is looked for: "any" part of a dotted name but the last, the "first" part, the "whole" name; what; why)
NOT_NETWORKS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("any", re.compile(r"(?:.*[_\-.])?(?:opt|optims?|optimi[sz]ers?)(?:[_\-.A-Z\d].*|[gdeGDE])?"), OPTIMISER),
    ("any", re.compile(r"[a-z]\w*Optim\w*|.*optimi[sz]er.*"), OPTIMISER),
    ("whole", re.compile(rf"(?:.*\.)?state\.\d+\.(?:{MOMENTS})"), OPTIMISER),
    ("any", re.compile(r"(?:.*_)?(?:(?:grad_?)?scalers?|(?:lr_)?sched(?:uler)?s?)(?:_?\w*)?"), SCALER),
    ("first", re.compile(r"(?:.*_)?rng(?:_?states?.*)?|.*random_state.*"), RANDOM),
    ("first", re.compile(rf"(?i)(?:{SHOWN})_?(?:noise|z|latents?|labels?|inputs?|c|y|w|code)s?"), FIXED),
    ("first", re.compile(rf"(?i)(?:noises?|latents?|z|labels?)_?(?:{SHOWN})"), FIXED),
    ("whole", re.compile(r"(?i)noise|z|latents?|fixed"), FIXED),
    ("whole", re.compile(r"(?i)(?:.*_)?(?:loss(?:es)?|err)(?:_.*|[gd])?(?:\.\d+)?|(?:err|loss)[GD]\w*"), LOSS),
    ("first", re.compile(r"(?i)(?:net_?)?(?:lpips|vgg\d*|inception\w*|percept\w*|fid\w*|arcface|id_loss|clip_model)"), MEASURE),
    ("any", re.compile(r"collected_params|backup_params"), SET_ASIDE),
)  # fmt: skip
COUNTERS = ("n_averaged", "num_updates", "decay", "initted", "step", "updates")


class Parts(NamedTuple):
    """The tensors of the networks alone.

    Attributes:
      tensors: plain name -> array.
      origin: plain name -> the name in the file.
      left_out: name in the file -> why it is left out.
    """

    tensors: dict[str, np.ndarray]
    origin: dict[str, str]
    left_out: dict[str, str]


def networks_of(tensors: Tensors, ignore: Sequence[str] = (), values: Iterable[str] = ()) -> Parts:
    """Takes the tensors of networks out of those of a checkpoint.

    Args:
      tensors: by their names in the file.
      ignore: patterns over these names, of what the user leaves out.
      values: names of what lies beside them in the file and is no tensor, such as a scale that is a number.

    Raises:
      ForeignLayoutError: a pattern that covers nothing, a kernel that is not of floats or has a scale beside it.
    """
    left_out: dict[str, str] = {}
    for pattern in ignore:
        covered = [name for name in tensors if match(pattern, name)]
        if not covered:
            raise ForeignLayoutError(f"--ignore {pattern!r} covers no tensor{did_you_mean(pattern, tensors)}")
        left_out |= dict.fromkeys(covered, f"{ASKED} {pattern!r}")
    for name, array in tensors.items():
        if name not in left_out and (why := why_left_out(name, array)):
            left_out[name] = why
    origin = plain_names([name for name in tensors if name not in left_out])
    parts = Parts({plain: tensors[name] for plain, name in origin.items()}, origin, left_out)
    parts = one_copy(whole_kernels(parts))
    for plain, array in parts.tensors.items():
        if array.ndim > 1:  # scales are looked for among what is left out, too
            check_floats(parts.origin[plain], array, (*tensors, *values))
    return parts


def why_left_out(name: str, array: np.ndarray) -> str | None:
    """Why a tensor is no part of a network, by its name; None where it may be one."""
    parts = re.split(r"[./]", name)
    inner = [part for part in parts if part not in WRAPPERS]
    if not inner:
        return None
    if is_mask_or_positions(inner, array):
        return BUFFER
    for place, pattern, why in NOT_NETWORKS:
        where = {"any": inner[:-1], "first": inner[:1], "whole": [".".join(inner)]}[place]
        if place == "first" and len(inner) > 1 and inner[-1] in ("weight", "bias") and why is FIXED:
            continue
        if any(pattern.fullmatch(part) for part in where):
            return why
    if array.size == 1 and inner[-1] in COUNTERS:
        return AVERAGING if inner[-1] != "step" or len(inner) > 1 else NUMBER
    if array.size == 1 and array.ndim < 2 and len(inner) == 1 and inner[0] != "ada_aug_p":
        return NUMBER
    return None


def is_mask_or_positions(parts: Sequence[str], array: np.ndarray) -> bool:
    """Whether a tensor is a mask of attention or the numbers of positions, as old files of transformers have them."""
    if parts[-2:] == ["attn", "bias"]:
        return array.ndim == 4 and array.shape[:2] == (1, 1)
    return (
        parts[-1] in ("position_ids", "token_type_ids")
        and array.dtype.kind in "iu"
        or (parts[-2:] == ["attn", "masked_bias"] and array.size == 1)
    )


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Plain name -> name in the file: without wrappers; as it is where two would be the same."""
    names = list(names)
    plain = {name: unwrapped(name) for name in names}
    twice = len(set(plain.values())) != len(names)
    return {name if twice else plain[name]: name for name in names}


def unwrapped(name: str) -> str:
    """A dotted name without the parts that wrappers put into it, and parametrizations by their older names."""
    kept = ".".join(part for part in name.split(".") if part not in WRAPPERS)
    for new, old in NEWER:
        kept = new.sub(old, kept)
    return kept


NEWER = (  # torch.nn.utils.parametrizations -> the hooks before them
    (re.compile(r"\.parametrizations\.(\w+)\.original0$"), r".\1_g"),
    (re.compile(r"\.parametrizations\.(\w+)\.original1$"), r".\1_v"),
    (re.compile(r"\.parametrizations\.(\w+)\.original$"), r".\1_orig"),
    (re.compile(r"\.parametrizations\.(\w+)\.\d+\._([uv])$"), r".\1_\2"),
)


def whole_kernels(parts: Parts) -> Parts:
    """Computes kernels that lie in parts: weight norm (`weight_g`, `weight_v`), pruning (`weight_orig`, `weight_mask`).

    Spectral norm (`weight_orig`, `weight_u`, `weight_v`) stays as it is, as some of our networks have it.
    """
    tensors, origin, left_out = dict(parts.tensors), dict(parts.origin), dict(parts.left_out)
    for name in parts.tensors:
        base, _, kind = name.rpartition("_")
        if kind == "g" and f"{base}_v" in tensors and f"{base}_orig" not in tensors and base not in tensors:
            g, v = tensors[name].astype(np.float32), tensors[f"{base}_v"].astype(np.float32)
            if g.ndim != v.ndim or any(n not in (1, m) for n, m in zip(g.shape, v.shape)):
                raise ForeignLayoutError(f"{name!r} {list(g.shape)} is no size of {base + '_v'!r} {list(v.shape)}")
            axes = tuple(axis for axis in range(v.ndim) if g.shape[axis] == 1 and v.shape[axis] != 1)
            value, kept = v * (g / np.sqrt((v**2).sum(axis=axes, keepdims=True))), f"{base}_v"
        elif kind == "mask" and f"{base}_orig" in tensors and tensors[f"{base}_orig"].shape == tensors[name].shape:
            kept = f"{base}_orig"
            value = tensors[kept] * tensors[name].astype(tensors[kept].dtype)
        else:
            continue
        left_out[origin.pop(name)] = PUT_TOGETHER
        origin[base] = origin.pop(kept)
        # in the place of the kernel: the order of layers may be that of the file
        tensors = {base if n == kept else n: value if n == kept else a for n, a in tensors.items() if n != name}
    return Parts(tensors, {name: origin[name] for name in tensors}, left_out)


# -- moving averages ---------------------------------------------------------------------------


def one_copy(parts: Parts) -> Parts:
    """Keeps one copy of each network: the moving average of G, the trained copy of D."""
    for prefix in averages(parts.tensors):
        parts = _chosen(parts, prefix)
    return parts


def averages(tensors: Tensors) -> list[str]:
    """The beginnings of names, with the dot, under which a moving average lies."""
    places = {}
    for name in tensors:
        parts = name.split(".")
        at = [i for i, part in enumerate(parts[:-1]) if is_average(part)]
        if at:
            places[".".join(parts[: at[-1] + 1]) + "."] = None
    return list(places)


def is_average(part: str) -> bool:
    """Whether a part of a name says that a moving average lies under it: `netG_ema`, `ema`, `shadow_params`, `emaG`."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", part)}
    return bool(words & set(AVERAGES)) or part.lower().endswith("ema") and part.lower() != "schema"


def is_discriminator(prefix: str) -> bool:
    """Whether the beginning of a name says that a discriminator lies there."""
    parts = re.split(r"[._]|(?<=[a-z])(?=[A-Z])", prefix)
    return any(re.fullmatch(r"(?i)(?:net|model)?d|disc\w*|critic", part) for part in parts)


def _chosen(parts: Parts, prefix: str) -> Parts:
    """Keeps one copy of the network that lies under a prefix and perhaps elsewhere too."""
    tensors = parts.tensors
    others = {name: array for name, array in tensors.items() if not name.startswith(prefix)}
    copy = None
    while copy is None:
        average = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        copy = _by_order(average, others) if all(map(str.isdecimal, average)) else _by_name(average, others, prefix)
        heads = {name.partition(".")[0] for name in average}
        if copy is None and (len(heads) > 1 or not all("." in name for name in average)):
            return parts
        if copy is None:  # all of it lies one name deeper, and may lie elsewhere without that
            prefix += f"{heads.pop()}."
    start, same = copy  # what the other copy's names begin with; name in the average -> name there
    origin, left_out = dict(parts.origin), dict(parts.left_out)
    if is_discriminator(prefix) or is_discriminator(start):
        gone = {prefix + name for name in average}
        left_out |= {origin.pop(name): D_AVERAGE for name in gone}
        return Parts({name: array for name, array in tensors.items() if name in origin}, origin, left_out)
    if {*same.values()} >= {name for name in others if name.startswith(start)} and all(
        n == start + k for k, n in same.items()
    ):
        left_out |= {origin.pop(name): DROPPED for name in same.values()}
        return Parts({name: array for name, array in tensors.items() if name in origin}, origin, left_out)
    # an average of parameters alone: they take the places of the other copy's, whose statistics stay
    values = {there: prefix + here for here, there in same.items()}
    replaced = {*values.values()}
    left_out |= {origin[there]: DROPPED for there in values}
    if more := [name for name in average if name not in same]:
        left_out |= {origin[prefix + name]: AVERAGING for name in more}
        replaced |= {prefix + name for name in more}
    return Parts(
        {name: tensors[values.get(name, name)] for name in tensors if name not in replaced},
        {name: origin[values.get(name, name)] for name in tensors if name not in replaced},
        left_out,
    )


Copy = tuple[str, dict[str, str]]


def _by_name(average: Tensors, others: Tensors, prefix: str) -> Copy | None:
    """Finds the other copy by names: the same ones with another prefix, perhaps without their dots."""
    last = lambda name: name.rpartition(".")[2]
    weights = [name for name, array in average.items() if array.ndim > 1] or list(average)
    starts = {name.removesuffix(weights[0]) for name in others if name.endswith(weights[0])}
    tries: list[tuple[str, Callable[[str], str]]] = [(s, str) for s in starts if not s or s.endswith(".")]
    if not any("." in name for name in average):
        every = {".".join(name.split(".")[:i]) for name in others for i in range(name.count(".") + 1)}
        tries += [(f"{start}." if start else "", lambda name: name.replace(".", "")) for start in every]
    copies: list[Copy] = []
    for start, spelled in tries:
        there = {spelled(name.removeprefix(start)): name for name in others if name.startswith(start)}
        same = {
            name: there[name] for name in average if name in there and average[name].shape == others[there[name]].shape
        }
        if all(name in same for name in average if last(name) not in BUFFERS and (average[name].ndim or name in there)):
            copies.append((start, same))

    def distance(copy: Copy) -> tuple[int, int, int]:
        """Fewer tensors in common are further away, then a beginning that is less like the average's."""
        start, same = copy
        return -len(same), -sum(a == b for a, b in zip(start, prefix)), len(start)

    return min(copies, key=distance) if copies else None


def _by_order(average: Tensors, others: Tensors) -> Copy | None:
    """Finds the other copy by the order of shapes, for a list of averages, which has no names."""
    shapes = [average[name].shape for name in sorted(average, key=int)]
    names = [name for name in others if name.rpartition(".")[2] not in BUFFERS]
    windows = [names[i : i + len(shapes)] for i in range(len(names) - len(shapes) + 1)]
    fitting = [window for window in windows if [others[name].shape for name in window] == shapes]
    fitting = [window for window in fitting if not is_discriminator(window[0])] or fitting
    if not fitting:
        return None
    return fitting[0][0], dict(zip(sorted(average, key=int), fitting[0]))
