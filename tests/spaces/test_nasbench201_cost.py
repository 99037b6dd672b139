"""Costs: equal to the benchmark's table for every cell, and to counts made by hand."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from jaxntk.data.tables import Truth, load_nasbench201
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201 as space

CELLS = space.enumerate_space()
EMPTY, FULL = [0] * 6, [3] * 6


@pytest.mark.parametrize(
    ("dataset", "num_classes", "image_size"),
    [("c10", 10, 32), ("c100", 100, 32), ("in16", 120, 16)],
)
def test_costs_equal_the_table_for_every_cell(data_dir, dataset, num_classes, image_size) -> None:
    table = load_nasbench201(data_dir)
    assert len(table.ops) == 15625
    costs = space.population_costs(table.ops, num_classes=num_classes, image_size=image_size)
    np.testing.assert_array_equal(costs.params, table.columns[f"params_{dataset}"])
    # The table is in millions, rounded to four decimals.
    in_table = 1e6 * table.columns[f"flops_m_{dataset}"]
    np.testing.assert_allclose(costs.flops, in_table, rtol=0, atol=50.001)


@pytest.mark.parametrize(
    ("truth", "of_params", "of_convolutions"),
    [
        ("cifar10/test/200", 0.578, 0.580),
        ("cifar100/test/200", 0.553, 0.594),
        ("imagenet16-120/test/200", 0.520, 0.574),
    ],
)
def test_costs_rank_cells_as_published(data_dir, truth, of_params, of_convolutions) -> None:
    table = load_nasbench201(data_dir)
    costs = space.population_costs(table.ops)
    accuracy = table.accuracy(table.ops, Truth.parse(truth))
    for cost, tau in [
        (costs.params, of_params),
        (costs.flops, of_params),
        (costs.convolutions, of_convolutions),
    ]:
        assert kendalltau(cost, accuracy)[0] == pytest.approx(tau, abs=6e-4)


def test_smallest_and_largest_networks() -> None:
    costs = space.population_costs(CELLS)
    assert (costs.params.min(), costs.params.max()) == (73306, 1531546)
    assert space.num_params(EMPTY) == 73306
    assert space.num_params(FULL) == 1531546
    assert round(space.num_flops(EMPTY) / 1e6, 2) == 7.78
    assert round(space.num_flops(FULL) / 1e6, 2) == 220.12


@pytest.mark.parametrize(
    ("arch", "params", "flops"),
    [
        # stem 9 + 2; blocks 18 + 4 + 36 + 4 + 2 and 72 + 8 + 144 + 8 + 8; last 8; classifier 10.
        # stem 9 on 16 pixels; blocks 56 on 4 pixels and 224 on 1; classifier 10.
        (EMPTY, 11 + 64 + 240 + 8 + 10, 144 + 224 + 224 + 10),
        # a 1x1 edge more, once in each stage of 1, 2 and 4 channels on 16, 4 and 1 pixels.
        ([0, 0, 2, 0, 0, 0], 333 + 3 + 8 + 24, 602 + 16 + 16 + 16),
        # a 3x3 edge more.
        ([0, 0, 2, 0, 0, 3], 368 + 11 + 40 + 152, 650 + 144 + 144 + 144),
        # skip connections and pooling are free.
        ([1, 4, 2, 1, 4, 3], 571, 1082),
    ],
)
def test_tiny_network_counted_by_hand(arch, params, flops) -> None:
    sizes = {"channels": 1, "cells_per_stage": 1, "num_classes": 2, "in_channels": 1}
    assert space.num_params(arch, **sizes) == params
    assert space.num_flops(arch, **sizes, image_size=4) == flops


def test_one_cell_and_population_agree() -> None:
    cells = CELLS[::997]
    sizes = {"channels": 5, "cells_per_stage": 2, "num_classes": 7, "in_channels": 1}
    costs = space.population_costs(cells, **sizes, image_size=12)
    assert costs.params.tolist() == [space.num_params(cell, **sizes) for cell in cells]
    assert costs.flops.tolist() == [space.num_flops(cell, **sizes, image_size=12) for cell in cells]
    assert costs.convolutions.tolist() == [space.num_convolutions(cell) for cell in cells]


def test_convolutions_are_counted_on_dead_branches_too() -> None:
    assert space.num_convolutions([2, 3, 1, 0, 4, 0]) == 2
    assert space.num_convolutions(EMPTY) == 0
    assert space.num_convolutions(FULL) == 6


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"channels": 0}, "^channels: got 0; give at least 1"),
        ({"cells_per_stage": 0}, "^cells_per_stage: got 0; give at least 1"),
        ({"num_classes": -1}, "^num_classes: got -1; give at least 1"),
        ({"in_channels": 0}, "^in_channels: got 0; give at least 1"),
        ({"image_size": 0}, "^image_size: got 0; give at least 1"),
        ({"image_size": 30}, "^image_size: got 30; .* multiple of 4"),
    ],
)
def test_impossible_networks_are_refused(sizes, words) -> None:
    with pytest.raises(InputError, match=words):
        space.num_flops(EMPTY, **sizes)


def test_costs_of_no_cell_are_refused() -> None:
    for count in (space.num_params, space.num_flops, space.num_convolutions):
        with pytest.raises(InputError, match=r"^arch: got operation 5"):
            count([0, 0, 5, 0, 0, 0])
