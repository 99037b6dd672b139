"""Canonical forms: how many classes, what they say by hand, and that equal forms are one function.

The laws evaluate cells on numbers: each operation becomes a generic scalar function that maps zero
to zero, so two cells get the same value exactly when they are the same function.
"""

import functools
from collections import defaultdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201 as space

CELLS = space.enumerate_space()
INPUT = 0.83


@functools.cache
def all_forms(form):
    """One form of every cell."""
    return [form(cell) for cell in CELLS]


def evaluate(cells, weights):
    """Computes the output of scalar cells; weights (assignments, 6), one for each edge."""
    nodes = np.zeros((4, len(cells), len(weights)))
    nodes[0] = INPUT
    for edge, (to, source) in enumerate(space.EDGES):
        z = nodes[source]
        scaled = weights[:, edge] * z
        results = [0 * z, z, np.sin(1.7 * scaled), np.tanh(scaled) + 0.3 * scaled**2]
        results.append(z / (1 + 0.4 * z**2))  # pooling, not linear here: no form relies on it
        nodes[to] += np.choose(cells[:, edge, None], results)
    return nodes[3]


def classes(*keys):
    return len(set(zip(*keys, strict=True)))


@pytest.mark.parametrize(
    ("form", "count"),
    [
        (space.unique_string, 6466),
        (space.tied_function_form, 5260),
        (space.function_form, 4930),
    ],
)
def test_number_of_classes(form, count) -> None:
    assert len(set(all_forms(form))) == count


def test_coarser_forms_merge_whole_classes_of_finer_ones() -> None:
    unique, tied = all_forms(space.unique_string), all_forms(space.tied_function_form)
    function = all_forms(space.function_form)
    assert classes(unique, function) == 6466
    assert classes(tied, function) == 5260


def test_function_form_is_the_function_where_a_kind_of_convolution_shares_one_weight() -> None:
    values = np.round(evaluate(CELLS, np.full((1, 6), 0.9))[:, 0], 10).tolist()
    forms = all_forms(space.function_form)
    assert len(set(values)) == 4930, "two forms with one value, or one form with two"
    assert classes(values, forms) == 4930


def test_tied_form_is_the_function_up_to_the_naming_of_weights() -> None:
    # The distribution of the output over all ways to hand six weights to six edges does not depend
    # on names; the classes that only shared weights tell apart are those where it matters.
    members = defaultdict(list)
    for index, form in enumerate(all_forms(space.function_form)):
        members[form].append(index)
    tied = all_forms(space.tied_function_form)
    mixed = [group for group in members.values() if len({tied[index] for index in group}) > 1]
    assert len(mixed) == 326
    chosen = sorted({*(index for group in mixed for index in group), *range(0, 15625, 61)})
    weights = np.array(list(permutations([0.31, 0.52, 0.77, 1.03, 1.21, 1.46])))
    outputs = evaluate(CELLS[chosen], weights)
    moments = np.round([outputs.mean(1), (outputs**2).mean(1), (outputs**3).mean(1)], 9)
    keys = list(zip(*moments.tolist(), strict=True))
    forms = [tied[index] for index in chosen]
    assert len(set(keys)) == len(set(forms)) == classes(keys, forms)


def test_cells_of_one_tied_form_have_the_same_live_convolutions() -> None:
    live = defaultdict(set)
    for cell, form in zip(CELLS, all_forms(space.tied_function_form), strict=True):
        kept = cell[space.live_edges(cell)]
        live[form].add((int(np.sum(kept == 2)), int(np.sum(kept == 3))))
    assert all(len(counts) == 1 for counts in live.values())


SKIP_THEN_CONV, CONV_THEN_SKIP = [1, 0, 0, 0, 3, 0], [3, 0, 0, 0, 1, 0]
CONV = [0, 0, 0, 3, 0, 0]
TWO_CONVS, ONE_CONV_TWICE = [3, 0, 0, 3, 1, 0], [3, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("a", "b", "forms_that_agree"),
    [
        # A skip connection before or after a convolution changes nothing.
        (SKIP_THEN_CONV, CONV, {"unique", "tied", "function"}),
        (CONV_THEN_SKIP, CONV, {"unique", "tied", "function"}),
        # A none on the way cuts the branch off, whatever else is on it.
        ([3, 0, 0, 3, 0, 0], CONV, {"unique", "tied", "function"}),
        ([0, 0, 0, 3, 2, 0], CONV, {"unique", "tied", "function"}),
        # ... which the benchmark's rule misses where the dead node sums two zeros.
        ([0, 0, 0, 3, 0, 2], CONV, {"tied", "function"}),
        # x + x is not x, and not x + x + x.
        ([1, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0], set()),
        ([1, 0, 0, 1, 1, 0], [1, 1, 0, 1, 1, 1], set()),
        # A doubled input on node 2, copied to the output: x + x either way, once it is flattened.
        ([1, 1, 1, 0, 0, 1], [1, 0, 0, 1, 1, 0], {"tied", "function"}),
        # A convolution used twice has one set of weights, two convolutions have two.
        (TWO_CONVS, ONE_CONV_TWICE, {"function"}),
        # A sum inside a convolution stays a sum inside.
        ([1, 1, 1, 0, 0, 3], [3, 0, 0, 3, 1, 0], set()),
        # Kinds of convolution and pooling are told apart; order of edges is not.
        (CONV, [0, 0, 0, 2, 0, 0], set()),
        (CONV, [0, 0, 0, 4, 0, 0], set()),
        ([2, 0, 0, 3, 1, 0], [3, 0, 0, 2, 1, 0], {"unique", "tied", "function"}),
        # Nothing reaches the output: one class, whatever the dead branches hold.
        ([3, 2, 4, 0, 0, 0], [0, 0, 0, 0, 0, 0], {"unique", "tied", "function"}),
        ([0, 0, 0, 0, 2, 3], [0, 0, 0, 0, 0, 0], {"tied", "function"}),
        # Pooling is linear, and no form relies on it: pool(x) + pool(x) and pool(x + x).
        ([4, 0, 0, 4, 1, 0], [1, 1, 1, 0, 0, 4], set()),
    ],
)
def test_pairs_decided_by_hand(a, b, forms_that_agree) -> None:
    forms = {
        "unique": space.unique_string,
        "tied": space.tied_function_form,
        "function": space.function_form,
    }
    agree = {name for name, form in forms.items() if form(a) == form(b)}
    assert agree == forms_that_agree, {name: (form(a), form(b)) for name, form in forms.items()}


