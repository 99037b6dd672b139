"""Kernels of single parameters: their paths, axes, sum, tiles, and statistics of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.gradients import per_example_norms
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


def _jitted(call):
    return lambda h, moment: call(lambda h: h * lax.rsqrt(moment(h))[None])(h)


WAYS = {
    "a scale that meets the statistic first": lambda h, m, p: (
        h * (p["stem"][0] * lax.rsqrt(m(h)))[None]
    ),
    "under jit": lambda h, m, p: _jitted(jax.jit)(h, m),
    "under a checkpoint": lambda h, m, p: _jitted(jax.checkpoint)(h, m),
    "under jit, with a weight": lambda h, m, p: jax.jit(
        lambda h, w: jax.jit(lambda h: h * lax.rsqrt(m(h))[None])(h) @ w
    )(h, p["stem"]),
    "in a loop": lambda h, m, p: lax.scan(
        lambda h, _: (h * lax.rsqrt(m(h))[None], None), h, None, length=2
    )[0],
    "in a branch": lambda h, m, p: lax.cond(
        p["dead"][0] < 9, lambda h: h * lax.rsqrt(m(h))[None], lambda h: h, h
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_statistics_are_held_constant_wherever_they_are_taken(way):
    def network(p, x, axis=None):
        def moment(h):
            mean = jnp.square(h).mean(axis=0)
            return lax.stop_gradient(mean if axis is None else lax.pmean(mean, axis))

        def not_stopped(h):
            return lax.pmean(jnp.square(h).mean(axis=0), axis)

        return WAYS[way](x @ p["stem"], moment if axis is None else not_stopped, p) @ p["head"]

    params, x = _params(), _x()
    found = layer_kernels(
        lambda p, x: network(p, x, "batch"), params, x, outputs="sum", batch_axis="batch"
    )
    for name in ("stem", "head"):
        assert_close(found[name,], _explicit(network, params, x, name), 1e-12)


def test_the_largest_of_the_batch_is_a_statistic_too():
    def network(p, x, axis=None):
        hidden = x @ p["stem"]
        most = hidden.max(axis=0) if axis is None else lax.pmax(hidden.max(axis=0), axis)
        return (hidden - lax.stop_gradient(most)[None]) @ p["head"]

    params, x = _params(), _x()
    found = layer_kernels(lambda p, x: network(p, x, "b"), params, x, outputs="sum", batch_axis="b")
    assert_close(found["stem",], _explicit(network, params, x, "stem"), 1e-12)


@pytest.mark.parametrize("settings", [{"tile": 2, "outputs": "sum"}, {"outputs": "full"}])
def test_statistics_of_a_part_of_the_batch_are_refused(settings):
    with pytest.raises(InputError, match=r"^batch_axis: got 'b' with tile="):
        layer_kernels(_network, _params(), _x(), batch_axis="b", **settings)


@jax.custom_vjp
def _own(h):
    return h * lax.rsqrt(lax.pmean(jnp.square(h).mean(axis=0), "b"))[None]


_own.defvjp(lambda h: (_own(h), None), lambda _, ct: (ct,))


@pytest.mark.parametrize(
    "network",
    [lambda p, x: x @ lax.pmean(p["stem"], "b"), lambda p, x: _own(x @ p["stem"]) @ p["head"]],
)
def test_statistics_that_cannot_be_held_constant_are_refused(network):
    with pytest.raises(InputError, match=r"^apply_fn: got a function that the Gram rules do not"):
        layer_kernels(network, _params(), _x(), outputs="sum", batch_axis="b")


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


def test_complex_products_keep_their_imaginary_parts():
    params, x = _params("float32"), _x()

    def network(p, x):
        waves = jnp.sin(x * p["stem"][0].astype(x.dtype)[None]).astype(jnp.complex128)
        product = (waves * (1 + 2j)) @ (p["head"].astype(jnp.complex128))
        return product.imag + product.real

    found = layer_kernels(network, params, x, outputs="sum")
    assert_close(found["stem",], _explicit(network, params, x, "stem"), 1e-5)


@pytest.mark.parametrize("length", [4, 5])
def test_a_loop_may_leave_what_it_takes_apart_unused(length):
    def network(p, x):
        x = x * p["stack"][0][None]
        return lax.scan(lambda x, w: (jnp.sin(x), None), x, p["stack"])[0]

    params = {"stack": jnp.ones((length, 3))}
    found = layer_kernels(network, params, _x(), outputs="sum")
    assert_close(found["stack",], _explicit(network, params, _x(), "stack"), 1e-12)
    norms = per_example_norms(network, params, _x(), check=False)
    assert_close(jnp.square(norms), jnp.diag(found["stack",]), 1e-12)
