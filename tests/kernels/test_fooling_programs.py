"""Programs made to fool have the kernel of their Jacobian, or are refused."""

import itertools

import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.guard import MethodFallback
from tests.kernels.programs import (
    fooling_changed,
    fooling_flow,
    fooling_inputs,
    fooling_rare,
    fooling_refused,
    fooling_rules,
    fooling_trees,
    fooling_uses,
)
from tests.kernels.programs.compared import difference, jacobian_kernel, kernel_of
from tests.kernels.programs.fooling import Fooling
from tests.zoo.model import as_users_have_it

FOOLING = Fooling(
    fooling_changed.FOOLING
    | fooling_flow.FOOLING
    | fooling_inputs.FOOLING
    | fooling_rare.FOOLING
    | fooling_rules.FOOLING
    | fooling_trees.FOOLING
    | fooling_uses.FOOLING
)
REFUSED, EITHER, LGA = fooling_refused.REFUSED, fooling_refused.EITHER, fooling_refused.LGA


@pytest.fixture(autouse=True, scope="module")
def defaults_of_jax():
    with as_users_have_it():
        yield


def some(names, each):
    """Marks all but one of each few of a kind as slow; a kind is what stands before the colon."""
    kinds = itertools.groupby(sorted(names), lambda name: name.rpartition(":")[0])
    return [
        pytest.param(name, marks=[pytest.mark.slow] if number % each else [])
        for _, kind in kinds
        for number, name in enumerate(kind)
    ]


@pytest.mark.parametrize("name", some(FOOLING, 8))
def test_programs_made_to_fool_have_the_kernel_of_their_jacobian(name):
    program = FOOLING[name]()
    error = difference(kernel_of(program), jacobian_kernel(program))
    assert error <= program.tolerance, f"relative error {error:.1e}"


@pytest.mark.parametrize("name", some(REFUSED, 3))
def test_programs_without_a_kernel_of_single_examples_are_refused(name):
    program = REFUSED[name]()
    with pytest.raises(InputError):
        kernel_of(program)


@pytest.mark.parametrize("name", EITHER)
def test_what_need_not_be_refused_is_right(name):
    program = EITHER[name]()
    try:
        got = kernel_of(program)
    except (InputError, MethodFallback):
        return
    assert difference(got, jacobian_kernel(program)) <= program.tolerance


@pytest.mark.parametrize("name", some(LGA, 2))
def test_lga_finds_the_classifier(name):
    program, chosen = LGA[name]()
    error = difference(kernel_of(program, parameters="lga"), jacobian_kernel(chosen))
    assert error <= program.tolerance
