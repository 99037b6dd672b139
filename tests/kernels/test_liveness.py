"""Programs of a few operations whose peaks are counted by hand."""

import pytest

from jaxntk.kernels.liveness import Operation, Peak, peak

INPUT = Operation("custom", (), (0,))


def dot(reads, writes, inside=0):
    return Operation("dot_general", reads, writes, Peak(inside, "packing"))


def add(reads, writes):
    return Operation("add", reads, writes)


# name: operations, sizes by number, kept, bytes at the peak
CASES = {
    "operand and result of a product are held together": (
        [INPUT, dot((0,), (1,))],
        [10, 7],
        [1],
        17,
    ),
    "what an operation holds while it runs counts": (
        [INPUT, dot((0,), (1,), inside=5)],
        [10, 7],
        [1],
        22,
    ),
    "an operand that is read again is not freed": (
        [INPUT, dot((0,), (1,)), dot((1,), (2,)), dot((0, 2), (3,))],
        [10, 7, 6, 1],
        [3],
        10 + 7 + 6,
    ),
    "what nobody reads is not made": (
        [INPUT, dot((0,), (1,)), dot((0,), (2,))],
        [10, 1, 99],
        [1],
        11,
    ),
    "an elementwise result with one reader that takes it in is not stored": (
        [INPUT, Operation("broadcast_in_dim", (0,), (1,)), Operation("reduce_sum", (1,), (2,))],
        [10, 99, 1],
        [2],
        11,
    ),
    "a product does not take in what it reads": (
        [INPUT, Operation("slice", (0,), (1,)), dot((1,), (2,))],
        [10, 9, 1],
        [2],
        10 + 9,
    ),
    "an elementwise result with two readers is stored": (
        [INPUT, Operation("exp", (0,), (1,)), add((1,), (2,)), add((1, 2), (3,))],
        [10, 12, 12, 12],
        [3],
        10 + 12,
    ),
    "a broadcast is made again for every reader that takes it in": (
        [
            INPUT,
            Operation("broadcast_in_dim", (0,), (1,)),
            Operation("reduce_sum", (1,), (2,)),
            Operation("reduce_max", (1,), (3,)),
        ],
        [10, 99, 1, 1],
        [2, 3],
        12,
    ),
    "what was not stored keeps its sources": (
        [INPUT, add((0,), (1,)), dot((0,), (2,)), Operation("reduce_sum", (1, 2), (3,))],
        [10, 99, 5, 1],
        [3],
        10 + 5 + 1,
    ),
    "an elementwise operation writes over an operand of its size": (
        [INPUT, add((0,), (1,))],
        [10, 10],
        [1],
        10,
    ),
    "but not over one that is read again": (
        [INPUT, add((0,), (1,)), dot((0, 1), (2,))],
        [10, 10, 1],
        [2],
        21,
    ),
    "a loop writes over its initial state": (
        [INPUT, Operation("scan", (0,), (1,), Peak(3, "mul"))],
        [10, 10],
        [1],
        13,
    ),
    "arrays of others do not count": ([dot((0, 1), (2,))], [10, 10, 7], [2], 7),
}


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_what_counting_by_hand_gives(name, on_cpu):
    operations, sizes, kept, expected = CASES[name]
    assert peak(operations, sizes, (), kept, on_cpu=on_cpu).size == expected


def test_owned_arrays_are_there_at_the_start_and_are_freed():
    operations = [dot((0,), (1,)), dot((1,), (2,))]
    assert peak(operations, [10, 2, 9], [0], [2], on_cpu=True) == Peak(12, "dot_general")
    assert peak([], [10], [0], [0], on_cpu=True) == Peak(10, "inputs")
    assert peak([], [10], [0], [], on_cpu=True) == Peak(0, "inputs")


def test_the_operation_at_the_peak_is_named_with_what_runs_inside_it():
    loop = Operation("scan", (), (0,), Peak(3, "cond/mul"))
    assert peak([loop], [1], (), [0], on_cpu=True).operation == "scan/cond/mul"


def test_the_cpu_makes_early_what_is_needed_late():
    constant = Operation("iota", (), (3,))
    operations = [INPUT, dot((0,), (1,)), dot((1,), (2,)), constant, dot((2, 3), (4,))]
    sizes = [10, 10, 1, 50, 1]
    assert peak(operations, sizes, (), [4], on_cpu=True).size == 10 + 10 + 50
    assert peak(operations, sizes, (), [4], on_cpu=False).size == 1 + 50 + 1


def test_elsewhere_what_frees_memory_runs_as_soon_as_it_can():
    # Two large arrays, each of which a product makes small: not both are held.
    makers = [Operation("custom", (), (0,)), Operation("custom", (), (1,))]
    operations = [*makers, dot((0,), (2,)), dot((1,), (3,)), dot((2, 3), (4,))]
    sizes = [40, 40, 1, 1, 1]
    assert peak(operations, sizes, (), [4], on_cpu=False).size == 40 + 1 + 1
    assert peak(operations, sizes, (), [4], on_cpu=True).size == 40 + 40 + 1
