"""When two NAS-Bench-201 cells are the same: three canonical forms of a cell, as strings.

=========================  =======  ==============================================================
form                       classes  two of the 15,625 cells are the same when
=========================  =======  ==============================================================
:func:`unique_string`        6,466  the benchmark's own rule says so
:func:`tied_function_form`   5,260  the networks are equal up to which edge each weight belongs to
:func:`function_form`        4,930  the same, but a convolution used twice is not told from two
=========================  =======  ==============================================================

All rest on two facts of the benchmark's cells: ``skip_connect`` copies, and every operation maps
zero to zero (convolutions have no bias and batch normalisation sees a constant). A network whose
convolutions have a bias keeps the second only where the normalisation uses the statistics of the
batch. None uses that average pooling is linear.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Int32

from jaxntk.errors import InputError
from jaxntk.spaces.nasbench201_encoding import (
    CONVOLUTIONS,
    EDGES,
    OPS,
    ArchLike,
    check_arch,
    check_archs,
    enumerate_space,
)

CONVOLUTION_NAMES = tuple(OPS[op] for op in CONVOLUTIONS.values())
NONE, SKIP = OPS.index("none"), OPS.index("skip_connect")

PATHS = tuple(
    tuple(EDGES.index(edge) for edge in path)
    for path in (
        ((3, 0),),
        ((1, 0), (3, 1)),
        ((2, 0), (3, 2)),
        ((1, 0), (2, 1), (3, 2)),
    )
)
"""Every way from the input to the output, as positions in ``EDGES``."""


def live_edges(arch: ArchLike) -> Bool[np.ndarray, "6"]:
    """Marks the edges that the output depends on; the others are dead branches.

    An edge is live when it lies on a path from input to output without a ``none``. A dead edge
    never touches the output: its operation is ``none``, what enters it is zero, or what leaves it
    is multiplied by zero.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        A flag for each edge.

    Raises:
        InputError: not a cell.

    Example:
        >>> live_edges([3, 0, 3, 1, 0, 0]).tolist()
        [False, False, False, True, False, False]
    """
    return live_edges_of(check_arch(arch)[None])[0]


def live_edges_of(archs: ArchLike) -> Bool[np.ndarray, "num 6"]:
    """Marks the edges that the outputs of many cells depend on.

    Args:
        archs: one row of six operations, integers 0..4, a cell.

    Returns:
        A flag for each edge of each cell, as :func:`live_edges` gives them.

    Raises:
        InputError: not a population of cells.
    """
    ops = check_archs(archs)
    live = np.zeros(ops.shape, bool)
    for path in map(list, PATHS):
        live[:, path] |= np.all(ops[:, path] != NONE, axis=1, keepdims=True)
    return live


def is_connected(arch: ArchLike) -> bool:
    """Tells whether the output depends on the input at all.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        Whether some path from input to output has no ``none`` on it.

    Raises:
        InputError: not a cell.

    Example:
        >>> is_connected([3, 3, 3, 0, 0, 0])
        False
    """
    return bool(live_edges(arch).any())


def unique_string(arch: ArchLike) -> str:
    """Canonical form by the benchmark's own rule, ``to_unique_str`` with zeros considered.

    A node is the sorted sum of its edges: ``#`` for ``none``, the source itself for
    ``skip_connect``, ``(source)@op`` else. An edge out of a node that is exactly ``#`` is ``#``; a
    node with two or three zeros, written ``#+#`` or ``#+#+#``, is not taken for zero. The rule
    therefore misses equalities, and like :func:`function_form` it does not tell a convolution used
    twice from two convolutions.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        The same string as ``NATStopology.get_unique_str`` of the benchmark's package.

    Raises:
        InputError: not a cell.

    Example:
        >>> unique_string([3, 0, 0, 1, 1, 0])
        '#+(0)@nor_conv_3x3+0'
    """
    nodes: list[str] = ["0"]
    ops = check_arch(arch)
    for node in (1, 2, 3):
        terms = []
        for (to, source), op in zip(EDGES, ops, strict=True):
            if to != node:
                continue
            if op == NONE or nodes[source] == "#":
                terms.append("#")
            elif op == SKIP:
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{OPS[op]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def function_form(arch: ArchLike) -> str:
    """Canonical form of the function a cell computes, blind to which weights are shared.

    Dead branches are dropped, and a skip connection passes on the terms of the sum it copies, so
    that every node is a flat sum of terms ``x`` (the input) and ``op(sum)``. Terms are sorted and
    repeated as often as they occur: ``x+x`` is not ``x``.

    Cells that are equal up to the naming of weights have equal forms. The converse fails in 326 of
    the 4,930 classes: ``nor_conv_3x3(x)+nor_conv_3x3(x)`` is two convolutions in one cell and one
    convolution used twice, through a skip connection, in another. Their scores differ, so a score
    may be copied only between cells of equal :func:`tied_function_form`.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        The form; ``0`` where the output does not depend on the input.

    Raises:
        InputError: not a cell.

    Example:
        >>> function_form([1, 3, 2, 0, 0, 1])
        'nor_conv_1x1(x)+nor_conv_3x3(x)'
    """
    return _expand(_live_names(arch))


def tied_function_form(arch: ArchLike) -> str:
    """Canonical form of the function a cell computes, with shared weights told apart.

    As :func:`function_form`, but convolutions are numbered: equal numbers are the same convolution,
    with the same weights, used twice. Of all numberings the one whose form comes first in
    alphabetical order is taken. Cells with equal forms are one network up to the edge each
    convolution sits on: same function, same kernel once weights are matched, same distribution of
    any score over random weights.

    Args:
        arch: six operations, integers 0..4.

    Returns:
        The form; ``0`` where the output does not depend on the input.

    Raises:
        InputError: not a cell.

    Example:
        >>> tied_function_form([3, 0, 1, 0, 1, 1])
        'nor_conv_3x3#0(x)+nor_conv_3x3#0(x)'
    """
    live = _live_names(arch)
    convolutions = [edge for edge, name in enumerate(live) if name in CONVOLUTION_NAMES]
    forms = []
    for numbers in permutations(range(len(convolutions))):
        names = list(live)
        for edge, number in zip(convolutions, numbers, strict=True):
            names[edge] += f"#{number}"
        forms.append(_expand(names))
    return min(forms)


def tied_representative(form: str) -> Int32[np.ndarray, "6"]:
    """Returns the first cell of the space with a :func:`tied_function_form`.

    Args:
        form: the form.

    Returns:
        The cell.

    Raises:
        InputError: no cell has this form.

    Example:
        >>> print(tied_representative("x"))
        [0 0 0 1 0 0]
    """
    if form not in _representatives():
        raise InputError("form", form, "give a form as tied_function_form writes it")
    return _representatives()[form].copy()


@cache
def _representatives() -> Mapping[str, Int32[np.ndarray, "6"]]:
    found: dict[str, Int32[np.ndarray, "6"]] = {}
    for arch in enumerate_space():
        found.setdefault(tied_function_form(arch), arch)
    return found


def _live_names(arch: ArchLike) -> list[str]:
    """Names the operation on each edge, ``none`` where the edge is dead."""
    ops = check_arch(arch)
    return [OPS[op] for op in np.where(live_edges(ops), ops, NONE)]


def _expand(names: Sequence[str]) -> str:
    """Writes the output as a sum, sums flattened through skip connections."""
    sums: list[list[str]] = [["x"]]
    for node in (1, 2, 3):
        terms: list[str] = []
        for (to, source), name in zip(EDGES, names, strict=True):
            if to != node or name == OPS[NONE]:
                continue
            if name == OPS[SKIP]:
                terms += sums[source]
            else:
                terms.append(f"{name}({'+'.join(sums[source])})")
        sums.append(sorted(terms))
    return "+".join(sums[-1]) or "0"
