"""No two streams of random numbers draw with one key, but for those that the table names."""

from __future__ import annotations

import ast
import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from gan_jax import random_streams as table
from gan_jax.augment.ada import draws as ada_draws
from gan_jax.random_streams import Purpose, path_number
from gan_jax.seeds import root_key
from tests.conftest import REPO

Path_ = tuple[int, ...]  # of a key below a seed's key

FEW = range(6)  # steps, examples, donors, positions
DONORS = 5  # of MineGAN, beside the source
RUN: Path_ = (table.RUN_KEY,)
NAMES = ("b4", "b8/conv0/kernel", "head/kernel")  # of leaves and groups


def below_examples(key: Path_) -> Iterator[tuple[str, Path_]]:
    """What is drawn of an example's key."""
    yield "an example's latents", key
    for layer in range(18):
        yield "StyleGAN2's noise", (*key, table.NOISE_KEY + layer)
    yield "a second latent", (*key, table.SECOND_LATENT_KEY)
    for half in (0, 1):  # split
        yield "the mixing of styles", (*key, table.MIXING_KEY, half)
    yield "who teaches", (*key, table.TEACHER_KEY)
    for layer in range(18):
        yield "dropped values", (*key, table.DROPOUT_KEY + layer)


def below_augmented(key: Path_) -> Iterator[tuple[str, Path_]]:
    """What is drawn of the key of an augmented example, by either of two augmentations, of which a run has one."""
    yield "ADA", key
    yield "ADA's noise", (*key, table.ADA_NOISE_KEY)


def below_steps(run: Path_, what: str) -> Iterator[tuple[str, Path_]]:
    augmented = (Purpose.AUGMENT_REAL, Purpose.AUGMENT_FAKE, Purpose.VARY_REAL, Purpose.VARY_FAKE)
    for step, use, example in itertools.product(FEW, range(2), FEW):
        for purpose in Purpose:
            if use and purpose in (Purpose.G_LATENTS, Purpose.PROBE_LATENTS):  # once in a step
                continue
            key = (*run, step, int(purpose), use, example)
            if purpose == Purpose.DATA:
                yield f"{what}: data", (*key, 0)
                yield f"{what}: mirroring", (*key, 1)
                yield f"{what}: crops", (*key, 1, table.CROP_KEY)
                yield f"{what}: data of a second side", (*key, table.SECOND_SIDE_KEY, 0)
                yield f"{what}: mirroring of a second side", (*key, table.SECOND_SIDE_KEY, 1)
                yield f"{what}: crops of a second side", (*key, table.SECOND_SIDE_KEY, 1, table.CROP_KEY)
            else:
                inner = below_augmented if purpose in augmented else below_examples
                yield from ((f"{what}: {purpose.name}: {name}", path) for name, path in inner(key))


def preparations(key: Path_) -> dict[str, list[tuple[str, Path_]]]:
    """What the preparation of a method draws, by method: a preparation is one method's."""
    statistics = [("statistics of mixed weights", (*key, i)) for i in range(64)]
    statistics += [("statistics of translators", (*key, table.RESTATED_KEY, i, j)) for i in range(8) for j in FEW]
    gates = [
        (f"gates of {network}", (*key, table.mixture_key(network), path_number(name), half))
        for network in ("g", "d", "g_ab", "g_ba", "d_a", "d_b") for name in NAMES for half in (0, 1)
    ]  # fmt: skip
    masks = [("masks", (*key, table.MERGE_KEY, donor, path_number(name))) for donor in FEW for name in NAMES]
    stage = list(below_steps((*key, table.STAGE_KEY), "stage"))
    second = list(below_steps((*key, table.DISTIL_KEY, table.STAGE_KEY), "second stage"))
    copies = [
        draw for donor in (1, 2)
        for draw in below_steps((*key, table.COCKTAIL_KEY + donor, table.STAGE_KEY), f"copy for donor {donor}")
    ]  # fmt: skip
    layers = [("fusion layers", (*key, *path)) for path in itertools.product(FEW, (0, 1), (0, 1))]
    miners = [("miners", (*key, DONORS, i, 0)) for i in range(DONORS)]
    semantic = [("semantic miners", (*key, DONORS, i, 1, layer)) for i in range(DONORS) for layer in range(4)]
    return {
        "fusion": [*gates, *stage, *second, *statistics],
        "merge": [*masks, *statistics],
        "cocktail": [*copies, *statistics],
        "feature fusion": [*layers, *stage],
        "minegan": [*miners, *semantic, *stage],
        "anchors": [("anchors", (*key, table.ANCHOR_KEY))],
        "adaptive layers": [("latents for layers", (*key, step, i)) for step in FEW for i in range(8)],
    }


def common() -> Iterator[tuple[str, Path_]]:
    """`(name, path below the seed's key)` of what every run and its evaluations draw."""
    for network, key in table.NETWORK_KEYS.items():
        yield from ((f"fresh {network}", (key, path_number(name))) for name in NAMES)
    yield from (("grids", (i,)) for i in range(64))
    yield from (("statistics for the grids", (table.GRID_STATS_KEY, i)) for i in range(64))
    yield from (("statistics for evaluations", (table.STATS_KEY, i)) for i in range(64))
    yield from (("measured images", (table.SAMPLE_KEY, i)) for i in range(64))
    yield from below_steps(RUN, "steps")
    for branch, network in itertools.product(range(3), range(2)):
        yield "heads and miners", (*RUN, table.READY_KEY, network, branch)
        yield from (("adapters", (*RUN, table.READY_KEY, network, branch, path_number(name))) for name in NAMES)


