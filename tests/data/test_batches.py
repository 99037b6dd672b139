"""Standardisation and batches: the laws they keep and what they refuse."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.errors import InputError

SEEDS = st.integers(0, 2**32)


def dataset(labels, num_classes=10):
    """A dataset whose image i is filled with the value i / 1000, test images shifted by 0.5."""
    labels = np.asarray(labels, np.int32)
    values = np.arange(len(labels), dtype=np.float32) / 1000
    x = np.broadcast_to(values[:, None, None, None], (len(labels), 2, 2, 1)).copy()
    names = tuple(str(index) for index in range(num_classes))
    return ImageDataset("hand", x, labels, x + np.float32(0.5), labels, num_classes, names)


@functools.cache
def digits():
    """Not a fixture: hypothesis would print its arrays with every failing example."""
    return load_images("digits")


def test_standardized_training_images_have_mean_0_and_variance_1():
    rng = np.random.default_rng(0)
    x_train = (rng.uniform(size=(50, 6, 6, 3)) * [1, 0.1, 0.01]).astype(np.float32)
    x_test = rng.uniform(size=(10, 6, 6, 3)).astype(np.float32)
    y_train, y_test = np.arange(50, dtype=np.int32) % 2, np.arange(10, dtype=np.int32) % 2
    raw = ImageDataset("random", x_train, y_train, x_test, y_test, 2, ("a", "b"))
    scaled, numbers = standardize(raw)
    assert scaled.x_train.dtype == np.float32
    np.testing.assert_allclose(scaled.x_train.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.x_train.std(axis=(0, 1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(numbers.mean, x_train.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(numbers.std, x_train.std(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        scaled.x_test * numbers.std + numbers.mean, x_test, rtol=1e-5, atol=1e-6
    )
    assert all(isinstance(number, float) for number in numbers.mean + numbers.std)
    np.testing.assert_array_equal(raw.x_train, x_train)
    np.testing.assert_array_equal(scaled.y_test, y_test)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("num_images", [10, 1000, 5000])
def test_a_channel_that_does_not_vary_is_refused(value, num_images):
    raw = dataset(np.arange(num_images) % 10)
    flat = np.concatenate([raw.x_train, np.full_like(raw.x_train, value)], axis=-1)
    with pytest.raises(InputError, match="x_train: got channel 1 with every pixel"):
        standardize(dataclasses.replace(raw, x_train=flat, x_test=flat))


@pytest.mark.parametrize("split", ["train", "test"])
@given(n=st.integers(2, 430), seed=SEEDS)
def test_a_balanced_batch(split, n, seed):
    batch = make_batch(digits(), n, split=split, how="balanced", seed=seed)
    counts = np.bincount(batch.y, minlength=10)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1, counts
    assert len(set(batch.indices.tolist())) == n
    stored_x, stored_y = getattr(digits(), f"x_{split}"), getattr(digits(), f"y_{split}")
    np.testing.assert_array_equal(batch.x, stored_x[batch.indices])
    np.testing.assert_array_equal(batch.y, stored_y[batch.indices])


@given(seed=SEEDS, n=st.integers(2, 100))
def test_the_same_seed_gives_the_same_batch(seed, n):
    first, second = (make_batch(digits(), n, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)


def test_different_seeds_give_different_batches():
    batches = {tuple(make_batch(digits(), 20, seed=seed).indices) for seed in range(50)}
    assert len(batches) == 50


def test_seeds_reach_every_class_and_every_image():
    small = dataset(np.arange(12) % 3, num_classes=3)
    drawn = [make_batch(small, 4, seed=seed) for seed in range(200)]
    doubled = {int(np.bincount(batch.y).argmax()) for batch in drawn}
    assert doubled == {0, 1, 2}
    assert {int(index) for batch in drawn for index in batch.indices} == set(range(12))
    assert {int(batch.y[0]) for batch in drawn} == {0, 1, 2}


def test_the_drawing_leaves_numpy_s_global_generator_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.uniform()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    make_batch(digits(), 20, seed=0)
    assert np.random.uniform() == expected  # noqa: NPY002


@pytest.mark.parametrize("split", ["train", "test"])
@given(n=st.integers(2, 12))
def test_the_first_n_are_taken_as_stored(split, n):
    small = dataset(np.arange(12) % 3, num_classes=3)
    batch = make_batch(small, n, split=split, how="first", seed=0)
    np.testing.assert_array_equal(batch.indices, np.arange(n))
    stored = small.x_train if split == "train" else small.x_test
    np.testing.assert_array_equal(batch.x, stored[:n])
    np.testing.assert_array_equal(batch.y, np.arange(n) % 3)


def test_classes_without_images_are_left_out_of_the_balance():
    small = dataset([2, 2, 2, 7, 7, 7], num_classes=10)
    np.testing.assert_array_equal(np.sort(make_batch(small, 4, seed=0).y), [2, 2, 7, 7])


@given(counts=st.lists(st.integers(1, 5), min_size=2, max_size=4), n=st.integers(2, 20), seed=SEEDS)
def test_every_balanced_batch_that_exists_is_found_and_no_other(counts, n, seed):
    small = dataset(np.repeat(np.arange(len(counts)), counts), num_classes=len(counts))
    quota, extra = divmod(n, len(counts))
    exists = min(counts) >= quota and sum(count > quota for count in counts) >= extra
    if exists:
        drawn = np.bincount(make_batch(small, n, seed=seed).y, minlength=len(counts))
        assert drawn.sum() == n
        assert drawn.max() - drawn.min() <= 1
        assert np.all(drawn <= counts)
    else:
        with pytest.raises(InputError, match="num_images"):
            make_batch(small, n, seed=seed)


def test_the_largest_balanced_batch_is_named():
    small = dataset([0] * 3 + [1] * 9 + [2] * 9, num_classes=3)
    with pytest.raises(InputError, match="at most 11 can be class-balanced in train"):
        make_batch(small, 12, seed=0)
    np.testing.assert_array_equal(np.bincount(make_batch(small, 11, seed=0).y), [3, 4, 4])


SORTED = dataset(np.repeat([0, 1], 6), num_classes=2)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n": 1}, "num_images: got 1; the train split allows 2 to 12"),
        ({"n": 0}, "num_images: got 0"),
        ({"n": -4}, "num_images: got -4"),
        ({"n": 13, "split": "test"}, "num_images: got 13; the test split allows 2 to 12"),
        ({"n": 6, "how": "first"}, "num_images: got 6 images of train, all of class 0"),
        ({"n": 4, "how": "balance"}, "did you mean 'balanced'?"),
        ({"n": 4, "split": "val"}, "split: got 'val'; choose from train, valid, test"),
        ({"n": 4, "split": "valid"}, "split: got valid; hand has no validation set"),
        ({"n": 4, "seed": -1}, "seed: got -1"),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(InputError) as error:
        make_batch(SORTED, **({"seed": 0} | kwargs))
    assert message in str(error.value)


def test_a_split_with_one_class_is_refused_however_it_is_drawn():
    single = dataset([1] * 6, num_classes=2)
    for how in ("balanced", "first"):
        with pytest.raises(InputError, match="all of class 1"):
            make_batch(single, 4, how=how, seed=0)


def test_cifar10_batches(data_dir):
    if not (data_dir / "cifar10_5k1k.npz").is_file():
        pytest.skip(f"no cifar10_5k1k.npz in {data_dir}")
    cifar = load_images("npz:cifar10_5k1k.npz", data_dir=data_dir)
    for split in ("train", "test"):
        batch = make_batch(cifar, 128, split=split, seed=0)
        assert batch.x.shape == (128, 32, 32, 3)
        counts = np.bincount(batch.y)
        assert sorted(counts) == [12] * 2 + [13] * 8, counts
