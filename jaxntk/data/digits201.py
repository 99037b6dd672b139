"""Digits-201: our own complete benchmark table, shipped with the package.

Every cell of NAS-Bench-201, as a small network (8 channels, 1 cell a stage) trained for 8 epochs on
distorted digits; docs/digits201.md is its data card. Cells that compute one function share its
trainings, so that the table holds 4,930 functions and, for each cell, the number of its function.
"""

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Integer

from jaxntk.data.distorted_digits import COPIES, NUM_VALID
from jaxntk.data.trainings import Trainings, pack, unpack
from jaxntk.errors import InputError
from jaxntk.spaces.nasbench201 import (
    ArchLike,
    Costs,
    check_archs,
    indices_of,
    parse_ops,
    population_costs,
)

FILE = "digits201.npz"
NUM_TEST = 500
SHOWN = 960
"""Images that an epoch trains on: 15 steps of 64."""
IMAGES = {
    "train": SHOWN,
    "valid": COPIES["valid"] * NUM_VALID,
    "test": COPIES["test"] * NUM_TEST,
}
"""Images that the counts of a split are out of."""
TRUTHS = ("digits201/test", "digits201/valid")
"""What a ranking can be held against: accuracies after the last epoch, means over seeds."""
NETWORK = {
    "channels": 8,
    "cells_per_stage": 1,
    "num_classes": 10,
    "in_channels": 1,
    "image_size": 8,
}
"""Sizes of the network that was trained."""


@dataclass(frozen=True, eq=False)
class Digits201Table:
    """Accuracies and losses of all cells, after each epoch.

    Args:
        function_of: number of the function that each cell of the space computes.
        trainings: of the functions; every one has the first three seeds.
    """

    function_of: Integer[np.ndarray, " cells"]
    trainings: Trainings

    def functions(self, archs: ArchLike) -> Integer[np.ndarray, " num"]:
        """Returns the numbers of the functions that cells compute.

        Args:
            archs: one row of six operations a cell.

        Returns:
            A number a cell.

        Raises:
            InputError: not cells.
        """
        return self.function_of[indices_of(check_archs(archs))]

    def costs(self, archs: ArchLike) -> Costs:
        """Counts parameters, FLOPs and convolutions of the networks that were trained.

        Args:
            archs: one row of six operations a cell.

        Returns:
            The counts, one of each a cell.

        Raises:
            InputError: not cells.
        """
        return population_costs(archs, **NETWORK)

    def has_seed(self, archs: ArchLike, seed: int) -> np.ndarray:
        """Tells which cells were trained from a seed.

        Args:
            archs: one row of six operations a cell.
            seed: of a training.

        Returns:
            A flag for each cell.

        Raises:
            InputError: not cells.
        """
        return self.trainings.has_seed(self.functions(archs), seed)

    def accuracy(
        self, archs: ArchLike, split: str, *, epoch: int | None = None, seed: int | None = None
    ) -> Float64[np.ndarray, " num"]:
        """Looks up accuracies.

        Args:
            archs: one row of six operations a cell.
            split: ``train`` (as the images came in that epoch), ``valid`` or ``test``.
            epoch: epochs done, 1 to 8; None for all of them.
            seed: of the training; None for the mean over all trainings of a cell.

        Returns:
            Percent, one number a cell.

        Raises:
            InputError: not cells, an unknown split or epoch, or a cell not trained from that seed.
        """
        return self.trainings.accuracy(self.functions(archs), split, epoch=epoch, seed=seed)

    def loss_of(
        self, archs: ArchLike, *, epoch: int | None = None, seed: int | None = None
    ) -> Float64[np.ndarray, " num"]:
        """Looks up mean training losses of an epoch; NaN where one was not finite.

        Args:
            archs: one row of six operations a cell.
            epoch: 1 to 8; None for the last.
            seed: of the training; None for the mean over all trainings of a cell.

        Returns:
            Cross entropies in nats, one a cell.

        Raises:
            InputError: not cells, an unknown epoch, or a cell not trained from that seed.
        """
        return self.trainings.loss_of(self.functions(archs), epoch=epoch, seed=seed)


@cache
def load_digits201() -> Digits201Table:
    """Reads the table that comes with the package.

    Returns:
        The table.

    Example:
        >>> table = load_digits201()
        >>> table.accuracy(np.array([[0, 0, 0, 0, 0, 0]]), "test").shape
        (1,)
    """
    with resources.as_file(resources.files("jaxntk.data") / FILE) as path:
        return read_table(path)


def read_table(path: Path) -> Digits201Table:
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
            arrays = {name: file[name] for name in file.files}
        return Digits201Table(arrays["function_of"], unpack(arrays, IMAGES))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError("table", f"{path} ({error})", "install the package anew") from error


def table_arrays(
    rows: Iterable[Mapping[str, Any]], function_of: Int[np.ndarray, " cells"]
) -> dict[str, np.ndarray]:
    """Packs trainings into the arrays of the table.

    Args:
        rows: a row a training, as :mod:`jaxntk.studies.tables.digits201` writes them.
        function_of: number of the function that each cell of the space computes.

    Returns:
        Arrays by name, for an .npz file.

    Raises:
        InputError: a function without a training.
    """
    rows = list(rows)
    cells = np.stack([parse_ops(row["ops"]) for row in rows])
    packed = pack(rows, function_of[indices_of(cells)], int(function_of.max()) + 1, IMAGES)
    return {"function_of": function_of.astype(np.uint16), **packed}
