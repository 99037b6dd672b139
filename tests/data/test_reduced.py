"""Fewer and smaller images are the ones that were there."""

import numpy as np
import pytest

from jaxntk.data.images import load_images
from jaxntk.data.reduced import first_images, shrunk, with_validation
from jaxntk.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def test_the_last_training_images_validate(digits):
    cut = with_validation(digits, 100)
    assert np.array_equal(np.concatenate([cut.x_train, cut.x_valid]), digits.x_train)
    assert np.array_equal(np.concatenate([cut.y_train, cut.y_valid]), digits.y_train)
    assert len(cut.y_valid) == 100
    assert with_validation(digits, 0) is digits


def test_the_first_images_are_kept(digits):
    cut = first_images(digits, 10)
    assert np.array_equal(cut.x_train, digits.x_train[:10])
    assert np.array_equal(cut.y_train, digits.y_train[:10])
    assert cut.x_test is digits.x_test


def test_pixels_are_means_of_blocks(digits):
    small = shrunk(with_validation(digits, 5), 4)
    for split in ("train", "valid", "test"):
        assert getattr(small, f"x_{split}").shape[1:] == (4, 4, 1)
    block = digits.x_train[3, 2:4, 6:8, 0]
    assert small.x_train[3, 1, 3, 0] == pytest.approx(block.mean(), abs=1e-6)
    assert shrunk(digits, 8).x_train == pytest.approx(digits.x_train)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda data: with_validation(data, len(data.y_train) - 1), "validation_images"),
        (lambda data: with_validation(with_validation(data, 5), 5), "validation_images"),
        (lambda data: first_images(data, len(data.y_train) + 1), "train_images"),
        (lambda data: first_images(data, 1), "train_images"),
        (lambda data: shrunk(data, 3), "image_size"),
        (lambda data: shrunk(data, 0), "image_size"),
    ],
)
def test_bad_input_is_named(digits, change, named):
    with pytest.raises(InputError, match=named):
        change(digits)
