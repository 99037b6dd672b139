"""Orbits, groups of cells and the tables of the routed network, against counting by hand."""

import jax
import numpy as np
import pytest

from jaxntk.networks import nasbench201_routing
from jaxntk.networks.nasbench201_routed import ROUTED_OPS
from jaxntk.spaces import nasbench201

SKIP = nasbench201.OPS.index("skip_connect")


def test_orbits_are_the_whole_space_once():
    cells = nasbench201_routing.orbits().reshape(-1, 6)
    assert sorted(nasbench201.indices_of(cells)) == list(range(nasbench201.SPACE_SIZE))


def test_an_orbit_uses_each_operation_once_on_each_edge():
    assert (np.sort(nasbench201_routing.orbits(), axis=1) == np.arange(5)[None, :, None]).all()


@pytest.mark.parametrize("orbits", [1, 4, 25])
def test_whole_orbits_leave_no_slot_empty(orbits):
    packing = nasbench201_routing.pack(
        nasbench201_routing.orbits()[:125].reshape(-1, 6), 5 * orbits
    )
    assert packing.slots == ((orbits,) * 3,) * 6


POPULATIONS = {
    "sample": (nasbench201.sample(jax.random.key(0), 103), 25, 1),
    "for 8 devices": (nasbench201.sample(jax.random.key(1), 30), 4, 8),
    "one cell": (np.full((1, 6), 3), 4, 2),
    "no operation": (np.zeros((6, 6), int), 4, 1),
    "copies": (np.repeat(nasbench201.sample(jax.random.key(2), 3), 7, axis=0), 5, 1),
}


@pytest.fixture(params=POPULATIONS)
def population(request):
    return POPULATIONS[request.param]


def test_every_cell_is_in_one_group(population):
    archs, size, multiple = population
    packing = nasbench201_routing.pack(archs, size, multiple=multiple)
    assert packing.index.shape[1] == size
    assert packing.index.shape[0] % multiple == 0
    assert packing.index.size < len(archs) + size * multiple
    real = packing.index < len(archs)
    assert sorted(packing.index[real]) == list(range(len(archs)))
    np.testing.assert_array_equal(packing.archs[real], archs[packing.index[real]])
    assert not packing.archs[~real].any()


def test_tables_send_each_cell_to_its_operation_and_back(population):
    archs, size, multiple = population
    packing = nasbench201_routing.pack(archs, size, multiple=multiple)
    routes = nasbench201_routing.routes(packing)
    for edge, slots in enumerate(packing.slots):
        op_of_slot = np.repeat(ROUTED_OPS, slots)
        for group, ops in enumerate(packing.archs[:, :, edge]):
            to_slot, to_cell = routes.to_slot[edge][group], routes.to_cell[edge][group]
            for cell, op in enumerate(ops):
                if op in ROUTED_OPS:
                    assert op_of_slot[to_cell[cell]] == op
                    assert to_slot[to_cell[cell]] == cell
                else:
                    assert to_cell[cell] == sum(slots)
            assert (to_slot < size).sum() == np.isin(ops, ROUTED_OPS).sum()
            np.testing.assert_array_equal(routes.skip[edge][group], ops == SKIP)


@pytest.mark.parametrize(("size", "most"), [(25, 1.15), (50, 1.08)])
def test_few_slots_of_a_sample_stay_empty(size, most):
    archs = nasbench201.sample(jax.random.key(0), 1000)
    packing = nasbench201_routing.pack(archs, size)
    given = len(packing.archs) * nasbench201_routing.slot_cost(packing.slots)
    chosen = [[int((column == op).sum()) for op in ROUTED_OPS] for column in archs.T]
    needed = nasbench201_routing.slot_cost(tuple((a, b, c) for a, b, c in chosen))
    assert given / needed < most, f"{given / needed:.3f} slots for each that is needed"


def test_distinct_cells_of_the_whole_space():
    archs = nasbench201.enumerate_space()
    cells, index = nasbench201_routing.distinct_cells(archs)
    assert len(cells) == 9445
    # Where no edge is dead, a cell is its own representative.
    live = np.stack([nasbench201.live_edges(arch) for arch in archs])
    np.testing.assert_array_equal(np.where(live, archs, 0), cells[index])
    for arch in cells[::100]:
        np.testing.assert_array_equal(nasbench201.live_edges(arch), arch > 0)
