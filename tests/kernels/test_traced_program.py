"""Traced functions whose temporary arrays are counted by hand; one unit is a 16 x 16 float64."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from jaxntk.kernels.traced_program import temporaries

SIDE = 16
UNIT = 8 * SIDE**2
X = jax.ShapeDtypeStruct((SIDE, SIDE), "float64")
STACK = jax.ShapeDtypeStruct((4, SIDE, SIDE), "float64")


def dot(a, b):
    # Sums over the first axes, which needs no packing.
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())))


def units(fn, *args, on_cpu=True):
    peak = temporaries(jax.make_jaxpr(fn)(*args).jaxpr, on_cpu=on_cpu)
    return peak.size / UNIT


def looped(x):
    return lax.fori_loop(0, 4, lambda _, y: dot(dot(y, y), dot(y, y) + 1), x)


# name: function, arguments, units of temporary memory
CASES = {
    "elementwise": (lambda x: jnp.sin(x) + 2 * x, [X], 0),
    "one product between": (lambda x: dot(dot(x, x), x), [X], 1),
    "two products in a row": (lambda x: dot(dot(dot(x, x), x), x), [X], 2),
    "reshape and transpose": (lambda x: dot(dot(x, x).reshape(-1).reshape(x.shape).T, x), [X], 1),
    "unused": (lambda x: (dot(dot(x, x), x), dot(x, x))[0], [X], 1),
    "jit": (lambda x: dot(jax.jit(partial(dot, x))(x), x), [X], 1),
    "remat": (lambda x: dot(jax.checkpoint(partial(dot, x))(x), x), [X], 1),
    "custom_jvp": (lambda x: dot(jax.nn.relu(dot(x, x)), x), [X], 1),
    "vmap": (lambda xs: jax.vmap(lambda x: dot(dot(x, x), x))(xs), [STACK], 4),
    "cond takes its largest branch": (
        lambda x: lax.cond(x[0, 0] > 0, lambda: dot(dot(x, x), x), lambda: x),
        [X],
        1,
    ),
    "the state of a loop is in place, one step is held": (
        lambda x: dot(lax.fori_loop(0, 4, lambda _, y: dot(y, y), x), x),
        [X],
        2,
    ),
    "a stack of results is held whole": (
        lambda x: dot(lax.scan(lambda c, _: (c, dot(x, c)), x, length=4)[1][0], x),
        [X],
        4 + 1,
    ),
    "slices of a stack are read in place by what takes them in": (
        lambda xs: lax.scan(lambda c, y: (c + y.sum(), None), 0.0, xs)[0],
        [STACK],
        0,
    ),
    "and are copied for a product": (
        lambda xs: lax.map(lambda y: dot(y, y).sum(), xs).sum(),
        [STACK],
        2,
    ),
    "a loop of one step is no loop": (
        lambda x: lax.scan(lambda c, _: (dot(c, x), None), x, length=1)[0],
        [X],
        0,
    ),
    "what does not change is computed once, before the loop": (
        lambda x: lax.scan(lambda c, _: (c + dot(dot(x, x), x).sum(), None), 0.0, length=4)[0],
        [X],
        2,
    ),
    "shard_map counts what one device holds": (
        lambda x: jax.shard_map(
            lambda y: dot(dot(y, y), y),
            mesh=jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,)),
            in_specs=PartitionSpec("rows"),
            out_specs=PartitionSpec("rows"),
        )(x),
        [X],
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_temporary_arrays_are_those_that_counting_by_hand_gives(name):
    fn, args, expected = CASES[name]
    assert round(units(fn, *args), 1) == expected
    assert round(units(jax.jit(fn), *args), 1) == expected


@pytest.mark.parametrize("name", CASES)
def test_the_count_does_not_depend_on_the_order_of_the_trace_where_nothing_waits(name):
    fn, args, expected = CASES[name]
    assert round(units(fn, *args, on_cpu=False), 1) <= expected


def test_nested_loops_add_up():
    once = units(looped, X)
    assert once == pytest.approx(2, abs=0.1)
    assert units(lambda x: lax.fori_loop(0, 4, lambda _, y: looped(y), x), X) >= once


def test_recomputation_lessens_what_is_held():
    def deep(layer):
        def loss(x):
            return lax.scan(lambda c, _: (layer(c), None), x, length=8)[0].sum()

        return units(jax.grad(loss), X)

    def layer(c):
        return jnp.sin(dot(jnp.sin(dot(c, c)), c))

    assert deep(jax.checkpoint(layer)) < 0.7 * deep(layer)


def test_a_long_product_on_the_cpu_packs_rows_of_its_right_operand():
    long = jax.ShapeDtypeStruct((SIDE, 1000), "float64")

    def size(fn, on_cpu=True):
        return temporaries(jax.make_jaxpr(fn)(long).jaxpr, on_cpu=on_cpu)

    assert size(lambda j: j @ j.T) == (SIDE * 1000 * 8, "dot_general/packing")
    assert size(lambda j: j @ j.T, on_cpu=False).size == 0
    assert size(lambda j: lax.dot_general(j, j, (((0,), (0,)), ((), ())))).size == 0
