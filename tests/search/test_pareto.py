"""Fronts against a plain double loop."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxntk.search.pareto import front_numbers, pareto_front


def slow_fronts(values):
    left, fronts, number = set(range(len(values))), {}, 0

    def beats(i, j):
        return (values[i] >= values[j]).all() and (values[i] > values[j]).any()

    while left:
        free = {j for j in left if not any(beats(i, j) for i in left)}
        fronts |= dict.fromkeys(free, number)
        left, number = left - free, number + 1
    return [fronts[i] for i in range(len(values))]


numbers = jax.jit(front_numbers)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_fronts_are_those_of_a_plain_loop(seed, goals):
    values = np.random.default_rng(seed).integers(0, 4, (12, goals)).astype(np.float32)
    wanted = slow_fronts(values)
    assert numbers(jnp.asarray(values)).tolist() == wanted
    assert pareto_front(jnp.asarray(values)).tolist() == [number == 0 for number in wanted]


def test_failures_come_last():
    values = jnp.array([[1.0, 1.0], [jnp.nan, 9.0], [2.0, 0.5], [jnp.inf, 0.0]])
    fronts = front_numbers(values).tolist()
    assert fronts[0] == fronts[2] == 0
    assert fronts[1] == fronts[3] == 1
    assert pareto_front(values).tolist() == [True, False, True, False]
