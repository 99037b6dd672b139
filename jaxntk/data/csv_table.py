"""Tables in CSV files, compressed or not, read whole and checked."""

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from jaxntk.errors import InputError


def read_csv(file: Path) -> tuple[list[str], list[list[str]]]:
    """Reads header and rows of a table.

    Args:
        file: a CSV file, compressed where its name ends in ``.gz``.

    Returns:
        The header, and at least one row; all are as long as the header.

    Raises:
        InputError: a file that is missing, damaged or empty, or a row of another length.
    """
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8", newline="") as lines:
            rows = list(csv.reader(lines))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        cure = "the file is damaged or cannot be read; import or copy it anew"
        raise InputError("table", f"{file} ({error})", cure) from error
    if len(rows) < 2:
        raise InputError("table", f"{file}, which holds no row", "import or copy it anew")
    header = rows[0]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            got = f"{file} with {len(row)} fields instead of {len(header)} in line {number}"
            raise InputError("table", got, "the file is damaged; import or copy it anew")
    return header, rows[1:]


def numbers(texts: Sequence[str], name: str, file: Path) -> Float64[np.ndarray, " num"]:
    """Reads a column of numbers; an empty field is NaN.

    Args:
        texts: the fields.
        name: of the column, for an error.
        file: they are from, for an error.

    Returns:
        The numbers.

    Raises:
        InputError: a field that is neither empty nor a number.
    """
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError as error:
        got = f"{name} in {file} ({error})"
        raise InputError("table", got, "give numbers, or nothing") from error
