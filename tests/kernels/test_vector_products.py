"""Products of the kernel with vectors against the kernel from a Jacobian, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.sparse.linalg import cg

from jaxntk.errors import InputError
from jaxntk.kernels.vector_products import ntk_operator, ntk_vector_product
from tests.kernels.small_functions import FUNCTIONS, case, jacobian, normal


def explicit_product(function, params, x1, x2, v):
    jac1, jac2 = jacobian(function, params, x1), jacobian(function, params, x2)
    return np.einsum("icp,jdp,jd->ic", jac1, jac2, v)


@pytest.mark.parametrize("tile", [None, 1, 3, 20])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_product_is_that_of_the_jacobians(name, tile):
    function, params, x = case(name)
    count = jacobian(function, params, x).shape[1]
    for x1, x2 in ((x, None), (x[:4], x)):
        columns = x1 if x2 is None else x2
        v = normal(3, len(columns), count)
        wanted = explicit_product(function, params, x1, columns, v)
        compiled = jax.jit(partial(ntk_vector_product, function, tile=tile))
        product = compiled(params, x1, x2, v)
        assert product.shape == (len(x1), count)
        np.testing.assert_allclose(product, wanted, rtol=1e-10, atol=1e-10 * np.abs(wanted).max())


@pytest.mark.parametrize("tile", [None, 3])
def test_operator_is_the_kernel(tile):
    function, params, x = case("dense")
    jac = jacobian(function, params, x).reshape(14, -1)
    product = ntk_operator(function, params, x, tile=tile)
    units = np.eye(14).reshape(14, 7, 2)
    kernel = np.array([product(jnp.asarray(unit)).reshape(-1) for unit in units])
    np.testing.assert_allclose(kernel, jac @ jac.T, rtol=1e-10)
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-12)


def test_conjugate_gradients_take_the_operator():
    function, params, x = case("dense")
    jac = jacobian(function, params, x).reshape(14, -1)
    product, y = ntk_operator(function, params, x), normal(5, 7, 2)
    solution, _ = cg(lambda v: product(v) + v, y, tol=1e-12)
    wanted = np.linalg.solve(jac @ jac.T + np.eye(14), np.asarray(y).reshape(-1))
    np.testing.assert_allclose(solution.reshape(-1), wanted, rtol=1e-8)


def test_memory_of_tiles_does_not_grow_with_the_inputs():
    function, params, _ = case("dense")

    def temporaries(n, tile):
        x, v = jnp.zeros((n, 4)), jnp.zeros((n, 2))
        product = jax.jit(
            lambda params, x, v: ntk_vector_product(function, params, x, None, v, tile=tile)
        )
        analysis = product.lower(params, x, v).compile().memory_analysis()
        return analysis.temp_size_in_bytes / 8 / n  # numbers an example

    # 30 hidden units an example without tiles; with them only copies of inputs and vectors.
    assert temporaries(4096, None) >= 30
    assert temporaries(4096, 16) <= 15


def test_the_vector_is_taken_in_the_dtype_of_the_outputs():
    function, params, x = case("dense")
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
    assert ntk_vector_product(function, *narrow, None, normal(3, 7, 2)).dtype == jnp.float32


@pytest.mark.parametrize("beside", [2, True, jnp.array(2), jax.random.key(0)])
@pytest.mark.parametrize("tile", [None, 2])
def test_leaves_without_derivatives_are_held_constant(tile, beside):
    function, params, x = case("dense")
    v = normal(3, len(x), jacobian(function, params, x).shape[1])
    wanted = ntk_vector_product(function, params, x, None, v)

    def with_more(params, x):
        return function(params["net"], x)

    product = ntk_vector_product(with_more, {"net": params, "more": beside}, x, None, v, tile=tile)
    np.testing.assert_allclose(product, wanted, rtol=1e-12)


def test_bad_input_is_refused():
    function, params, x = case("dense")
    with pytest.raises(InputError, match=r"^v: got shape \(7, 3\); .* shape \(7, 2\)$"):
        ntk_vector_product(function, params, x, None, normal(3, 7, 3))
    with pytest.raises(InputError, match=r"^v: got shape \(3, 2\); .* shape \(7, 2\)$"):
        ntk_vector_product(function, params, x, None, normal(3, 3, 2))
    with pytest.raises(InputError, match=r"^tile: got 0; give at least 1"):
        ntk_vector_product(function, params, x, None, normal(3, 7, 2), tile=0)
    with pytest.raises(InputError, match=r"^v: got shape \(2, 2\)"):
        ntk_operator(function, params, x)(normal(3, 2, 2))
