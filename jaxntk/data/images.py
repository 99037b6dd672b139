"""Labelled images from three kinds of source, checked once and then trusted."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sklearn.datasets
import sklearn.model_selection
from jaxtyping import Float32, Int32

from jaxntk.data.distorted_digits import MAX_PIXEL, distorted_digits
from jaxntk.data.images_tfds import read_tfds
from jaxntk.errors import InputError, did_you_mean

DATA_DIR_VARIABLE = "JAXNTK_DATA"
"""Environment variable with the folder in which data files are looked up."""

DIGITS_TEST_SIZE = 450
DIGITS_SPLIT_SEED = 0
DIGITS = tuple(str(digit) for digit in range(10))

SOURCES = ("digits", "digits201", "npz:FILE", "tfds:NAME")
ARRAY_KEYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL_KEYS = ("x_valid", "y_valid", "class_names")


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images with labels; a dataset that exists is a valid one.

    Args:
        name: what the data are called in results.
        x_train: images (num_train, height, width, channels); :func:`load_images` gives values in
            [0, 1].
        y_train: labels (num_train,) in ``range(num_classes)``.
        x_test: images (num_test, height, width, channels), of the same shape each.
        y_test: labels (num_test,) in ``range(num_classes)``.
        num_classes: how many classes there are, whether or not each has an image.
        class_names: a name for each class.
        x_valid: images to validate on, of the same shape each; None where there are none.
        y_valid: their labels.

    Raises:
        InputError: an image array without four axes, train and test images of different shape,
            NaN or infinite pixels, not one label per image, labels outside the classes, fewer
            than 2 classes, or an empty split.
    """

    name: str
    # Any shape as far as the annotations go: wrong ones come from users and get a clear line below.
    x_train: Float32[np.ndarray, "..."] = field(repr=False)
    y_train: Int32[np.ndarray, "..."] = field(repr=False)
    x_test: Float32[np.ndarray, "..."] = field(repr=False)
    y_test: Int32[np.ndarray, "..."] = field(repr=False)
    num_classes: int
    class_names: tuple[str, ...]
    x_valid: Float32[np.ndarray, "..."] | None = field(default=None, repr=False)
    y_valid: Int32[np.ndarray, "..."] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Checks everything that later code relies on."""
        if self.num_classes < 2:
            raise InputError("num_classes", self.num_classes, "classification needs at least 2")
        if len(self.class_names) != self.num_classes:
            cure = f"give one name for each of the {self.num_classes} classes"
            raise InputError("class_names", f"{len(self.class_names)} names", cure)
        if (self.x_valid is None) != (self.y_valid is None):
            raise InputError("x_valid, y_valid", "one of them", "give both, or neither")
        for split in ("train", "test", "valid"):
            x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if x is None:
                continue
            _check_images(f"x_{split}", x)
            _check_labels(f"y_{split}", y, len(x), self.num_classes)
            if x.shape[1:] != self.x_train.shape[1:]:
                cure = f"make them {self.x_train.shape[1:]} as in x_train"
                raise InputError(f"x_{split}", f"images {x.shape[1:]}", cure)


def load_images(spec: str, *, data_dir: str | os.PathLike[str] | None = None) -> ImageDataset:
    """Loads labelled images, pixels scaled to [0, 1].

    Args:
        spec: one of

            * ``digits``: scikit-learn's 1,797 handwritten digits, 8x8x1, in a fixed stratified
              split of 1,347 training and 450 test images; nothing to download.
            * ``digits201``: distorted digits, the images of the benchmark Digits-201
              (:mod:`jaxntk.data.distorted_digits`): 1,000 to train on, 594 to validate on and
              1,000 to test on.
            * ``npz:FILE``: arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` and, if there,
              ``x_valid``, ``y_valid`` and ``class_names``. Images are (n, height, width, channels),
              uint8 or floats in [0, 1]; labels are integers from 0. A relative FILE is looked up in
              the working directory, then in ``data_dir``, then in the folder that JAXNTK_DATA
              names.
            * ``tfds:NAME``: a data set that TensorFlow Datasets has prepared as ``array_record``,
              read without TensorFlow. It is looked up in the same folders, then where TensorFlow
              Datasets keeps its own.
        data_dir: folder with data files.

    Returns:
        The dataset.

    Raises:
        InputError: an unknown source, a missing or damaged file, or contents that are no dataset.

    Example:
        >>> digits = load_images("digits")
        >>> digits.x_train.shape, digits.num_classes
        ((1347, 8, 8, 1), 10)
    """
    kind, _, argument = spec.partition(":")
    if kind == "digits" and not argument:
        return _load_digits()
    if kind == "digits201" and not argument:
        return _load_digits201()
    if kind == "npz" and argument:
        path = _find_file(argument, data_dir)
        return _from_arrays(path.stem, _read_npz(path))
    if kind == "tfds" and argument:
        return _from_arrays(spec, read_tfds(argument, _data_folders(data_dir)))
    kinds = [source.partition(":")[0] for source in SOURCES]
    hint = "" if kind in kinds else did_you_mean(kind, kinds)
    raise InputError("data", repr(spec), f"use one of {', '.join(SOURCES)}{hint}")


def _load_digits() -> ImageDataset:
    pixels, labels = (np.asarray(part) for part in sklearn.datasets.load_digits(return_X_y=True))
    x = (pixels.reshape(-1, 8, 8, 1) / MAX_PIXEL).astype(np.float32)
    y = labels.astype(np.int32)
    train, test = sklearn.model_selection.train_test_split(
        np.arange(len(y)), test_size=DIGITS_TEST_SIZE, random_state=DIGITS_SPLIT_SEED, stratify=y
    )
    return ImageDataset("digits", x[train], y[train], x[test], y[test], len(DIGITS), DIGITS)


def _load_digits201() -> ImageDataset:
    made = distorted_digits()
    return ImageDataset(
        "digits201", *made["train"], *made["test"], len(DIGITS), DIGITS, *made["valid"]
    )


def _data_folders(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Folders to look in, in order: the argument, then the environment."""
    return [Path(folder) for folder in (data_dir, os.environ.get(DATA_DIR_VARIABLE)) if folder]


def _find_file(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    candidates = [folder / name for folder in (Path(), *_data_folders(data_dir))]
    for path in candidates:
        if path.is_file():
            return path
    looked = ", ".join(str(path) for path in dict.fromkeys(candidates))
    cure = f"give an existing .npz file, --data-dir or {DATA_DIR_VARIABLE} (looked for {looked})"
    raise InputError("data", f"npz:{name}, which does not exist", cure)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    # What zipfile and numpy raise, depending on where a file is cut off or which byte is wrong.
    damaged = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError)
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream):
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {
                    key: archive[key] for key in (*ARRAY_KEYS, *OPTIONAL_KEYS) if key in archive
                }
    except damaged as error:
        cure = f"the file is truncated or no .npz of plain arrays ({error}); write it again"
        raise InputError("data", f"npz:{path}", cure) from error


def _from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> ImageDataset:
    """Builds a dataset from arrays whose contents nobody has checked yet."""
    missing = [key for key in ARRAY_KEYS if key not in arrays]
    if missing:
        got = f"{name} without {', '.join(missing)}"
        raise InputError("data", got, f"the arrays {', '.join(ARRAY_KEYS)} are needed")
    x_train, x_test = (_pixels(key, arrays[key]) for key in ("x_train", "x_test"))
    y_train, y_test = (_labels(key, arrays[key]) for key in ("y_train", "y_test"))
    if "class_names" in arrays:
        class_names = tuple(str(class_name) for class_name in np.ravel(arrays["class_names"]))
    else:
        class_names = _class_numbers(np.concatenate([np.ravel(y_train), np.ravel(y_test)]))
    valid = {
        key: check(key, arrays[key])
        for key, check in (("x_valid", _pixels), ("y_valid", _labels))
        if key in arrays
    }
    return ImageDataset(
        name, x_train, y_train, x_test, y_test, len(class_names), class_names, **valid
    )


def _class_numbers(labels: np.ndarray) -> tuple[str, ...]:
    """Names for classes that have none: their numbers, up to the largest label."""
    largest = int(labels.max()) if labels.size else 0
    if largest >= max(labels.size, 2):
        cure = "number the classes from 0 without gaps, or add the array class_names"
        raise InputError("y_train, y_test", f"label {largest} for {labels.size} images", cure)
    return tuple(str(index) for index in range(largest + 1))


def _pixels(argument: str, x: np.ndarray) -> np.ndarray:
    """Scales images to float32 in [0, 1]."""
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(argument, f"dtype {x.dtype}", "store uint8, or floats in [0, 1]")
    # NaN and infinity pass here: the dataset's own check says where they are.
    if x.size and np.isfinite(x).all() and (x.min() < 0 or x.max() > 1):
        got = f"float pixels from {x.min():g} to {x.max():g}"
        raise InputError(argument, got, "scale floats to [0, 1] or store uint8")
    return x.astype(np.float32)


def _labels(argument: str, y: np.ndarray) -> np.ndarray:
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(argument, f"dtype {y.dtype}", "store labels as integers from 0")
    if y.size and max(abs(int(y.min())), abs(int(y.max()))) > np.iinfo(np.int32).max:
        raise InputError(argument, f"labels {y.min()} to {y.max()}", "number the classes from 0")
    return y.astype(np.int32)


def _check_images(argument: str, x: np.ndarray) -> None:
    if x.ndim != 4:
        cure = "give images of shape (n, height, width, channels)"
        raise InputError(argument, f"shape {x.shape}", cure)
    if 0 in x.shape:
        raise InputError(argument, f"shape {x.shape}", "give at least one image of one pixel")
    if x.shape[1] in (1, 3) and x.shape[3] > 4:
        cure = "channels come last; transpose to (n, height, width, channels)"
        raise InputError(argument, f"shape {x.shape}", cure)
    finite = np.isfinite(x).all(axis=(1, 2, 3))
    if not finite.all():
        got = f"NaN or infinite pixels in {np.sum(~finite)} images, first in {finite.argmin()}"
        raise InputError(argument, got, "remove or repair them")


def _check_labels(argument: str, y: np.ndarray, num_images: int, num_classes: int) -> None:
    if y.shape != (num_images,):
        cure = f"give one label per image, shape ({num_images},)"
        raise InputError(argument, f"shape {y.shape}", cure)
    outside = (y < 0) | (y >= num_classes)
    if outside.any():
        got = f"label {y[outside][0]} at position {outside.argmax()}"
        raise InputError(argument, got, f"labels of {num_classes} classes are 0..{num_classes - 1}")
