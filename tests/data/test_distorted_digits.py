"""The images of Digits-201: fixed, disjoint, still digits."""

import hashlib

import numpy as np
import pytest

from jaxntk.data.distorted_digits import COPIES, LEVELS, distorted_digits
from jaxntk.data.images import load_images

DIGEST = "ec35970b679ba3e00488d87988ce10889c1a9e614bd66b68766187d24357c4e6"


@pytest.fixture(scope="module")
def made():
    return distorted_digits()


def test_they_never_change(made):
    levels = {name: np.round(split.x * LEVELS).astype(np.uint8) for name, split in made.items()}
    digest = hashlib.sha256()
    for name in ("train", "valid", "test"):
        digest.update(levels[name].tobytes() + made[name].y.astype(np.uint8).tobytes())
    assert digest.hexdigest() == DIGEST


def test_splits(made):
    assert {name: split.x.shape for name, split in made.items()} == {
        "train": (1000, 8, 8, 1),
        "valid": (594, 8, 8, 1),
        "test": (1000, 8, 8, 1),
    }
    for name, split in made.items():
        counts = np.bincount(split.y, minlength=10)
        assert counts.max() - counts.min() <= 8 * COPIES[name], (name, counts)
        assert split.x.min() >= 0
        assert split.x.max() <= 1


def test_copies_of_a_digit_differ(made):
    x, y = made["test"]
    half = len(y) // 2
    assert np.array_equal(y[:half], y[half:])
    assert np.abs(x[:half] - x[half:]).max(axis=(1, 2, 3)).min() > 0.1


def test_they_are_a_source_of_images(made):
    dataset = load_images("digits201")
    assert dataset.name == "digits201"
    for name, split in made.items():
        assert np.array_equal(getattr(dataset, f"x_{name}"), split.x)
        assert np.array_equal(getattr(dataset, f"y_{name}"), split.y)


def test_a_plain_classifier_reads_them_better_than_chance_and_not_perfectly(made):
    from sklearn.linear_model import LogisticRegression

    (x, y), (x_test, y_test) = made["train"], made["test"]
    model = LogisticRegression(max_iter=500).fit(x.reshape(len(x), -1), y)
    accuracy = model.score(x_test.reshape(len(x_test), -1), y_test)
    assert 0.5 < accuracy < 0.9, accuracy
