"""Which NAS-Bench-201 cells are computed together, and where each goes on each edge.

The routed network (:mod:`jaxntk.networks.nasbench201_routed`) gives every operation a fixed number
of slots on every edge. A slot that stays empty costs as much as a full one, so cells are dealt out
in groups in which each operation is chosen about equally often on each edge.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from jaxntk.networks.nasbench201_routed import ROUTED_OPS, Routes, Slots
from jaxntk.spaces import nasbench201
from jaxntk.spaces.nasbench201 import NUM_EDGES, OPS

# Multiply-accumulates for a pixel and a pair of channels; pooling and copying cost memory traffic.
_OP_COSTS = np.array([0.0, 0.5, 2.0, 10.0, 1.0])


class Packing(NamedTuple):
    """Cells dealt out in groups of one size.

    Args:
        index: the position of each cell of each group in the list that was packed; the length of
            that list where the last groups have no cell.
        archs: the cells themselves; all ``none`` where there is none.
        slots: for each edge, how many slots each of ``ROUTED_OPS`` needs in any group.
    """

    index: Int[np.ndarray, "groups size"]
    archs: Int32[np.ndarray, "groups size 6"]
    slots: tuple[Slots, ...]


def orbits() -> Int32[np.ndarray, "3125 5 6"]:
    """Lists the whole space as orbits ``a, a + 1, .., a + 4 mod 5``.

    On every edge the five cells of an orbit choose the five operations, one each: a group of whole
    orbits gives every operation equally much to do.

    Returns:
        The orbits, each beginning with the cell whose first operation is 0.

    Example:
        >>> [nasbench201.format_ops(arch) for arch in orbits()[7]]
        ['000012', '111123', '222234', '333340', '444401']
    """
    first = nasbench201.from_indices(np.arange(nasbench201.SPACE_SIZE // len(OPS)))
    shifts = np.arange(len(OPS), dtype=np.int32)
    return (first[:, None, :] + shifts[None, :, None]) % len(OPS)


def distinct_cells(
    archs: Int[np.ndarray, "num 6"],
) -> tuple[Int32[np.ndarray, "distinct 6"], Int[np.ndarray, " num"]]:
    """Finds the cells among which the kernel over all weights needs to be computed.

    A dead edge (:func:`~jaxntk.spaces.nasbench201.live_edges`) carries zeros or is multiplied by
    zero, so its weights have no gradient, and its operation may as well be ``none``. Cells that
    become equal that way have equal kernels at equal weights: 9,445 of the 15,625 remain. What is
    kept is the kernel of each cell, exactly, not one of its class up to the naming of weights.

    It holds for ``parameters="lga"`` with statistics of the batch. The bias of a convolution that
    sees zeros does have a gradient, so it does not hold for all parameters.

    Args:
        archs: the cells.

    Returns:
        The distinct ones, dead edges made ``none``, and for each cell of the list which it is.

    Raises:
        InputError: not a population of cells.

    Example:
        >>> cells, index = distinct_cells(np.array([[3, 0, 3, 1, 0, 0], [0, 0, 0, 1, 0, 2]]))
        >>> cells.tolist(), index.tolist()
        ([[0, 0, 0, 1, 0, 0]], [0, 0])
    """
    archs = nasbench201.check_archs(archs)
    live = np.stack([nasbench201.live_edges(arch) for arch in archs])
    pruned = np.where(live, archs, np.int32(OPS.index("none")))
    cells, index = np.unique(pruned, axis=0, return_inverse=True)
    return cells, index.reshape(-1)


def pack(archs: Int[np.ndarray, "num 6"], size: int, *, multiple: int = 1) -> Packing:
    """Deals cells out in groups of one size such that few slots stay empty.

    The groups of the list as it stands are kept if they are already as good (whole orbits, in
    order). Otherwise each cell goes to the group with room in which its operations are rarest so
    far, dear operations counting more. It is deterministic.

    Args:
        archs: the cells.
        size: cells in a group.
        multiple: the number of groups is a multiple of it.

    Returns:
        The groups.

    Raises:
        InputError: not a population of cells.

    Example:
        >>> pack(orbits().reshape(-1, 6), 25).slots[0]
        (5, 5, 5)
    """
    archs = nasbench201.check_archs(archs)
    groups = -(-len(archs) // (size * multiple)) * multiple
    as_given = np.arange(groups * size).reshape(groups, size)
    as_given = np.minimum(as_given, len(archs))
    return min(
        (_packing(archs, index) for index in (as_given, _deal(archs, groups, size))),
        key=lambda packing: slot_cost(packing.slots),
    )


def routes(packing: Packing) -> Routes:
    """Builds the tables that the routed network reads.

    Args:
        packing: cells in groups.

    Returns:
        The tables of all groups, stacked along a first axis.
    """
    tables = [
        [_edge_table(group, slots) for group in packing.archs[:, :, edge]]
        for edge, slots in enumerate(packing.slots)
    ]
    fields = [[np.stack(column) for column in zip(*edge, strict=True)] for edge in tables]
    return Routes(*(tuple(column) for column in zip(*fields, strict=True)))


def slot_cost(slots: tuple[Slots, ...]) -> float:
    """Returns about what a group costs, in an arbitrary unit.

    Args:
        slots: of each operation on each edge.

    Returns:
        The number of slots, dear operations counting more.
    """
    return float(np.sum(np.array(slots) * _OP_COSTS[None, list(ROUTED_OPS)]))


def _deal(
    archs: Int32[np.ndarray, "num 6"], groups: int, size: int
) -> Int[np.ndarray, "groups size"]:
    index = np.full((groups, size), len(archs))
    filled = np.zeros(groups, np.int64)
    counts = np.zeros((groups, NUM_EDGES, len(OPS)))
    edges = np.arange(NUM_EDGES)
    # Dear cells first: the cheap ones then even out what is left.
    for cell in np.argsort(-_OP_COSTS[archs].sum(axis=1), kind="stable"):
        ops = archs[cell]
        crowding = (counts[:, edges, ops] * _OP_COSTS[ops][None, :]).sum(axis=1)
        crowding[filled == size] = np.inf
        group = int(np.argmin(crowding))
        index[group, filled[group]] = cell
        filled[group] += 1
        counts[group, edges, ops] += 1
    return index


def _packing(archs: Int32[np.ndarray, "num 6"], index: Int[np.ndarray, "groups size"]) -> Packing:
    nothing = np.full((1, NUM_EDGES), OPS.index("none"), np.int32)
    grouped = np.concatenate([archs, nothing])[index]
    counts = np.stack([(grouped == op).sum(axis=1).max(axis=0) for op in ROUTED_OPS], axis=1)
    slots: tuple[Slots, ...] = tuple((int(a), int(b), int(c)) for a, b, c in counts)
    return Packing(index, grouped, slots)


def _edge_table(
    ops: Int32[np.ndarray, " size"], slots: Slots
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    to_slot = np.full(sum(slots), len(ops), np.int32)
    to_cell = np.full(len(ops), sum(slots), np.int32)
    start = 0
    for op, count in zip(ROUTED_OPS, slots, strict=True):
        cells = np.flatnonzero(ops == op)
        to_slot[start : start + len(cells)] = cells
        to_cell[cells] = start + np.arange(len(cells))
        start += count
    return to_slot, to_cell, ops == OPS.index("skip_connect")
