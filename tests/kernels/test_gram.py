"""The places of our own networks: one for each parameter, which may be used once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels.gram import marker, network_places, with_places
from jaxntk.networks import gram_rules
from tests.networks.tiny import assert_close

SHAPES = {
    name: jax.ShapeDtypeStruct(shape, "float32")
    for name, shape in {"stem": (3, 3), "cells": (4, 3, 3), "dead": (2,)}.items()
}
X = jax.ShapeDtypeStruct((2, 3), "float32")


def _network(p, x):
    x = x[:, None] @ p["stem"]
    return lax.scan(lambda x, w: (gram_rules.dense(x, w, None), None), x, p["cells"])[0]


def test_places_are_those_of_the_parameters_that_are_used():
    assert network_places(_network, SHAPES, X).leading == {("stem",): (), ("cells",): (4,)}


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (lambda p, x: jnp.tanh(x @ p["stem"]) @ p["stem"], "stem, used 2 times"),
        (
            lambda p, x: lax.fori_loop(0, 3, lambda _, x: jnp.tanh(x @ p["stem"]), x),
            "stem, used by every step of a loop",
        ),
    ],
)
def test_a_network_that_uses_a_parameter_again_has_no_places(network, why):
    with pytest.raises(InputError, match=rf"^network: got {why}; use it once"):
        network_places(network, SHAPES, X)


def test_places_stand_beside_their_parameters():
    params = {"stem": {"kernel": 1, "bias": 2}}
    zeros = jnp.zeros((2, 2))
    both = with_places(params, {("stem", "kernel"): zeros})
    name = marker(("stem", "kernel"))[-1]
    assert both == {"stem": {"kernel": 1, "bias": 2, name: zeros}}


def test_half_precision_layers_are_added_up_in_float32():
    x = jnp.ones((3, 700, 2), jnp.bfloat16)
    kernel, scale = jnp.ones((2, 2), jnp.bfloat16), jnp.ones(2, jnp.bfloat16)
    places = [jnp.zeros((3, 3), jnp.float32)] * 3

    # All are arguments: as constants of ones XLA's CPU compiler adds them up wrongly.
    def out(places, x, kernel, scale):
        hidden = gram_rules.add_bias(gram_rules.dense(x, kernel, places[0]), scale, places[1])
        return gram_rules.multiply_scale(hidden, scale, places[2]).sum(dtype=jnp.float32)

    grams = jax.jit(jax.grad(out))(places, x, kernel, scale)
    # A gradient is 700 for each weight and bias, 700 * 3 for each scale.
    for gram, wanted in zip(grams, (4 * 700**2, 2 * 700**2, 2 * 2100**2), strict=True):
        assert gram.dtype == np.float32
        assert_close(gram, np.full((3, 3), float(wanted)), 1e-6)
