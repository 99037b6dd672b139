"""The images of Digits-201: scikit-learn's digits, moved, turned, scaled, with noise added.

The plain digits are too easy: nearly every network reads 95 % of them, and which one does better is
chance. Distorted once and for all they stay digits, and networks differ.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
import sklearn.datasets
import sklearn.model_selection
from jaxtyping import Float32, Int32

NUM_TRAIN, NUM_VALID = 1000, 297
"""Digits in these splits; the 500 others are for testing."""
COPIES = {"train": 1, "valid": 2, "test": 2}
"""Distorted images made of each digit of a split."""

MAX_SHIFT = 1.0
"""Pixels, along each axis."""
MAX_ANGLE = 15.0
"""Degrees."""
MAX_LOG_SCALE = 0.15
NOISE = 0.1
"""Standard deviation of what is added to every pixel, white being 1."""
LEVELS = 64
"""Pixels are rounded to so many steps from black to white, so that they are the same everywhere."""
SEED = 0
MAX_PIXEL = 16.0


class Split(NamedTuple):
    """Images with labels.

    Args:
        x: images, float32 in [0, 1].
        y: the digits.
    """

    x: Float32[np.ndarray, "n 8 8 1"]
    y: Int32[np.ndarray, " n"]


def distorted_digits() -> dict[str, Split]:
    """Makes the images of Digits-201, always the same.

    No digit is in two splits, in whatever distortion. Each image is sampled at
    ``centre + R(angle) (p - centre - shift) / scale`` for each pixel p, with angle, shift and log
    scale uniform, by linear interpolation with black outside; normal noise is added, and pixels are
    cut to [0, 1].

    Returns:
        ``train`` (1,000 images), ``valid`` (594) and ``test`` (1,000).

    Example:
        >>> {name: len(split.y) for name, split in distorted_digits().items()}
        {'train': 1000, 'valid': 594, 'test': 1000}
    """
    pixels, labels = (np.asarray(part) for part in sklearn.datasets.load_digits(return_X_y=True))
    x, y = pixels.reshape(-1, 8, 8) / MAX_PIXEL, labels.astype(np.int32)
    split = sklearn.model_selection.train_test_split
    train, rest = split(np.arange(len(y)), train_size=NUM_TRAIN, random_state=SEED, stratify=y)
    valid, test = split(rest, train_size=NUM_VALID, random_state=SEED, stratify=y[rest])
    rng = np.random.default_rng(SEED)
    made = {}
    for name, chosen in (("train", train), ("valid", valid), ("test", test)):
        repeated = np.tile(chosen, COPIES[name])
        images = np.stack([_distort(x[index], rng) for index in repeated])
        made[name] = Split(images[..., None].astype(np.float32), y[repeated])
    return made


def _distort(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-MAX_ANGLE, MAX_ANGLE))
    scale = np.exp(rng.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE))
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = (np.array(image.shape) - 1) / 2
    moved = scipy.ndimage.affine_transform(image, turn, centre - turn @ (centre + shift), order=1)
    noisy = moved + rng.normal(scale=NOISE, size=image.shape)
    return np.round(np.clip(noisy, 0, 1) * LEVELS) / LEVELS
