"""The linearised network against its Taylor expansion written out with a Jacobian, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.linearized import linearized
from tests.kernels.small_functions import FUNCTIONS, case, dense_params, jacobian, outputs
from tests.networks import tiny


def shifted(params, step):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + step * rng.normal(size=leaf.shape), params)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_the_expansion_of_first_order(name):
    function, params0, x = case(name)
    params = shifted(params0, 0.7)
    change = np.concatenate([
        np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (params, params0)), strict=True)
    ])
    wanted = outputs(function, params0, x) + jacobian(function, params0, x) @ change
    linear = linearized(function, params0)
    np.testing.assert_allclose(outputs(linear, params, x), wanted, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(outputs(linear, params0, x), outputs(function, params0, x))
    # Affine: the Jacobian is the same everywhere.
    np.testing.assert_allclose(
        jacobian(linear, params, x), jacobian(function, params0, x), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("beside", [2, True, jnp.array(2), jax.random.key(0)])
def test_leaves_without_derivatives_stay_what_they_were(beside):
    function, params0, x = case("dense")
    params = shifted(params0, 0.7)
    linear = linearized(lambda both, x: function(both[0], x), (params0, beside))
    np.testing.assert_allclose(
        linear((params, beside), x), linearized(function, params0)(params, x), rtol=1e-12
    )


def test_complex_parameters_are_refused():
    linear = linearized(lambda w, x: jnp.real(w * x), jnp.ones(3, complex))
    with pytest.raises(InputError, match=r"^params: got params of dtype complex128; give its real"):
        linear(jnp.ones(3, complex), jnp.ones((2, 3)))


def test_error_shrinks_with_the_square_of_the_step():
    function, params0, x = case("dense")
    linear = linearized(function, params0)
    steps = (1e-2, 1e-3)
    errors = [
        np.abs(function(shifted(params0, step), x) - linear(shifted(params0, step), x)).max()
        for step in steps
    ]
    assert 80 < errors[0] / errors[1] < 125, errors


def test_is_that_of_neural_tangents():
    pytest.importorskip("frozendict", reason="neural-tangents is not installed")
    from jaxntk.kernels.neural_tangents_import import import_neural_tangents

    function, params0, x = case("dense")
    params = shifted(params0, 0.7)
    wanted = import_neural_tangents().linearize(function, params0)(params, x)
    np.testing.assert_allclose(jax.jit(linearized(function, params0))(params, x), wanted)


def test_other_parameters_are_refused():
    function, params0, x = case("dense")
    linear = linearized(function, params0)
    wrong = dense_params() | {"bias": np.zeros(29)}
    with pytest.raises(InputError, match=r"^params\['bias'\]: got float64\[29\]; .*float64\[30\]"):
        linear(wrong, x)
    with pytest.raises(InputError, match=r"^params\['more'\]: got float64\[1\]; .*without it$"):
        linear(params0 | {"more": np.zeros(1)}, x)
    with pytest.raises(InputError, match=r"^params\['bias'\]: got nothing; "):
        linear({key: leaf for key, leaf in params0.items() if key != "bias"}, x)


def test_a_network_that_ran_before_is_still_linearised():
    net = tiny.network(cells_per_stage=1, batch_norm=tiny.BatchNormMode.STORED)
    variables = tiny.variables(net)
    x, arch = jnp.asarray(tiny.images()), jnp.asarray(tiny.ALL_OPS, jnp.int32)

    def apply_fn(params, x):
        return net.apply({**variables, "params": params}, x, arch)

    def rise_and_square(params):
        gradient = jax.grad(lambda params: apply_fn(params, x).sum())(params)
        moved = jax.tree.map(lambda leaf, slope: leaf + 1e-3 * slope, params, gradient)
        rise = linearized(apply_fn, params)(moved, x).sum() - apply_fn(params, x).sum()
        return rise, sum(jnp.vdot(slope, slope) for slope in jax.tree.leaves(gradient))

    rise, square = jax.jit(rise_and_square)(variables["params"])
    np.testing.assert_allclose(rise, 1e-3 * square, rtol=1e-10)
