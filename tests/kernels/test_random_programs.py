"""Programs that are random, or made to fool, have the kernel of their Jacobian."""

import warnings

import jax
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels import empirical_ntk
from tests.kernels.fooling_programs import EITHER, FOOLING, LGA, REFUSED
from tests.kernels.random_programs import jacobian_kernel, random_program

ORDINARY, SLOW = 50, 2000


@pytest.fixture(autouse=True, scope="module")
def ordinary_promotion():
    """As users have it: programs that mix dtypes are among those that may fool."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def kernel_of(program, **options):
    with warnings.catch_warnings():
        # Of what is slow; here it is only asked what is right.
        warnings.simplefilter("ignore", UserWarning)
        kernel = empirical_ntk(
            program.apply_fn, program.params, program.x, outputs="trace", **options
        )
    return np.asarray(kernel, np.float64)


def difference(got, wanted):
    """Returns the largest difference, relative to the largest entry."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    assert np.all(np.isfinite(wanted)), "the Jacobian is not finite"
    largest = np.abs(wanted).max()
    error = np.abs(got - wanted).max() / (largest if largest > 0 else 1.0)
    return float(error) if np.isfinite(error) else np.inf


def complaints(seeds):
    """Lists the random programs whose kernel is wrong or crashes."""
    found = []
    for number, seed in enumerate(seeds):
        program = random_program(seed)
        wanted = jacobian_kernel(program)
        try:
            error = difference(kernel_of(program), wanted)
        except Exception as exception:
            first = str(exception).splitlines() or [""]
            found.append(f"{type(exception).__name__}: {first[0][:150]} | {program.description}")
        else:
            if error > program.tolerance:
                found.append(f"relative error {error:.1e} | {program.description}")
        if number % 50 == 49:
            jax.clear_caches()
    return found


@pytest.mark.parametrize("first", range(0, ORDINARY, 10))
def test_random_programs_have_the_kernel_of_their_jacobian(first):
    found = complaints(range(first, first + 10))
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(ORDINARY, ORDINARY + SLOW, 100))
def test_many_random_programs_have_the_kernel_of_their_jacobian(first):
    found = complaints(range(first, first + 100))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_gives_one_program_with_independent_examples(seed):
    program, again = random_program(seed), random_program(seed)
    assert program.description == again.description
    together = np.asarray(program.apply_fn(program.params, program.x))
    alone = [again.apply_fn(again.params, again.x[i : i + 1])[0] for i in range(len(again.x))]
    np.testing.assert_allclose(np.stack(alone), together, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FOOLING)
def test_programs_made_to_fool_have_the_kernel_of_their_jacobian(name):
    program = FOOLING[name]()
    error = difference(kernel_of(program), jacobian_kernel(program))
    assert error <= program.tolerance, f"relative error {error:.1e}"


@pytest.mark.parametrize("name", REFUSED)
def test_programs_without_a_kernel_of_single_examples_are_refused(name):
    program = REFUSED[name]()
    with pytest.raises(InputError):
        kernel_of(program)


@pytest.mark.parametrize("name", EITHER)
def test_what_need_not_be_refused_is_right(name):
    program, wanted = EITHER[name]()
    try:
        got = kernel_of(program)
    except InputError:
        return
    assert difference(got, wanted) <= program.tolerance


@pytest.mark.parametrize("name", LGA)
def test_lga_finds_the_classifier(name):
    program, wanted = LGA[name]()
    assert difference(kernel_of(program, parameters="lga"), wanted) <= program.tolerance
