"""The program of one example: what it takes, what it closes over and what it gives."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxntk.kernels.traced.program import trace_example

CLOSED = np.arange(6.0).reshape(3, 2)


def _network(entering, rest, x):
    (w,), (shift, _) = entering, rest
    hidden = x["a"] @ w + shift[None] + x["b"]
    return jnp.stack([hidden @ jnp.asarray(CLOSED)] * 4, axis=1)


def test_a_program_is_that_of_one_example():
    w, shift, unused = jnp.ones((5, 3)), jnp.ones(3), jnp.ones((), jnp.int32)
    x = {
        "a": jax.ShapeDtypeStruct((7, 5), jnp.float64),
        "b": jax.ShapeDtypeStruct((7, 3), jnp.float64),
    }
    program = trace_example(_network, [w], (shift, unused), x)
    assert (program.entering, program.others, program.count) == (1, 2, 8)
    assert program.out_dtype == np.float64
    shapes = [var.aval.shape for var in program.jaxpr.invars]
    assert shapes == [(5, 3), (3,), (), (5,), (3,)]
    assert [np.shape(const) for const in program.consts] == [(3, 2)]
    assert [var.aval.shape for var in program.jaxpr.outvars] == [(8,)]
