"""Kernels of single parameters: their paths, axes, sum, tiles, and statistics of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.gram import layer_kernels, parameter_places
from jaxntk.kernels.layer_kernels import total
from tests.networks.tiny import assert_close

N = 5


def _params(dtype="float64"):
    rng = np.random.default_rng(0)
    shapes = {"stem": (3, 3), "cells": (4, 3, 3), "head": (3, 2), "dead": (2,)}
    return {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def _x(dtype="float64"):
    return jnp.asarray(np.random.default_rng(1).normal(size=(N, 3)), dtype)


def _network(p, x):
    x = jnp.tanh(x @ p["stem"])
    return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, p["cells"])[0] @ p["head"]


def _explicit(network, params, x, name, cut=()):
    """The kernel of one parameter from its Jacobian, an entry of the axes it is cut along."""

    def out(value):
        return network({**params, name: value}, x).sum(axis=1)

    jac = np.asarray(jax.jacobian(out)(params[name])).reshape(N, *cut, -1)
    return np.einsum("i...p,j...p->...ij", jac, jac)


@pytest.mark.parametrize("tile", [None, 2])
def test_each_parameter_has_the_kernel_of_its_jacobian(tile):
    params, x = _params(), _x()
    found = layer_kernels(_network, params, x, outputs="sum", tile=tile)
    assert set(found) == {("stem",), ("cells",), ("head",)}
    for name, cut in {"stem": (), "cells": (4,), "head": ()}.items():
        assert_close(found[name,], _explicit(_network, params, x, name, cut), 1e-12)


@pytest.mark.parametrize("outputs", ["trace", "mean", "class_balanced", "full"])
def test_together_they_are_the_kernel(outputs):
    params, x = _params(), _x()
    whole = total(layer_kernels(_network, params, x, outputs=outputs))
    wanted = empirical_ntk(_network, params, x, outputs=outputs, method="per_example_gradients")
    if outputs == "full":
        wanted = wanted.transpose(0, 2, 1, 3).reshape(whole.shape)
    assert_close(whole, wanted, 1e-12)


def test_places_are_those_of_the_parameters_that_are_used():
    shapes = jax.eval_shape(_params)
    x = jax.ShapeDtypeStruct((2, 3), "float64")
    found = parameter_places(_network, shapes, x)
    assert found.leading == {("stem",): (), ("cells",): (4,), ("head",): ()}
    some = parameter_places(_network, shapes, x, parameters=lambda path: path == ("head",))
    assert some.leading == {("head",): ()}


def test_a_state_may_be_a_shape_too():
    def network(p, x, state):
        return _network(p, x) * state["scale"]

    shapes = jax.eval_shape(_params)
    state = {"scale": jax.ShapeDtypeStruct((), "float64")}
    found = parameter_places(network, shapes, jax.ShapeDtypeStruct((2, 3), "float64"), state=state)
    assert ("head",) in found.leading


def test_a_choice_that_no_parameter_satisfies_is_refused():
    with pytest.raises(InputError, match=r"^parameters: "):
        layer_kernels(_network, _params(), _x(), outputs="sum", parameters=lambda path: False)
    with pytest.raises(InputError, match=r"^route: got 'fast'"):
        layer_kernels(_network, _params(), _x(), outputs="sum", route="fast")


def _normalised(stop):
    """A network that standardises by its batch, along an axis or along the first one."""

    def network(p, x, axis=None):
        hidden = x @ p["stem"]
        mean = hidden.mean(axis=0)
        mean = mean if axis is None else lax.pmean(mean, axis)
        var = jnp.square(hidden - mean[None]).mean(axis=0)
        var = var if axis is None else lax.pmean(var, axis)
        mean, var = stop((mean, var))
        return jnp.tanh((hidden - mean[None]) / jnp.sqrt(var + 1e-5)[None]) @ p["head"]

    return network


@pytest.mark.parametrize("explicit_stop", [True, False])
def test_statistics_of_the_batch_are_held_constant(explicit_stop):
    params, x = _params(), _x()
    stopped = _normalised(lax.stop_gradient)
    ours = stopped if explicit_stop else _normalised(lambda moments: moments)
    found = layer_kernels(
        lambda p, x: ours(p, x, "batch"), params, x, outputs="sum", batch_axis="batch"
    )
    for name in ("stem", "head"):
        assert_close(found[name,], _explicit(stopped, params, x, name), 1e-12)


@pytest.mark.parametrize("name", ["stem", "cells", "head"])
def test_activations_wider_than_parameters_give_narrow_derivatives(name):
    params, x = _params("float32"), _x()

    def network(p, x):
        return _network({key: value.astype(x.dtype) for key, value in p.items()}, x)

    def kernels(params, x):
        return layer_kernels(network, params, x, outputs="sum")

    found = kernels(params, x)[name,]
    assert found.dtype == np.float32
    assert_close(found, _explicit(network, params, x, name), 1e-5)
    # Forward: a product a layer, one of them in the loop; all others are backward.
    products = [line for line in str(jax.make_jaxpr(kernels)(params, x)).splitlines()]
    wide = [line for line in products if "dot_general" in line and ":f64" in line.split("=")[0]]
    assert len(wide) == 3, wide
