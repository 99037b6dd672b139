"""Fewer and smaller images, so that a study fits a small machine; all pure."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from jaxntk.data.images import ImageDataset
from jaxntk.errors import InputError


def with_validation(dataset: ImageDataset, num_images: int) -> ImageDataset:
    """Makes the last training images a validation set, where there is none.

    Args:
        dataset: the images.
        num_images: how many are kept for it; 0 for none.

    Returns:
        The dataset.

    Raises:
        InputError: it has a validation set, or fewer than two images would be left to train on.

    Example:
        >>> from jaxntk.data.images import load_images
        >>> len(with_validation(load_images("digits"), 100).y_valid)
        100
    """
    if num_images == 0:
        return dataset
    if dataset.x_valid is not None:
        cure = "give 0: these data have a validation set"
        raise InputError("validation_images", num_images, cure)
    x, y = dataset.x_train, dataset.y_train
    kept = len(y) - num_images
    if kept < 2:
        raise InputError("validation_images", num_images, f"the training set has {len(y)}")
    return replace(dataset, x_train=x[:kept], y_train=y[:kept], x_valid=x[kept:], y_valid=y[kept:])


def first_images(dataset: ImageDataset, num_images: int) -> ImageDataset:
    """Keeps the first training images only.

    Args:
        dataset: the images.
        num_images: how many.

    Returns:
        The dataset.

    Raises:
        InputError: there are fewer.
    """
    available = len(dataset.y_train)
    if not 2 <= num_images <= available:
        raise InputError("train_images", num_images, f"give 2 to {available}: so many there are")
    return replace(
        dataset, x_train=dataset.x_train[:num_images], y_train=dataset.y_train[:num_images]
    )


def some_classes(dataset: ImageDataset, num: int, seed: int) -> ImageDataset:
    """Keeps the images of some classes only; labels stay what they are.

    Args:
        dataset: the images.
        num: classes that are kept, drawn at random.
        seed: of the draw.

    Returns:
        The dataset.

    Raises:
        InputError: fewer than 2 classes, or more than there are.

    Example:
        >>> from jaxntk.data.images import load_images
        >>> len(set(some_classes(load_images("digits"), 3, seed=0).y_train.tolist()))
        3
    """
    there = np.unique(dataset.y_train)
    if not 2 <= num <= len(there):
        raise InputError("batch_classes", num, f"give 2 to {len(there)}: so many there are")
    chosen = np.random.default_rng(seed).permutation(there)[:num]

    def kept(split: str) -> dict[str, np.ndarray]:
        x, y = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
        if x is None:
            return {}
        here = np.isin(y, chosen)
        return {f"x_{split}": x[here], f"y_{split}": y[here]}

    return replace(dataset, **kept("train"), **kept("test"), **kept("valid"))


def shrunk(dataset: ImageDataset, side: int) -> ImageDataset:
    """Takes means over square blocks of pixels.

    Args:
        dataset: the images.
        side: height and width that are left; a divisor of those there are.

    Returns:
        The dataset.

    Raises:
        InputError: no divisor.

    Example:
        >>> from jaxntk.data.images import load_images
        >>> shrunk(load_images("digits"), 4).x_train.shape[1:]
        (4, 4, 1)
    """
    height, width = dataset.x_train.shape[1:3]
    if side < 1 or height % side or width % side:
        raise InputError("image_size", side, f"give a divisor of {height} and {width}")
    valid = dataset.x_valid
    return replace(
        dataset,
        x_train=_means(dataset.x_train, side),
        x_test=_means(dataset.x_test, side),
        x_valid=None if valid is None else _means(valid, side),
    )


def _means(x: Float[np.ndarray, "n h w c"], side: int) -> Float[np.ndarray, "n s s c"]:
    n, height, width, channels = x.shape
    blocks = x.reshape(n, side, height // side, side, width // side, channels)
    return blocks.mean(axis=(2, 4), dtype=x.dtype)
