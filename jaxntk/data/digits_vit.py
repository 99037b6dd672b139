"""Digits-ViT: a complete benchmark of small vision transformers, shipped with the package.

All 504 architectures of a small space of AutoFormer's kind, trained on scikit-learn's digits of 8x8
pixels in patches of 2x2; docs/digits_vit.md is its data card.
"""

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int32, Integer

from jaxntk.data.trainings import Trainings, pack, unpack
from jaxntk.errors import InputError
from jaxntk.spaces import autoformer, genes
from jaxntk.spaces.genes import GenesLike
from jaxntk.spaces.vit_cost import ViTCosts

FILE = "digits_vit.npz"
SPACE = autoformer.DIGITS_VIT
"""Heads have embedding / heads dimensions; each block has its own heads and ratio."""
NUM_VALID = 347
"""Training digits, the last ones, that are kept for validation."""
IMAGES = {"train": 992, "valid": NUM_VALID, "test": 450}
"""Images that the counts of a split are out of: an epoch trains on 31 steps of 32."""
TRUTHS = tuple(f"digits_vit/{split}" for split in IMAGES)
"""Names of the accuracies."""
NETWORK = {"patch_size": 2, "image_size": 8, "in_channels": 1, "num_classes": 10}
"""Sizes of the network that was trained."""


@dataclass(frozen=True, eq=False)
class DigitsViTTable:
    """Accuracies and losses of all architectures of the space, after each epoch.

    Args:
        trainings: of the architectures, numbered as :func:`architectures` lists them.
    """

    trainings: Trainings

    def subjects(self, archs: GenesLike) -> Integer[np.ndarray, " num"]:
        """Returns the numbers of architectures, whatever their dormant genes.

        Args:
            archs: one encoding a row.

        Returns:
            A number each.

        Raises:
            InputError: not encodings of the space.
        """
        return _numbers()[codes(autoformer.canonical(archs, SPACE))]

    def accuracy(
        self, archs: GenesLike, split: str, *, epoch: int | None = None, seed: int | None = None
    ) -> Float64[np.ndarray, " num"]:
        """Looks up accuracies.

        Args:
            archs: one encoding a row.
            split: ``train`` (as the images came in that epoch), ``valid`` or ``test``.
            epoch: epochs done, from 1; None for all of them.
            seed: of the training; None for the mean over all trainings.

        Returns:
            Percent, one number each.

        Raises:
            InputError: not encodings of the space, an unknown split or epoch, or an architecture
                that was not trained from that seed.
        """
        return self.trainings.accuracy(self.subjects(archs), split, epoch=epoch, seed=seed)

    def by_code(
        self, split: str, *, epoch: int | None = None, seed: int | None = None
    ) -> Float64[np.ndarray, " codes"]:
        """Lists accuracies by the code of :func:`jaxntk.search.code_of`, for searches under jit.

        Args:
            split: as of :meth:`accuracy`, as are the next two.
            epoch: epochs done.
            seed: of the training.

        Returns:
            Percent, a number for every vector of genes, dormant ones included.

        Raises:
            InputError: an unknown split, epoch or seed.
        """
        every = np.indices(SPACE.sizes).reshape(len(SPACE.sizes), -1).T.astype(np.int32)
        return self.accuracy(every, split, epoch=epoch, seed=seed)


@cache
def architectures() -> Int32[np.ndarray, "num genes"]:
    """Lists the architectures of the space in canonical form, by rising code.

    Returns:
        504 encodings.

    Example:
        >>> len(architectures())
        504
    """
    every = np.indices(SPACE.sizes).reshape(len(SPACE.sizes), -1).T.astype(np.int32)
    found = every[(autoformer.canonical(every, SPACE) == every).all(axis=1)]
    found.flags.writeable = False
    return found


def codes(archs: Int[np.ndarray, "num genes"]) -> Int[np.ndarray, " num"]:
    """Numbers all vectors of genes, the last gene fastest.

    Args:
        archs: one encoding a row.

    Returns:
        A number each.

    Raises:
        InputError: not encodings of the space.
    """
    checked = genes.check_genes(archs, SPACE.sizes)
    return np.asarray(np.ravel_multi_index(tuple(checked.T), SPACE.sizes))


@cache
def _numbers() -> Int[np.ndarray, " codes"]:
    """The number of the architecture of each code; -1 for codes that are not canonical."""
    numbers = np.full(int(np.prod(SPACE.sizes)), -1)
    numbers[codes(architectures())] = np.arange(len(architectures()))
    return numbers


def costs(archs: GenesLike) -> ViTCosts:
    """Counts parameters and FLOPs of the networks that were trained.

    Args:
        archs: one encoding a row.

    Returns:
        The counts.

    Raises:
        InputError: not encodings of the space.
    """
    return autoformer.population_costs(archs, SPACE, **NETWORK)


@cache
def load_digits_vit() -> DigitsViTTable:
    """Reads the table that comes with the package.

    Returns:
        The table.

    Example:
        >>> table = load_digits_vit()
        >>> table.accuracy(architectures()[:3], "test").shape
        (3,)
    """
    with resources.as_file(resources.files("jaxntk.data") / FILE) as path:
        return read_table(path)


def read_table(path: Path) -> DigitsViTTable:
    """Reads a table.

    Args:
        path: an .npz file that :func:`table_arrays` made.

    Returns:
        The table.

    Raises:
        InputError: the file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            trainings = unpack({name: file[name] for name in file.files}, IMAGES)
            there = np.unique(trainings.subject)
            if not np.array_equal(there, np.arange(len(architectures()))):
                raise ValueError(f"trainings of {len(there)} others than its architectures")
            return DigitsViTTable(trainings)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError("table", f"{path} ({error})", "install the package anew") from error


def table_arrays(rows: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Packs trainings into the arrays of the table.

    Args:
        rows: a row a training, as :mod:`jaxntk.studies.tables.digits_vit` writes them.

    Returns:
        Arrays by name, for an .npz file.

    Raises:
        InputError: an architecture without a training.
    """
    rows = list(rows)
    archs = np.stack([autoformer.from_string(row["arch"], SPACE) for row in rows])
    return pack(rows, _numbers()[codes(archs)], len(architectures()), IMAGES)
