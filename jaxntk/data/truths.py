"""Every accuracy of architectures that tables hold, by its name.

Names are those of the tables that are known of a space (``digits201/test``, ``cifar10/test/200``,
``digits_vit/test``), or a CSV file of your own, ``FILE.csv`` or ``FILE.csv:COLUMN``, for any space.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int

from jaxntk.data import digits201, digits_vit
from jaxntk.data.csv_table import numbers, read_csv
from jaxntk.data.tables import NETWORK, TABLE_FILE, Truth, load_nasbench201
from jaxntk.errors import InputError, check_choice, did_you_mean
from jaxntk.spaces.registry import DIGITS_VIT, NASBENCH201
from jaxntk.spaces.space import Space

TableLookUp: TypeAlias = Callable[[Int[np.ndarray, "num genes"]], Float64[np.ndarray, " num"]]
"""Gives accuracies of architectures."""
ARCH, ACCURACY = "arch", "accuracy"
"""Columns of a file of your own."""


class Networks(NamedTuple):
    """Which networks a table holds the accuracies of.

    Args:
        sizes: by name.
        data: images that they were trained on; None where a table is compared with others too.
        image_size: of these, pixels.
    """

    sizes: Mapping[str, int]
    data: str | None = None
    image_size: int | None = None


class Tables(NamedTuple):
    """The tables that are known of a space.

    Args:
        check: refuses what is no name of theirs.
        look_up: ``(name, file of a table or None) -> archs -> accuracies``.
        networks: ``name -> networks`` that it is of.
    """

    check: Callable[[str], None]
    look_up: Callable[[str, str | None], TableLookUp]
    networks: Callable[[str], Networks]


def check_truth(argument: str, truth: str, space: Space) -> None:
    """Refuses what names no accuracy of a space.

    Args:
        argument: that is checked.
        truth: such as ``digits201/valid``, ``cifar10-valid/valid/200`` or ``mine.csv``.
        space: whose architectures are looked up.

    Raises:
        InputError: no table has it.
    """
    if is_file(truth):
        return
    if space.name not in KNOWN:
        cure = f"give a CSV file, or leave it out: no table holds networks of {space.name}"
        raise InputError(argument, truth, cure)
    try:
        KNOWN[space.name].check(truth)
    except InputError as error:
        raise InputError(argument, error.got, error.cure) from error


def table_look_up(truth: str, space: Space, table: str | None = None) -> TableLookUp:
    """Returns the look-up of accuracies.

    Args:
        truth: as of :func:`check_truth`.
        space: whose architectures are looked up.
        table: file or folder of NAS-Bench-201's table, or None for where ``JAXNTK_DATA`` points.

    Returns:
        ``archs -> accuracies`` in percent.

    Raises:
        InputError: no such truth; a table that is missing or damaged, or lacks the column.
    """
    check_truth("truth", truth, space)
    return _own_look_up(truth, space) if is_file(truth) else KNOWN[space.name].look_up(truth, table)


def check_networks(
    argument: str,
    truth: str,
    space: Space,
    sizes: Mapping[str, Any],
    data: str,
    image_size: int | None,
) -> None:
    """Refuses a table that cannot be compared with networks, as its own saw other images.

    Args:
        argument: that names the table.
        truth: as of :func:`check_truth`.
        space: whose architectures are looked up.
        sizes: of the networks.
        data: that they see.
        image_size: pixels; None for those of the data.

    Raises:
        InputError: it is of other networks.
    """
    if is_file(truth):
        return
    own = KNOWN[space.name].networks(truth)
    same = data == own.data and image_size in (None, own.image_size)
    if own.data is not None and not (same and other_sizes(truth, space, sizes) is None):
        cure = f"it is of --space {space.name} --data {own.data}, at their own sizes"
        raise InputError(argument, f"{truth} for other networks or images", cure)


def other_sizes(truth: str, space: Space, sizes: Mapping[str, Any]) -> str | None:
    """Says what networks a table holds, where they are of other sizes.

    Args:
        truth: as of :func:`check_truth`.
        space: whose architectures are looked up.
        sizes: of the networks at hand.

    Returns:
        The flags that would give the table's; None where they are of these sizes, or not known.
    """
    if is_file(truth):
        return None
    own = KNOWN[space.name].networks(truth).sizes
    if all(sizes[name] == size for name, size in own.items()):
        return None
    flags = (f"--{name.replace('_', '-')} {size}" for name, size in own.items())
    return f"networks with {' '.join(flags)}"


def is_file(truth: str) -> bool:
    """Tells whether a truth is a file of one's own."""
    return _parts(truth)[0].endswith((".csv", ".csv.gz"))


