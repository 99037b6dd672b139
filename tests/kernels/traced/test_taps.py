"""Taps give back what they are given, and read gradients off on the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.kernels.traced.control_flow import CONTROL_FLOW
from jaxntk.kernels.traced.interpreter import Interpreter
from jaxntk.kernels.traced.taps import Options, Place, Reading
from jaxntk.kernels.traced.weights import Data, Root, root_node
from tests.networks.tiny import assert_close

N = 4
WEIGHT = np.random.default_rng(0).normal(size=(3, 2))
X = np.random.default_rng(1).normal(size=(N, 3))
# One example and a weight; the first two have a factor form, the others have not.
FUNCTIONS = {
    "product": lambda w, x: jnp.tanh(x @ w),
    "moved and scaled": lambda w, x: jnp.tanh(x @ w[::-1] * 3),
    "repeated": lambda w, x: jnp.tanh(x @ jnp.concatenate([w, w], axis=1)),
    "by entries": lambda w, x: jnp.tanh(x[:, None] * w).sum(axis=0),
    "broadcast": lambda w, x: jnp.tanh(jnp.stack([x, x], axis=1) * w[:1] + x[:, None]).sum(axis=0),
}


def _tapped(function, reading, zeros, x):
    """Returns the outputs of a batch, with places behind its sites."""
    weight = jnp.asarray(WEIGHT)
    program = jax.make_jaxpr(function)(weight, x[0])
    own = reading is not Reading.KERNEL

    def one(zeros, x, tag):
        place = Place(reading, zeros)
        options = Options("auto", jnp.dtype("float64"))
        run = Interpreter(options, tag, None, CONTROL_FLOW)
        (out,) = run.run(program, [root_node(Root((0,), weight, place)), Data(x)])
        return out.value

    tags = jnp.zeros(len(x), jnp.float32)
    return jax.vmap(one, (0 if own else None, 0, 0))(zeros, x, tags)


SHAPES = {Reading.KERNEL: (N, N), Reading.NORM: (N,), Reading.GRADIENT: (N, 3, 2)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_places_read_kernels_norms_and_gradients(name):
    function = FUNCTIONS[name]

    @jax.jit
    def compute(x):
        found = {}
        for reading, shape in SHAPES.items():
            out, pull_back = jax.vjp(
                lambda zeros, reading=reading: _tapped(function, reading, zeros, x),
                jnp.zeros(shape),
            )
            found[reading.name] = (out, pull_back(jnp.ones_like(out))[0])
        gradient = jax.grad(lambda w, x: function(w, x).sum())
        return found, jax.vmap(gradient, (None, 0))(jnp.asarray(WEIGHT), x)

    found, gradients = compute(jnp.asarray(X))
    rows = np.asarray(gradients).reshape(N, -1)
    wanted = jax.jit(jax.vmap(lambda x: function(jnp.asarray(WEIGHT), x)))(jnp.asarray(X))
    for out, _ in found.values():
        assert_close(out, wanted, 1e-14)
    assert_close(found["KERNEL"][1], rows @ rows.T, 1e-12)
    assert_close(found["NORM"][1], np.square(rows).sum(axis=1), 1e-12)
    assert_close(found["GRADIENT"][1], gradients, 1e-12)


def test_the_shape_of_a_place_says_which_block():
    function = FUNCTIONS["product"]

    @jax.jit
    def block(x):
        out, pull_back = jax.vjp(
            lambda zeros: _tapped(function, Reading.KERNEL, zeros, x), jnp.zeros((1, 3))
        )
        return pull_back(jnp.ones_like(out))[0]

    gradient = jax.vmap(jax.grad(lambda w, x: function(w, x).sum()), (None, 0))
    rows = np.asarray(jax.jit(gradient)(jnp.asarray(WEIGHT), jnp.asarray(X))).reshape(N, -1)
    assert_close(block(jnp.asarray(X)), rows[:1] @ rows[1:].T, 1e-12)