SAME_LATENTS = frozenset({"statistics for the grids", "measured images"})
TWINS = {  # the same draw for two uses: random_streams says of each why it stays
    "minegan": {
        frozenset({"semantic miners", f"steps: {name}"})
        for name in (
            "D_LATENTS: an example's latents",
            "AUGMENT_REAL: ADA",
            "AUGMENT_FAKE: ADA",
        )
    }
}


def keys_of(paths: list[Path_]) -> list[bytes]:
    """The keys at paths below one seed's key: each fold that paths share is made once."""
    keys: dict[Path_, np.ndarray] = {(): np.asarray(jax.random.key_data(root_key(0)))}
    fold = jax.jit(lambda key, n: jax.random.key_data(jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(key), n)))
    for length in range(1, max(map(len, paths)) + 1):
        starts = list(dict.fromkeys(path[:length] for path in paths if len(path) >= length))
        numbers = np.array([start[-1] for start in starts], np.uint32)
        data = np.asarray(fold(np.stack([keys[start[:-1]] for start in starts]), numbers))
        keys |= dict(zip(starts, data, strict=True))
    return [keys[path].tobytes() for path in paths]


@functools.cache
def users() -> dict[tuple[str, str], dict[bytes, set[str]]]:
    """`(method, its place in a chain) -> key -> the streams that draw with it`."""
    places = {"first": RUN, "second": (*RUN, table.CHAIN_KEY + 1)}
    parts = {("", ""): list(common())}
    for place, key in places.items():
        parts |= {(method, place): draws for method, draws in preparations(key).items()}
    keys = iter(keys_of([path for draws in parts.values() for _, path in draws]))
    drawn = {part: [(name, next(keys)) for name, _ in draws] for part, draws in parts.items()}
    everywhere, found = drawn.pop(("", "")), {}
    for part, draws in drawn.items():
        found[part] = defaultdict(set)
        for name, key in (*everywhere, *draws):
            found[part][key].add(name)
    return found


METHODS = [*preparations(RUN)]
COMMON = {name for name, _ in common()}


@pytest.mark.parametrize("place", ["first", "second"])
@pytest.mark.parametrize("method", METHODS)
def test_no_two_streams_draw_with_one_key(method, place):
    shared = {frozenset(names) for names in users()[method, place].values() if len(names) > 1}
    known = TWINS.get(method, set()) if place == "first" else set()
    assert shared == {SAME_LATENTS, *known}, sorted(map(sorted, shared))


def test_methods_of_a_chain_prepare_with_keys_of_their_own():
    first, second = (
        {key for method in METHODS for key, names in users()[method, place].items() if not names & COMMON}
        for place in ("first", "second")
    )
    assert first and second and not first & second


def test_a_split_is_two_folds():
    """As the paths above have it, and the table."""
    key = root_key(3)
    folds = [jax.random.fold_in(key, i) for i in range(2)]
    np.testing.assert_array_equal(
        jax.random.key_data(jax.random.split(key, 2)), np.stack([jax.random.key_data(fold) for fold in folds])
    )


def test_numbers_are_what_runs_have_drawn_with():
    """Whoever changes one changes what every run draws."""
    numbers = {name: value for name, value in vars(table).items() if name.isupper()}
    assert numbers == {
        "NETWORK_KEYS": {"g": 0, "d": 1}, "RUN_KEY": 2, "GRID_STATS_KEY": 1, "STATS_KEY": 0, "SAMPLE_KEY": 1,
        "READY_KEY": 2**31 - 1, "STAGE_KEY": 2**31 - 2, "CHAIN_KEY": 2**30,
        "MIXTURE_KEYS": {"g": 0, "d": 1}, "MERGE_KEY": 1, "DISTIL_KEY": 1, "COCKTAIL_KEY": 0, "ANCHOR_KEY": 13,
        "RESTATED_KEY": 5000,
        "ADA_NOISE_KEY": 1, "NOISE_KEY": 1000, "SECOND_LATENT_KEY": 999, "MIXING_KEY": 998, "TEACHER_KEY": 3000,
        "DROPOUT_KEY": 4000, "SECOND_SIDE_KEY": 2, "CROP_KEY": 1, "BRANCH_KEY": 1, "UNIFORM_PROBES_KEY": 1,
    }  # fmt: skip
    assert [int(purpose) for purpose in Purpose] == list(range(26))
    assert path_number("head/kernel") == 2080522366
    assert ada_draws.ADA_NOISE_KEY is table.ADA_NOISE_KEY


def literal_folds(source: str) -> list[str]:
    """Calls of `fold_in` whose number is written in place, `fold_in(key, 3)` or `fold_in(key, 1000 + i)`."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("fold_in")
        and len(node.args) == 2
        and any(isinstance(part, ast.Constant) for part in ast.walk(node.args[1]))
    ]


def test_no_number_is_written_where_keys_are_folded():
    assert literal_folds("a = fold_in(key, 1000 + i); b = jax.random.fold_in(key, RUN_KEY)") == [
        "fold_in(key, 1000 + i)"
    ]
    wrong = {str(path.relative_to(REPO)): calls for path in sources() if (calls := literal_folds(path.read_text()))}
    assert not wrong, f"give the number a name in gan_jax/random_streams.py: {wrong}"


def sources() -> list[Path]:
    return sorted((REPO / "gan_jax").rglob("*.py"))