@pytest.mark.parametrize(
    ("arch", "form", "tied"),
    [
        ([0] * 6, "0", "0"),
        ([0, 0, 0, 1, 0, 0], "x", "x"),
        ([1, 1, 1, 0, 0, 1], "x+x", "x+x"),
        (ONE_CONV_TWICE, "nor_conv_3x3(x)+nor_conv_3x3(x)", "nor_conv_3x3#0(x)+nor_conv_3x3#0(x)"),
        (TWO_CONVS, "nor_conv_3x3(x)+nor_conv_3x3(x)", "nor_conv_3x3#0(x)+nor_conv_3x3#1(x)"),
        (
            [2, 1, 1, 0, 0, 4],
            "avg_pool_3x3(nor_conv_1x1(x)+x)",
            "avg_pool_3x3(nor_conv_1x1#0(x)+x)",
        ),
    ],
)
def test_forms_written_by_hand(arch, form, tied) -> None:
    assert space.function_form(arch) == form
    assert space.tied_function_form(arch) == tied


def test_unique_string_is_the_one_of_the_benchmarks_package() -> None:
    reason = "needs `pip install nats_bench`"
    genotypes = pytest.importorskip("nats_bench.genotype_utils", reason=reason)
    theirs = [
        genotypes.topology_str2structure(space.decode(cell)).to_unique_str(consider_zero=True)
        for cell in CELLS
    ]
    assert all_forms(space.unique_string) == theirs


def reach(edges):
    """The nodes that 0 reaches, by following edges until nothing new turns up."""
    seen = {0}
    while grown := {to for to, source in edges if source in seen} - seen:
        seen |= grown
    return seen


def test_live_edges_are_those_between_the_nodes_that_input_reaches_and_that_reach_output() -> None:
    for cell in CELLS:
        kept = [edge for edge, op in zip(space.EDGES, cell, strict=True) if op != 0]
        forward = reach(kept)
        backward = {3 - node for node in reach([(3 - source, 3 - to) for to, source in kept])}
        live = [edge in kept and edge[1] in forward and edge[0] in backward for edge in space.EDGES]
        assert space.live_edges(cell).tolist() == live, cell
        assert space.is_connected(cell) == (3 in forward), cell


def test_only_connected_cells_have_a_function() -> None:
    connected = [space.is_connected(cell) for cell in CELLS]
    assert [form != "0" for form in all_forms(space.function_form)] == connected
    assert not space.is_connected([0] * 6)
    assert not space.is_connected([3, 3, 3, 0, 0, 0])
    assert space.is_connected([0, 0, 0, 1, 0, 0])


@given(index=st.integers(0, 15624), edge=st.integers(0, 5), op=st.integers(0, 4))
def test_what_stands_on_a_dead_branch_does_not_matter(index, edge, op) -> None:
    cell = CELLS[index].copy()
    form, tied = all_forms(space.function_form)[index], all_forms(space.tied_function_form)[index]
    live = space.live_edges(cell)
    if cell[edge] != 0 and not live[edge]:
        cell[edge] = op
    cell[~live & (np.arange(6) != edge)] = 0
    assert space.function_form(cell) == form
    assert space.tied_function_form(cell) == tied
    np.testing.assert_array_equal(space.live_edges(cell), live)


def test_a_representative_is_the_first_of_its_form() -> None:
    tied = all_forms(space.tied_function_form)
    for index in range(0, len(CELLS), 97):
        first = space.index_of(space.tied_representative(tied[index]))
        assert first == tied.index(tied[index]) <= index
    with pytest.raises(InputError, match="form: got y"):
        space.tied_representative("y")


@pytest.mark.parametrize(
    "use",
    [
        space.unique_string,
        space.function_form,
        space.tied_function_form,
        space.live_edges,
        space.is_connected,
    ],
)
def test_forms_of_no_cell_are_refused(use) -> None:
    with pytest.raises(InputError, match=r"^arch: got operation 7"):
        use([0, 0, 0, 0, 0, 7])
