"""What the results of a program depend on."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxntk.kernels.traced.kinds import (
    Kind,
    inner_program,
    output_kinds,
    plain,
    scan_kinds,
    scan_parts,
)

C, W, D = Kind.CONSTANT, Kind.WEIGHT, Kind.DATA


def _scan(step):
    return lambda w, x: lax.scan(step, x, w)


def _carried_weight(carry, b):
    x, w = carry
    return (x @ w, w * 2), (x, w, b)


# Results of ``(weight (3, 3), data (3, 3))``.
KINDS = {
    "none": (lambda w, x: jnp.ones(3) * 2, [C]),
    "each": (lambda w, x: (w * 2, x + 1, w @ x), [W, D, D]),
    "no derivative": (lambda w, x: (w > 0, jnp.argmax(w), x > 0), [C, C, D]),
    "stopped": (lambda w, x: (lax.stop_gradient(w), lax.stop_gradient(w) @ x), [C, D]),
    "call": (lambda w, x: jax.jit(lambda w, x: (w.T, w @ x, 1.0))(w, x), [W, D, C]),
    "checkpoint": (lambda w, x: jax.checkpoint(lambda w, x: (w.T, w @ x))(w, x), [W, D]),
    "branches": (
        lambda w, x: lax.cond(True, lambda: (w, w, 1.0), lambda: (x, 2 * w, 2.0)),
        [D, W, C],
    ),
    "branches by data": (lambda w, x: lax.cond(x[0, 0] > 0, lambda: w, lambda: 2 * w), [D]),
    "branches by a weight": (lambda w, x: lax.cond(w[0, 0] > 0, lambda: w, lambda: 2 * w), [W]),
    "loop over weights": (
        lambda w, x: lax.scan(lambda x, row: (x + row[None], row * 2), x, w),
        [D, W],
    ),
    "loop that carries a weight": (
        lambda w, x: lax.scan(_carried_weight, (x, w), jnp.ones((2, 3))),
        [D, W, D, W, C],
    ),
    "loop whose constant becomes data": (
        lambda w, x: lax.scan(lambda c, row: (c + row * w[0], c), jnp.zeros(3), x),
        [D, D],
    ),
    "loop whose constant becomes a weight": (
        lambda w, x: lax.scan(lambda c, row: (c + row, c), jnp.zeros(3), w),
        [W, W],
    ),
    "kinds that pass through several carries": (
        lambda w, x: lax.scan(
            lambda c, row: ((c[1], c[2], row * w[0]), None), (jnp.zeros(3),) * 3, x
        )[0],
        [D, D, D],
    ),
    "operation with a rule": (lambda w, x: (jax.nn.relu(w), jax.nn.relu(w + x)), [W, D]),
}


@pytest.mark.parametrize("name", KINDS)
def test_results_have_the_kind_of_what_they_depend_on(name):
    function, wanted = KINDS[name]
    program = jax.make_jaxpr(function)(jnp.ones((3, 3)), jnp.ones((3, 3)))
    assert output_kinds(program, [W, D]) == wanted


@pytest.mark.parametrize("length", [0, 1, 4])
def test_parts_of_a_loop_are_told_apart(length):
    rows, w, b = jnp.ones((length, 3)), jnp.ones((3, 3)), jnp.ones(3)

    def looped(w, b, rows, x):
        return lax.scan(lambda x, row: (x @ w + b + row, (x, x @ x)), x, rows)

    program = jax.make_jaxpr(looped)(w, b, rows, b)
    (eqn,) = [eqn for eqn in program.eqns if eqn.primitive.name == "scan"]
    assert scan_parts(eqn) == (2, 1)
    assert scan_kinds(eqn, [W, W, C, C]) == ([W], [W, W, W])
    assert scan_kinds(eqn, [C, C, D, C]) == ([D], [D, D, D])


def test_programs_inside_operations_are_found():
    program = jax.make_jaxpr(lambda x: (jax.jit(jnp.sin)(x), jax.checkpoint(jnp.cos)(x)))(1.0)
    names = [plain(inner_program(eqn))[0].eqns[0].primitive.name for eqn in program.eqns]
    assert names == ["sin", "cos"]
    (plus,) = jax.make_jaxpr(lambda x: x + 1)(1.0).eqns
    with pytest.raises(NotImplementedError, match="add without a program"):
        inner_program(plus)
