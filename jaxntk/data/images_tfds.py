"""Reads prepared TensorFlow Datasets through ``tfds.data_source``, without TensorFlow."""

import contextlib
import importlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxntk.errors import InputError, did_you_mean

INSTALL = "pip install tensorflow-datasets array_record pillow importlib_resources"


def read_tfds(name: str, folders: Sequence[Path] = ()) -> dict[str, np.ndarray]:
    """Reads the train and test splits of a data set prepared as ``array_record``.

    Nothing is downloaded: preparing the published image data sets needs TensorFlow, reading them
    does not.

    Args:
        name: as TensorFlow Datasets spells it: ``name``, ``name/config`` or ``name:version``.
        folders: where to look first; the first that holds a folder of that name is used, otherwise
            TensorFlow Datasets' own (TFDS_DATA_DIR, or tensorflow_datasets in the home folder).

    Returns:
        ``x_train``, ``y_train``, ``x_test``, ``y_test`` as stored, and ``class_names``.

    Raises:
        InputError: TensorFlow Datasets is not installed, the name is unknown, the data are not
            prepared on this machine, or they are not labelled images of one shape.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
        importlib.import_module("array_record.python.array_record_data_source")
        importlib.import_module("PIL.Image")
    except ImportError as error:
        raise InputError("data", f"tfds:{name}, but {error}", f"run: {INSTALL}") from error
    with _quiet():
        splits = {split: _open_split(tfds, name, split, folders) for split in ("train", "test")}
        image_key, label_key, class_names = _image_and_label(name, splits["train"].dataset_info)
        arrays: dict[str, np.ndarray] = {"class_names": np.array(class_names)}
        for split, source in splits.items():
            examples = [source[index] for index in range(len(source))]
            arrays[f"x_{split}"] = _stack(name, [example[image_key] for example in examples])
            arrays[f"y_{split}"] = np.array([example[label_key] for example in examples], np.int64)
    return arrays


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back the library's warnings: about folders it looked into and about OpenCV."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _open_split(tfds: Any, name: str, split: str, folders: Sequence[Path]) -> Any:
    base = re.split("[/:]", name)[0]
    folder = next((folder for folder in folders if (folder / base).is_dir()), None)
    try:
        return tfds.data_source(name, split=split, data_dir=folder, download=False)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        cure = f"give a data set that is prepared here{did_you_mean(base, known)}"
        raise InputError("data", f"tfds:{name}, an unknown name", cure) from error
    except (ValueError, KeyError, NotImplementedError, AssertionError, OSError) as error:
        # Which of these comes depends on what the folder holds: nothing, another version, another
        # file format, other splits.
        cure = (
            f"prepare it where TensorFlow is installed, with train and test splits: "
            f"tfds build {base} --file_format=array_record, then copy the folder here "
            f"or set TFDS_DATA_DIR ({error!s:.200})"
        )
        raise InputError("data", f"tfds:{name}, whose {split} split is not here", cure) from error


def _image_and_label(name: str, info: Any) -> tuple[str, str, tuple[str, ...]]:
    """Finds the feature names of image and label, and the class names."""
    features: Mapping[str, Any] = info.features
    keys = info.supervised_keys or ("image", "label")
    image_key, label_key = keys[0], keys[-1]
    if not {image_key, label_key} <= set(features) or not hasattr(features[label_key], "names"):
        got = f"tfds:{name} with features {', '.join(sorted(features))}"
        raise InputError("data", got, "use a data set of images with one class label each")
    return image_key, label_key, tuple(features[label_key].names)


def _stack(name: str, images: list[np.ndarray]) -> np.ndarray:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        got = f"tfds:{name} with images of {len(shapes)} different shapes"
        raise InputError("data", got, "use a data set whose images all have one shape")
    return np.array(images)
