from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from gan_jax.data import DataError, Images, describe, few_shot, from_arrays, index_hash


def small(n: int = 6, **kwargs) -> Images:
    pixels = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2)
    return from_arrays(pixels, np.arange(n) % 3, class_names=("cat", "dog", "owl"), **kwargs)


def test_arrays_become_images_with_int32_labels():
    images = from_arrays(np.zeros((3, 5, 4), np.uint8), np.array([[2], [0], [1]], np.uint8))
    assert images.images.shape == (3, 5, 4, 1) and images.resolution == (5, 4) and images.channels == 1
    assert images.labels is not None and images.labels.dtype == np.int32
    assert_array_equal(images.labels, [2, 0, 1])


@pytest.mark.parametrize(
    ("pixels", "labels", "says"),
    [
        (np.zeros((2, 4, 4), np.float32), None, "must be uint8 in 0 .. 255, not float32"),
        (np.zeros((4, 4), np.uint8), None, r"must be uint8 \[N, H, W, C\], not uint8\[4, 4\]"),
        (np.zeros((2, 4, 4, 2), np.uint8), None, "have 2 channels"),
        (np.zeros((0, 4, 4), np.uint8), None, "holds no images"),
        (np.zeros((2, 4, 4), np.uint8), [1], "1 labels for 2 images"),
        (np.zeros((2, 4, 4), np.uint8), [0, -1], "label -1 is outside"),
        (np.zeros((2, 4, 4), np.uint8), [0, 2**31], "label 2147483648 is outside"),
        (np.zeros((2, 4, 4), np.uint8), [0.5, 1], r"labels must be integers \[N\], not float64\[2\]"),
    ],
)
def test_arrays_that_are_not_images_are_refused(pixels, labels, says):
    with pytest.raises(DataError, match=says):
        from_arrays(pixels, labels)


def test_fewer_class_names_than_labels_are_refused():
    with pytest.raises(DataError, match="label 2, but only 2 class names"):
        from_arrays(np.zeros((3, 2, 2), np.uint8), [0, 1, 2], class_names=("a", "b"))


def test_fingerprint_sees_pixels_labels_and_shape_but_not_the_name():
    base = small()
    assert base.fingerprint == small(name="other").fingerprint
    assert len(base.fingerprint) == 64
    changed = base.images.copy()
    changed[3, 1, 1] += 1
    others = [
        from_arrays(changed, base.labels),
        from_arrays(base.images, np.roll(base.labels, 1)),  # type: ignore[arg-type]
        from_arrays(base.images),
        from_arrays(base.images.reshape(6, 1, 4, 1), base.labels),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_classes_are_chosen_by_number_or_name_and_keep_their_numbers():
    images = small().of_classes(["owl", 0])
    assert_array_equal(images.labels, [0, 2, 0, 2])
    assert_array_equal(images.images[:, 0, 0, 0], [0, 8, 12, 20])
    assert images.class_names == ("cat", "dog", "owl")


def test_classes_that_are_not_there_are_named():
    with pytest.raises(DataError, match="no image of class 7; it has 0, 1, 2"):
        small().of_classes([1, 7])
    with pytest.raises(DataError, match="no class 'dogs' .did you mean 'dog'"):
        small().of_classes(["dogs"])
    with pytest.raises(DataError, match="no class chosen"):
        small().of_classes([])
    with pytest.raises(DataError, match="no labels to choose"):
        from_arrays(np.zeros((3, 2, 2), np.uint8)).of_classes([0])


def test_describe_counts_classes():
    about = describe(small(7))
    assert about["classes"] == {"cat": 3, "dog": 2, "owl": 2}
    assert (about["images"], about["height"], about["width"], about["channels"]) == (7, 2, 2, 1)
    assert about["mean"] == pytest.approx(13.5, abs=1e-3)


def test_few_shot_is_the_same_for_ever():
    split = few_shot(1000, 5, seed=3)
    assert split.chosen.tolist() == [20, 186, 320, 472, 616]
    assert (split.chosen_hash, split.rest_hash) == ("fa845257d7065910", "7b08ef1579a4ba4a")
    assert split.chosen.dtype == split.rest.dtype == np.int64
    assert split.chosen_hash == index_hash(split.chosen)


@given(n=st.integers(1, 300), seed=st.integers(0, 2**40), data=st.data())
@settings(max_examples=50, deadline=None)
def test_few_shot_cuts_a_set_in_two_and_nests(n, seed, data):
    shots = data.draw(st.integers(1, n))
    split = few_shot(n, shots, seed)
    assert len(split.chosen) == shots
    assert_array_equal(np.sort(np.concatenate([split.chosen, split.rest])), np.arange(n))
    assert (np.diff(split.chosen) > 0).all()
    fewer = few_shot(n, data.draw(st.integers(1, shots)), seed)
    assert set(fewer.chosen) <= set(split.chosen)


def test_few_shot_is_spread_and_depends_on_the_seed():
    chosen = [few_shot(1000, 100, seed).chosen for seed in range(20)]
    assert len({index_hash(c) for c in chosen}) == 20
    assert 440 < np.mean(chosen) < 560  # the middle of 0 .. 999, give or take four standard errors of any one draw


def test_impossible_subsets_are_refused():
    with pytest.raises(DataError, match="101 shots, but the set has only 100 images"):
        few_shot(100, 101)
    with pytest.raises(DataError, match="0 shots"):
        few_shot(100, 0)
    with pytest.raises(DataError, match="data.subset_seed is -1; use a whole number"):
        few_shot(100, 1, -1)
    for seed in (2**64, True, 0.5):
        with pytest.raises(DataError, match="data.subset_seed "):
            few_shot(100, 1, seed)  # type: ignore[arg-type]


def test_every_bit_of_a_subset_seed_counts():
    seeds = [0, *(2**bit for bit in range(31, 64, 8)), 2**32, 2**64 - 1]
    assert len({few_shot(1000, 100, seed).chosen_hash for seed in seeds}) == len(set(seeds))


def test_importing_the_data_room_imports_nothing_heavy():
    heavy = "('PIL', 'tensorflow', 'tensorflow_datasets', 'grain', 'array_record')"
    code = f"import sys, gan_jax.data; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
