"""Benchmark tables: accuracies of trained networks, asked for by data set, split and epochs.

NAS-Bench-201 (Dong & Yang, ICLR 2020, arXiv 2001.00326; extended as NATS-Bench, TPAMI 2021, arXiv
2009.00437) trained all of its 15,625 cells. Its accuracies differ by what they were trained on:
``cifar10-valid`` is half of CIFAR-10's training images, ``cifar10`` all of them, so there is no
default: every query says which one it means.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int32

from jaxntk.data.csv_table import numbers, read_csv
from jaxntk.data.digits201 import TRUTHS as DIGITS201_TRUTHS
from jaxntk.errors import InputError, did_you_mean
from jaxntk.spaces.nasbench201 import (
    SPACE_SIZE,
    ArchLike,
    check_archs,
    decode,
    format_ops,
    indices_of,
    parse_ops,
)

TABLE_FILE = "nasbench201.csv.gz"
DATA_DIR_VARIABLE = "JAXNTK_DATA"
ARCHIVE = "NATS-tss-v1_0-3ffb9-simple"
"""What the authors of the benchmark publish, and the import command reads."""
NETWORK = {"channels": 16, "cells_per_stage": 5}
"""Sizes of the networks that the benchmark trained."""

Dataset: TypeAlias = Literal["cifar10-valid", "cifar10", "cifar100", "imagenet16-120"]
Split: TypeAlias = Literal["train", "valid", "test"]
Epochs: TypeAlias = Literal[12, 200]

_PREFIXES: dict[Dataset, str] = {
    "cifar10-valid": "c10v",
    "cifar10": "c10",
    "cifar100": "c100",
    "imagenet16-120": "in16",
}
_COMBINATIONS: tuple[tuple[Dataset, Split, Epochs], ...] = (
    ("cifar10-valid", "train", 200),
    ("cifar10-valid", "valid", 12),
    ("cifar10-valid", "valid", 200),
    ("cifar10-valid", "test", 200),
    ("cifar10", "train", 200),
    ("cifar10", "test", 12),
    ("cifar10", "test", 200),
    ("cifar100", "train", 200),
    ("cifar100", "valid", 12),
    ("cifar100", "valid", 200),
    ("cifar100", "test", 12),
    ("cifar100", "test", 200),
    ("imagenet16-120", "train", 200),
    ("imagenet16-120", "valid", 12),
    ("imagenet16-120", "valid", 200),
    ("imagenet16-120", "test", 12),
    ("imagenet16-120", "test", 200),
)
_TRUTH_NAMES = tuple("/".join(map(str, combination)) for combination in _COMBINATIONS)

COST_COLUMNS = tuple(
    f"{cost}_{dataset}" for dataset in ("c10", "c100", "in16") for cost in ("params", "flops_m")
)
"""Parameters, and FLOPs in millions, as the benchmark counts them."""


@dataclass(frozen=True)
class Truth:
    """Which accuracy is meant by the truth: after how many epochs, on which images.

    ``cifar10-valid`` networks were trained on half of CIFAR-10's training images (best test
    accuracy 91.5 %), ``cifar10`` networks on all of them (best 94.37 %).

    Args:
        dataset: what the networks were trained on.
        split: the images the accuracy is measured on.
        epochs: how long they were trained.

    Raises:
        InputError: a combination that the table lacks.

    Example:
        >>> Truth.parse("cifar10/test/200").column
        'c10_test_200'
    """

    dataset: Dataset
    split: Split
    epochs: Epochs

    def __post_init__(self) -> None:
        """Checks that the table has the combination."""
        if (self.dataset, self.split, self.epochs) not in _COMBINATIONS:
            raise _unknown_truth(str(self))

    @classmethod
    def parse(cls, text: str) -> "Truth":
        """Reads ``dataset/split/epochs``.

        Args:
            text: for example ``cifar10/test/200``.

        Returns:
            The query.

        Raises:
            InputError: not three parts, or a combination that the table lacks.
        """
        if text not in _TRUTH_NAMES:
            raise _unknown_truth(text)
        return cls(*_COMBINATIONS[_TRUTH_NAMES.index(text)])

    def __str__(self) -> str:
        """Writes ``dataset/split/epochs``, which :meth:`parse` reads."""
        return f"{self.dataset}/{self.split}/{self.epochs}"

    @property
    def column(self) -> str:
        """The column of the table."""
        return f"{_PREFIXES[self.dataset]}_{self.split}_{self.epochs}"


def _unknown_truth(text: str) -> InputError:
    """Builds the error for a combination that the table lacks."""
    # Part of a name is no misspelling: a guess at the rest would be a default.
    names = (*DIGITS201_TRUTHS, *_TRUTH_NAMES)
    whole = text.count("/") == 2 or text.startswith("digits201/")
    hint = did_you_mean(text, names) if whole else ""
    cure = f"choose one of {', '.join(names)}{hint}"
    return InputError("truth", repr(text), cure)


TRUTHS = tuple(Truth(*combination) for combination in _COMBINATIONS)
"""Every query that the complete table answers."""


@dataclass(frozen=True, eq=False)
class Nasbench201Table:
    """Accuracies of trained NAS-Bench-201 cells; it may hold only some of them.

    Args:
        ops: the cells, one a row.
        columns: accuracies in percent by the name of their column (see :attr:`Truth.column`), and
            the costs named in ``COST_COLUMNS``; NaN where a value is missing.
        source: where the table came from, for error messages.

    Raises:
        InputError: not cells, a cell twice, a column of another length, or an accuracy outside
            0..100.
    """

    ops: Int32[np.ndarray, "num 6"]
    columns: Mapping[str, Float64[np.ndarray, "..."]]
    source: str

    def __post_init__(self) -> None:
        """Checks everything that a query relies on."""
        indices, counts = np.unique(indices_of(self.ops), return_counts=True)
        if len(indices) < len(self.ops):
            twice = self.ops[indices_of(self.ops) == indices[counts > 1][0]][0]
            got = f"{format_ops(twice)} twice in {self.source}"
            raise InputError("table", got, "keep one row a cell")
        for name, values in self.columns.items():
            if values.shape != (len(self.ops),):
                got = f"{name} of shape {values.shape} in {self.source}"
                cure = f"give one value for each of the {len(self.ops)} cells"
                raise InputError("table", got, cure)
        for truth in self.truths:
            values = self.columns[truth.column]
            wrong = values[(values < 0) | (values > 100)]
            if wrong.size:
                got = f"{truth.column} = {wrong[0]} in {self.source}"
                raise InputError("table", got, "accuracies are percentages, 0..100")

    @property
    def truths(self) -> tuple[Truth, ...]:
        """The queries this table has a column for."""
        return tuple(truth for truth in TRUTHS if truth.column in self.columns)

    def accuracy(self, archs: ArchLike, truth: Truth) -> Float64[np.ndarray, " num"]:
        """Looks up accuracies.

        Args:
            archs: one row of six operations, integers 0..4, a cell.
            truth: which accuracy.

        Returns:
            An accuracy for each cell, in percent, mean over the benchmark's seeds.

        Raises:
            InputError: not cells, or the table lacks the column, a cell, or a cell's value.
        """
        if truth not in self.truths:
            has = ", ".join(map(str, self.truths)) or "no accuracy at all"
            raise InputError("truth", f"{truth}, not in {self.source}", f"that table has {has}")
        cells = check_archs(archs)
        row_of = np.full(SPACE_SIZE, -1)
        row_of[indices_of(self.ops)] = np.arange(len(self.ops))
        rows = row_of[indices_of(cells)]
        self._require(rows >= 0, cells, "row")
        values = self.columns[truth.column][rows]
        self._require(~np.isnan(values), cells, truth.column)
        return values

    def _require(
        self, found: Bool[np.ndarray, " num"], cells: Int32[np.ndarray, "num 6"], what: str
    ) -> None:
        """Raises InputError unless every cell was found."""
        if not found.all():
            cell = cells[~found][0]
            got = f"{format_ops(cell)} {decode(cell)}, a cell without a {what} in {self.source}"
            cure = (
                f"{np.sum(~found)} of {len(cells)} cells are missing and the table has "
                f"{len(self.ops)} of {SPACE_SIZE}; import the complete table, or leave them out"
            )
            raise InputError("archs", got, cure)


def load_nasbench201(path: str | os.PathLike[str] | None = None) -> Nasbench201Table:
    """Reads the table, a CSV file, compressed where its name ends in ``.gz``.

    Args:
        path: the file, or the folder it lies in as ``nasbench201.csv.gz``; None for the folder that
            the environment variable ``JAXNTK_DATA`` names.

    Returns:
        The table. Empty fields become NaN.

    Raises:
        InputError: no such file, a damaged one, no column ``ops`` or no accuracies, or a value that
            is no number.
    """
    file = _find(path)
    header, rows = read_csv(file)
    if "ops" not in header:
        cure = "a table needs the columns ops and at least one accuracy such as c10_test_200"
        raise InputError("table", f"the columns {', '.join(header)} in {file}", cure)
    texts = dict(zip(header, zip(*rows, strict=True), strict=True))
    known = [*(truth.column for truth in TRUTHS), *COST_COLUMNS]
    columns = {name: numbers(texts[name], name, file) for name in known if name in texts}
    ops = np.stack([parse_ops(text) for text in texts["ops"]])
    table = Nasbench201Table(ops, columns, str(file))
    if not table.truths:
        options = ", ".join(truth.column for truth in TRUTHS)
        cure = f"a table needs at least one accuracy: {options}"
        raise InputError("table", f"the columns {', '.join(header)} in {file}", cure)
    if "arch_str" in texts:
        _check_strings(texts["arch_str"], ops, file)
    return table


def _find(path: str | os.PathLike[str] | None) -> Path:
    """Finds the file of the table, or says how to get it."""
    folder = os.environ.get(DATA_DIR_VARIABLE) if path is None else path
    cure = (
        f"download {ARCHIVE}.tar (linked from https://github.com/D-X-Y/NATS-Bench), unpack it, run "
        f"`jaxntk import-nasbench201 --source {ARCHIVE} --out {TABLE_FILE}` and give that file or "
        f"its folder, or set {DATA_DIR_VARIABLE} to the folder"
    )
    if not folder:
        raise InputError("table", f"no path and no {DATA_DIR_VARIABLE}", cure)
    file = Path(folder)
    if file.is_dir():
        file /= TABLE_FILE
    if not file.is_file():
        raise InputError("table", f"{file}, which does not exist", cure)
    return file


def _check_strings(strings: Sequence[str], ops: Int32[np.ndarray, "num 6"], file: Path) -> None:
    """Raises InputError where the two names of a cell disagree, as for another order of edges."""
    for string, cell in zip(strings, ops, strict=True):
        if decode(cell) != string:
            got = f"ops {format_ops(cell)} beside arch_str {string} in {file}"
            raise InputError("table", got, f"those ops are {decode(cell)}; import the table anew")
