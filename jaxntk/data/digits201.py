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
from jaxntk.errors import InputError, check_choice
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
LOSS_UNIT, SECONDS_UNIT = 1e-4, 1e-2
"""Nats and seconds that losses and times are stored in multiples of, as 16-bit integers."""
NO_LOSS = np.iinfo(np.uint16).max
"""Stored for a loss that was not finite."""
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
        function: number of the function of each training.
        seed: seed of each training.
        finite: whether its weights stayed finite.
        right: how many images were classified right: of ``valid`` and ``test`` after each epoch, of
            ``train`` during it, as they came.
        loss: mean training loss of each epoch; NaN where it was not finite.
        seconds: that a training took, with its tests, on one CPU core.
    """

    function_of: Integer[np.ndarray, " cells"]
    function: Integer[np.ndarray, " trainings"]
    seed: Integer[np.ndarray, " trainings"]
    finite: np.ndarray
    right: Mapping[str, Integer[np.ndarray, "trainings epochs"]]
    loss: np.ndarray
    seconds: np.ndarray

    @property
    def epochs(self) -> int:
        """Epochs of each training."""
        return self.loss.shape[1]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that occur; every cell has the first three."""
        return tuple(int(seed) for seed in np.unique(self.seed))

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
        return self._trainings(archs, seed) >= 0

    def accuracy(
        self, archs: ArchLike, split: str, *, epoch: int | None = None, seed: int | None = None
    ) -> Float64[np.ndarray, " num"]:
        """Looks up accuracies.

        Args:
            archs: one row of six operations a cell.
            split: ``train`` (as the images came in that epoch), ``valid`` or ``test``.
            epoch: epochs done, 1 to ``epochs``; None for all of them.
            seed: of the training; None for the mean over all trainings of a cell.

        Returns:
            Percent, one number a cell.

        Raises:
            InputError: not cells, an unknown split or epoch, or a cell not trained from that seed.
        """
        check_choice("split", split, tuple(IMAGES))
        counts = self.right[split].astype(np.float64)
        return self._look_up(100 * counts / IMAGES[split], archs, epoch, seed)

    def loss_of(
        self, archs: ArchLike, *, epoch: int | None = None, seed: int | None = None
    ) -> Float64[np.ndarray, " num"]:
        """Looks up mean training losses of an epoch; NaN where one was not finite.

        Args:
            archs: one row of six operations a cell.
            epoch: 1 to ``epochs``; None for the last.
            seed: of the training; None for the mean over all trainings of a cell.

        Returns:
            Cross entropies in nats, one a cell.

        Raises:
            InputError: not cells, an unknown epoch, or a cell not trained from that seed.
        """
        return self._look_up(self.loss.astype(np.float64), archs, epoch, seed)

    def _look_up(
        self, values: np.ndarray, archs: ArchLike, epoch: int | None, seed: int | None
    ) -> Float64[np.ndarray, " num"]:
        epoch = self.epochs if epoch is None else epoch
        if not 1 <= epoch <= self.epochs:
            raise InputError("epoch", epoch, f"give 1 to {self.epochs}")
        column = values[:, epoch - 1]
        functions = self.function_of[indices_of(check_archs(archs))]
        if seed is None:
            sums = np.bincount(self.function, column)
            return (sums / np.bincount(self.function))[functions]
        found = self._trainings(archs, seed)
        if (found < 0).any():
            got = f"{seed}, which {int((found < 0).sum())} of {len(found)} cells lack"
            raise InputError("seed", got, f"give {self.seeds[0]}, or None for the mean")
        return column[found]

    def _trainings(self, archs: ArchLike, seed: int) -> np.ndarray:
        """Returns the training of each cell from a seed, or -1."""
        at = np.full(int(self.function_of.max()) + 1, -1)
        mine = np.flatnonzero(self.seed == seed)
        at[self.function[mine]] = mine
        return at[self.function_of[indices_of(check_archs(archs))]]


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
        right = {name: arrays.pop(name) for name in IMAGES}
        stored = arrays.pop("loss")
        loss = np.where(stored == NO_LOSS, np.nan, LOSS_UNIT * stored)
        seconds = SECONDS_UNIT * arrays.pop("seconds")
        return Digits201Table(right=right, loss=loss, seconds=seconds, **arrays)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError("table", f"{path} ({error})", "install the package anew") from error


def table_arrays(
    rows: Iterable[Mapping[str, Any]], function_of: Int[np.ndarray, " cells"]
) -> dict[str, np.ndarray]:
    """Packs trainings into the arrays of the table.

    Args:
        rows: of :func:`jaxntk.studies.digits201.trainings`.
        function_of: number of the function that each cell of the space computes.

    Returns:
        Arrays by name, for an .npz file.

    Raises:
        InputError: a function without a training.
    """
    rows = list(rows)
    cells = np.stack([parse_ops(row["ops"]) for row in rows])
    function = function_of[indices_of(cells)]
    order = np.lexsort(([row["seed"] for row in rows], function))
    missing = int(function_of.max()) + 1 - len(np.unique(function))
    if missing:
        raise InputError("rows", f"{missing} functions without a training", "train all of them")
    losses = np.array([
        [np.nan if loss is None else loss / LOSS_UNIT for loss in row["loss"]] for row in rows
    ])
    right = {name: [row[name] for row in rows] for name in IMAGES if name != "train"}
    right["train"] = [[SHOWN * part for part in row["train"]] for row in rows]
    columns = {
        "function": function,
        "seconds": [row["seconds"] / SECONDS_UNIT for row in rows],
        "loss": np.where(np.isnan(losses), NO_LOSS, np.minimum(losses, NO_LOSS - 1)),
        **right,
    }
    return {
        "function_of": function_of.astype(np.uint16),
        "seed": np.array([row["seed"] for row in rows], np.int32)[order],
        "finite": np.array([row["finite"] for row in rows])[order],
        **{name: np.rint(column)[order].astype(np.uint16) for name, column in columns.items()},
    }