def find_table(folder: str | None, table: str | None) -> str | None:
    """Says where NAS-Bench-201's table is looked for.

    Args:
        folder: of data files, or None.
        table: a file or folder named for this purpose, or None.

    Returns:
        That file or folder, else the folder of data files if it holds the table, else None for
        where the environment variable points.
    """
    if table is None and folder is not None and (Path(folder) / TABLE_FILE).is_file():
        return folder
    return table


def _parts(truth: str) -> tuple[str, str]:
    """Splits ``FILE:COLUMN``; a colon of a drive or folder belongs to the file."""
    file, colon, column = truth.rpartition(":")
    return (file, column) if colon and file.endswith((".csv", ".csv.gz")) else (truth, ACCURACY)


def _own_look_up(truth: str, space: Space) -> TableLookUp:
    """Reads a file of one's own: written forms of architectures, and their accuracies."""
    file, column = _parts(truth)
    header, rows = read_csv(Path(file))
    for name in (ARCH, column):
        if header.count(name) != 1:
            got = f"{file} with {header.count(name)} columns {name!r}"
            near = did_you_mean(name, header)
            raise InputError("truth", got, f"give a CSV file with columns arch and {column}{near}")
    archs, at = [row[header.index(ARCH)] for row in rows], header.index(column)
    known: dict[bytes, float] = {}
    values = numbers([row[at] for row in rows], column, Path(file))
    for line, (text, value) in enumerate(zip(archs, values, strict=True), start=2):
        key = _key(space, _read(space, text, f"{file}, line {line}"))
        if key in known:
            got = f"{file}, line {line}, a second row of {text}"
            raise InputError("truth", got, "give every architecture once")
        if np.isfinite(value):
            known[key] = float(value)

    def look_up(asked: Int[np.ndarray, "num genes"]) -> Float64[np.ndarray, " num"]:
        found = [known.get(_key(space, arch)) for arch in asked]
        if None in found:
            text = space.describe(asked[found.index(None)])[ARCH]
            got = f"{file}, which has no {column} of {found.count(None)} of {len(found)}"
            raise InputError("truth", f"{got} such as {text}", "add their rows, or ask for others")
        return np.array(found, np.float64)

    return look_up


def _read(space: Space, text: str, place: str) -> Int[np.ndarray, " genes"]:
    try:
        return space.read(text)
    except InputError as error:
        raise InputError("truth", f"{place}, {error.argument}={error.got}", error.cure) from error


def _key(space: Space, arch: Int[np.ndarray, " genes"]) -> bytes:
    return np.asarray(space.canonical(arch[None])[0], np.int32).tobytes()


def _check_cells(truth: str) -> None:
    if truth not in digits201.TRUTHS:
        Truth.parse(truth)


def _cells(truth: str, table: str | None) -> TableLookUp:
    if truth in digits201.TRUTHS:
        split = truth.split("/")[1]
        return lambda archs: digits201.load_digits201().accuracy(archs, split)
    column, found = Truth.parse(truth), load_nasbench201(table)
    return lambda archs: found.accuracy(archs, column)


def _cell_networks(truth: str) -> Networks:
    own = digits201.NETWORK if truth in digits201.TRUTHS else NETWORK
    return Networks({name: own[name] for name in ("channels", "cells_per_stage")})


def _check_small_transformers(truth: str) -> None:
    check_choice("truth", truth, digits_vit.TRUTHS)


def _small_transformers(truth: str, table: str | None) -> TableLookUp:
    found, split = digits_vit.load_digits_vit(), truth.split("/")[1]
    return lambda archs: found.accuracy(archs, split)


def _small_networks(truth: str) -> Networks:
    own = digits_vit.NETWORK
    return Networks({"patch_size": own["patch_size"]}, "digits", own["image_size"])


KNOWN: Mapping[str, Tables] = {
    NASBENCH201: Tables(_check_cells, _cells, _cell_networks),
    DIGITS_VIT: Tables(_check_small_transformers, _small_transformers, _small_networks),
}
"""The tables of each space that has any."""
