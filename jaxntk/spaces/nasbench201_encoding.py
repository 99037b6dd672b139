"""NAS-Bench-201 cells as six integers, and the three ways to write them: string, digits, number."""

import re
from collections.abc import Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Int, Int32, Shaped

from jaxntk.errors import InputError, did_you_mean

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations, in the order of the benchmark; their index is the encoding."""

CONVOLUTIONS = {1: OPS.index("nor_conv_1x1"), 3: OPS.index("nor_conv_3x3")}
"""The operations that are convolutions, by kernel size."""

EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""The edges as ``(to, from)``, in the order in which the official string names them."""

NUM_EDGES = len(EDGES)
SPACE_SIZE = len(OPS) ** NUM_EDGES

ArchLike: TypeAlias = Sequence[int] | Shaped[np.ndarray, "..."] | Shaped[jax.Array, "..."]
"""What is accepted as a cell; shape, type and range are checked where it is used."""

_PLACE_VALUES = len(OPS) ** np.arange(NUM_EDGES - 1, -1, -1)
_EXAMPLE = "|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|none~1|skip_connect~2|"
_ARCH_PATTERN = re.compile(
    r"\+".join(
        r"\|" + "".join(rf"([^|~+]*)~{source}\|" for to, source in EDGES if to == node)
        for node in (1, 2, 3)
    )
)


def check_archs(archs: ArchLike, argument: str = "archs") -> Int32[np.ndarray, "num 6"]:
    """Returns a population of cells as int32, or says what is wrong with it.

    Args:
        archs: one row of six operations, integers 0..4, a cell.
        argument: what to call it in an error.

    Returns:
        The same cells.

    Raises:
        InputError: wrong shape, not integers, or an operation out of range.
    """
    values = np.asarray(archs)
    if values.ndim != 2 or values.shape[1] != NUM_EDGES:
        cure = f"give one row of {NUM_EDGES} operations a cell, shape (num, {NUM_EDGES})"
        raise InputError(argument, f"an array of shape {values.shape}", cure)
    _check_operations(values, argument)
    return values.astype(np.int32)


def check_arch(arch: ArchLike, argument: str = "arch") -> Int32[np.ndarray, "6"]:
    """Returns one cell as int32, or says what is wrong with it.

    Args:
        arch: six operations, integers 0..4.
        argument: what to call it in an error.

    Returns:
        The same cell.

    Raises:
        InputError: wrong shape, not integers, or an operation out of range.
    """
    values = np.asarray(arch)
    if values.shape != (NUM_EDGES,):
        cure = f"give {NUM_EDGES} operations, one an edge, shape ({NUM_EDGES},)"
        raise InputError(argument, f"an array of shape {values.shape}", cure)
    _check_operations(values, argument)
    return values.astype(np.int32)


def _check_operations(values: Shaped[np.ndarray, "..."], argument: str) -> None:
    """Raises InputError unless every entry is an operation."""
    if not np.issubdtype(values.dtype, np.integer):
        cure = f"operations are integers 0..{len(OPS) - 1}"
        raise InputError(argument, f"dtype {values.dtype}", cure)
    wrong = values[(values < 0) | (values >= len(OPS))]
    if wrong.size:
        names = ", ".join(f"{index} {name}" for index, name in enumerate(OPS))
        raise InputError(argument, f"operation {wrong[0]}", f"operations are {names}")


def encode(arch_str: str) -> Int32[np.ndarray, "6"]:
    """Reads the benchmark's own string.

    Args:
        arch_str: for example ``|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|``.

    Returns:
        The index in ``OPS`` of the operation on each edge.

    Raises:
        InputError: the string is malformed or names an unknown operation.

    Example:
        >>> encode("|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|skip_connect~2|")
        array([4, 0, 0, 3, 0, 1], dtype=int32)
    """
    match = _ARCH_PATTERN.fullmatch(arch_str)
    if match is None:
        raise InputError("arch_str", repr(arch_str), f"write a cell like {_EXAMPLE}")
    for name in match.groups():
        if name not in OPS:
            cure = f"operations are {', '.join(OPS)}{did_you_mean(name, OPS)}"
            raise InputError("arch_str", f"the unknown operation {name!r}", cure)
    return np.array([OPS.index(name) for name in match.groups()], np.int32)


