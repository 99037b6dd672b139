"""Random programs have the kernel of their Jacobian."""

import jax
import numpy as np
import pytest

from tests.kernels.programs.compared import difference, jacobian_kernel, kernel_of
from tests.kernels.programs.drawn import random_program
from tests.zoo.model import as_users_have_it

ORDINARY, SLOW = 50, 2000
ROUTES = ("auto", "factorised", "materialised")


@pytest.fixture(autouse=True, scope="module")
def defaults_of_jax():
    with as_users_have_it():
        yield


def options(seed):
    """Few are checked by the guard, or taken in tiles, which takes as long as another kernel."""
    return {
        "check": seed % 10 == 0,
        "route": ROUTES[seed % 3],
        "tile": 3 if seed % 20 == 7 else None,
    }


def complaint(seed, layers):
    """Tells what is wrong with the kernel of a random program; nothing if it is right."""
    program = random_program(seed, layers)
    wanted = jacobian_kernel(program)
    try:
        error = difference(kernel_of(program, **options(seed)), wanted)
    except Exception as exception:
        first = (str(exception).splitlines() or [""])[0]
        return f"{type(exception).__name__}: {first[:150]} | {program.description}"
    return f"off by {error:.1e} | {program.description}" if error > program.tolerance else None


def complaints(seeds, layers):
    found = []
    for number, seed in enumerate(seeds):
        found.append(complaint(seed, layers))
        if number % 50 == 49:
            jax.clear_caches()
    return "\n".join(filter(None, found))


@pytest.mark.parametrize("first", range(0, ORDINARY, 10))
def test_random_programs_have_the_kernel_of_their_jacobian(first):
    found = complaints(range(first, first + 10), layers=2)
    assert not found, found


@pytest.mark.slow
@pytest.mark.parametrize("first", range(ORDINARY, ORDINARY + SLOW, 100))
def test_many_random_programs_have_the_kernel_of_their_jacobian(first):
    found = complaints(range(first, first + 100), layers=3)
    assert not found, found


def test_a_seed_gives_one_program_with_independent_examples():
    program, again = random_program(7, 2), random_program(7, 2)
    assert program.description == again.description
    run = jax.jit(again.apply_fn)
    together = program.apply_fn(program.params, program.x)
    alone = [run(again.params, again.x[i : i + 1])[0] for i in range(len(again.x))]
    np.testing.assert_allclose(np.stack(alone), together, rtol=1e-10, atol=1e-12)
