"""Shifts and mirror images against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.training.augment import augment, random_flip, random_shift
from jaxntk.training.recipe import Recipe

N, SIDE = 400, 5


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, SIDE, SIDE, 2)))


def shifted(image, down, right, pad):
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return padded[pad + down : pad + down + SIDE, pad + right : pad + right + SIDE]


@pytest.mark.parametrize("pad", [1, 2])
def test_every_shift_occurs_and_nothing_else(images, pad):
    moved = np.asarray(random_shift(jax.random.key(1), images, pad))
    counts = np.zeros((2 * pad + 1, 2 * pad + 1), int)
    for before, after in zip(np.asarray(images), moved, strict=True):
        found = [
            (down, right)
            for down in range(-pad, pad + 1)
            for right in range(-pad, pad + 1)
            if np.array_equal(shifted(before, down, right, pad), after)
        ]
        assert len(found) == 1, found
        counts[found[0][0] + pad, found[0][1] + pad] += 1
    expected = N / counts.size
    # Five standard deviations of a binomial count.
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected), counts


def test_about_half_are_mirrored_and_the_others_untouched(images):
    flipped = np.asarray(random_flip(jax.random.key(2), images))
    plain = np.asarray(images)
    same = np.array([np.array_equal(a, b) for a, b in zip(flipped, plain, strict=True)])
    mirrored = np.array([
        np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, plain, strict=True)
    ])
    assert (same ^ mirrored).all()
    assert abs(mirrored.sum() - N / 2) < 5 * np.sqrt(N) / 2, mirrored.sum()


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop_flip"])
def test_a_recipe_names_what_happens(images, augmentation):
    recipe = Recipe(augmentation=augmentation, pad=1)
    one, again, other = (
        np.asarray(augment(jax.random.key(seed), images, recipe)) for seed in (0, 0, 1)
    )
    assert one.dtype == np.float64
    assert np.array_equal(one, again)
    assert np.array_equal(one, other) == (augmentation == "none")
    assert np.array_equal(one, images) == (augmentation == "none")