def decode(arch: ArchLike) -> str:
    """Writes the benchmark's own string.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        The string that :func:`encode` reads.

    Raises:
        InputError: not a cell.

    Example:
        >>> decode([4, 0, 0, 3, 0, 1])
        '|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|skip_connect~2|'
    """
    ops = check_arch(arch)
    nodes = (
        "".join(
            f"{OPS[op]}~{source}|"
            for (to, source), op in zip(EDGES, ops, strict=True)
            if to == node
        )
        for node in (1, 2, 3)
    )
    return "+".join(f"|{node}" for node in nodes)


def parse_ops(ops: str) -> Int32[np.ndarray, "6"]:
    """Reads the six-digit form, one digit an edge.

    Args:
        ops: six digits 0..4.

    Returns:
        The cell.

    Raises:
        InputError: not six digits 0..4.

    Example:
        >>> parse_ops("421211")
        array([4, 2, 1, 2, 1, 1], dtype=int32)
    """
    if not re.fullmatch(f"[0-{len(OPS) - 1}]{{{NUM_EDGES}}}", ops):
        cure = f"write {NUM_EDGES} digits 0..{len(OPS) - 1}, one an edge, such as 421211"
        raise InputError("ops", repr(ops), cure)
    return np.array([int(digit) for digit in ops], np.int32)


def format_ops(arch: ArchLike) -> str:
    """Writes the six-digit form, one digit an edge.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        The digits that :func:`parse_ops` reads.

    Raises:
        InputError: not a cell.

    Example:
        >>> format_ops([4, 2, 1, 2, 1, 1])
        '421211'
    """
    return "".join(str(op) for op in check_arch(arch))


def read(text: str) -> Int32[np.ndarray, "6"]:
    """Reads a cell in either of its written forms.

    Args:
        text: the benchmark's string, or six digits.

    Returns:
        The cell.

    Raises:
        InputError: it is neither.

    Example:
        >>> print(read("421211"))
        [4 2 1 2 1 1]
    """
    try:
        return encode(text) if "|" in text else parse_ops(text)
    except InputError as error:
        raise InputError("arch", error.got, error.cure) from error


def enumerate_space() -> Int32[np.ndarray, "15625 6"]:
    """Lists every cell, in the order of :func:`index_of`."""
    return from_indices(np.arange(SPACE_SIZE))


def indices_of(archs: ArchLike) -> Int[np.ndarray, " num"]:
    """Numbers the cells of a population; see :func:`index_of`.

    Args:
        archs: one row of six operations, integers 0..4, a cell.

    Returns:
        A number in ``range(15625)`` for each.

    Raises:
        InputError: not a population of cells.
    """
    return check_archs(archs) @ _PLACE_VALUES


def index_of(arch: ArchLike) -> int:
    """Numbers a cell: its six digits read in base 5, first edge first.

    This is not the benchmark's own index, which follows no rule (the table's ``arch_id``).

    Args:
        arch: six operations, integers 0..4.

    Returns:
        A number in ``range(15625)``.

    Raises:
        InputError: not a cell.

    Example:
        >>> index_of([0, 0, 0, 0, 1, 2])
        7
    """
    return int(check_arch(arch) @ _PLACE_VALUES)


def from_indices(indices: Int[np.ndarray, " num"]) -> Int32[np.ndarray, "num 6"]:
    """Inverts :func:`indices_of`.

    Args:
        indices: numbers in ``range(15625)``.

    Returns:
        A cell for each.

    Raises:
        InputError: a number out of range.
    """
    wrong = indices[(indices < 0) | (indices >= SPACE_SIZE)]
    if wrong.size:
        raise InputError("indices", wrong[0], f"cells are numbered 0..{SPACE_SIZE - 1}")
    return (indices[:, None] // _PLACE_VALUES % len(OPS)).astype(np.int32)


def from_index(index: int) -> Int32[np.ndarray, "6"]:
    """Inverts :func:`index_of`.

    Args:
        index: a number in ``range(15625)``.

    Returns:
        The cell.

    Raises:
        InputError: a number out of range.

    Example:
        >>> from_index(7)
        array([0, 0, 0, 0, 1, 2], dtype=int32)
    """
    return from_indices(np.array([index]))[0]
