"""From a dataset to the images a kernel is computed on: standardisation and batches."""

import dataclasses
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32

from jaxntk.data.images import ImageDataset
from jaxntk.errors import InputError, check_choice

SPLITS = ("train", "valid", "test")
SELECTIONS = ("balanced", "first")


@dataclass(frozen=True)
class Standardization:
    """What was subtracted from and divided out of every pixel, per channel.

    Args:
        mean: mean of the training images, per channel, in units of the pixels as loaded.
        std: their standard deviation (divisor n), per channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of one split.

    Args:
        x: images, float32.
        y: their labels.
        indices: their positions in the split.
    """

    x: Float32[np.ndarray, "n height width channels"]
    y: Int32[np.ndarray, " n"]
    indices: Int[np.ndarray, " n"]


def standardize(dataset: ImageDataset) -> tuple[ImageDataset, Standardization]:
    """Shifts and scales every channel by mean and standard deviation of the training images.

    Args:
        dataset: the images as loaded.

    Returns:
        The dataset with ``(x - mean) / std`` for ``x``, in all splits, and the numbers used.

    Raises:
        InputError: a channel does not vary over the training images.

    Example:
        >>> from jaxntk.data.images import load_images
        >>> scaled, numbers = standardize(load_images("digits"))
        >>> abs(float(scaled.x_train.mean())) < 1e-5, len(numbers.std)
        (True, 1)
    """
    channels = [dataset.x_train[..., c] for c in range(dataset.x_train.shape[-1])]
    for index, channel in enumerate(channels):
        # Not by the standard deviation, which rounding keeps above zero.
        if channel.min() == channel.max():
            got = f"channel {index} with every pixel {channel.min():g}"
            raise InputError("x_train", got, "drop the channel, or give images that vary")
    mean = tuple(float(np.mean(channel, dtype=np.float64)) for channel in channels)
    std = tuple(float(np.std(channel, dtype=np.float64)) for channel in channels)
    shift, scale = np.array(mean, np.float32), np.array(std, np.float32)
    scaled = dataclasses.replace(
        dataset,
        x_train=(dataset.x_train - shift) / scale,
        x_test=(dataset.x_test - shift) / scale,
        x_valid=None if dataset.x_valid is None else (dataset.x_valid - shift) / scale,
    )
    return scaled, Standardization(mean, std)


def make_batch(
    dataset: ImageDataset, n: int, *, split: str = "train", how: str = "balanced", seed: int
) -> Batch:
    """Chooses images of a split.

    Args:
        dataset: the images.
        n: how many, at least 2.
        split: ``train``, ``valid`` or ``test``.
        how: ``balanced`` draws at random so that the numbers of images of any two classes that the
            split holds differ by at most 1, in random order; ``first`` takes the first n as stored.
        seed: of the draw, at least 0; the same seed gives the same batch. Unused by ``first``.

    Returns:
        The batch.

    Raises:
        InputError: an unknown split or selection, a split that is not there, n below 2 or beyond
            what there is, a negative seed, or fewer than 2 classes among the images chosen.

    Example:
        >>> from jaxntk.data.images import load_images
        >>> batch = make_batch(load_images("digits"), 25, seed=0)
        >>> print(np.sort(np.bincount(batch.y)))
        [2 2 2 2 2 3 3 3 3 3]
    """
    check_choice("split", split, SPLITS)
    check_choice("how", how, SELECTIONS)
    if seed < 0:
        raise InputError("seed", seed, "give a seed of 0 or more")
    x, y = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
    if x is None:
        raise InputError("split", split, f"{dataset.name} has no validation set")
    if not 2 <= n <= len(y):
        raise InputError("num_images", n, f"the {split} split allows 2 to {len(y)}")
    indices = _balanced(y, n, seed, split) if how == "balanced" else np.arange(n)
    classes = np.unique(y[indices])
    if classes.size < 2:
        got = f"{n} images of {split}, all of class {classes[0]}"
        raise InputError("num_images", got, "take more images, or a class-balanced batch")
    return Batch(x[indices], y[indices], indices)


def resized(batch: Batch, side: int) -> Batch:
    """Makes the images of a batch square and larger or smaller, bilinearly.

    Args:
        batch: the images.
        side: height and width, pixels.

    Returns:
        The batch; smaller images are smoothed first, so that nothing is seen twice.

    Raises:
        InputError: no pixel.
    """
    if side < 1:
        raise InputError("image_size", side, "give at least 1 pixel")
    n, *_, channels = batch.x.shape
    x = jax.image.resize(batch.x, (n, side, side, channels), "bilinear")
    return dataclasses.replace(batch, x=np.asarray(x, np.float32))


def _balanced(y: Int32[np.ndarray, " num"], n: int, seed: int, split: str) -> Int[np.ndarray, " n"]:
    rng = np.random.default_rng(seed)
    classes, available = np.unique(y, return_counts=True)
    quota, extra = divmod(n, classes.size)
    roomy = np.flatnonzero(available > quota)
    if available.min() < quota or roomy.size < extra:
        smallest = int(available.min())
        most = classes.size * smallest + int(np.sum(available > smallest))
        cure = f"at most {most} can be class-balanced in {split}; take fewer, or the first n"
        raise InputError("num_images", n, cure)
    counts = np.full(classes.size, quota)
    counts[rng.permutation(roomy)[:extra]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(y == label))[:count]
        for label, count in zip(classes, counts, strict=True)
    ]
    return rng.permutation(np.concatenate(chosen))
