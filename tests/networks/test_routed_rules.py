"""Gradients against JAX's own, and kernels against explicit per-example Jacobians."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.networks import routed_rules
from jaxntk.networks.gram_block import gram_block

N = 5
BLOCKS = [(5, 5), (2, 3), (4, 1)]


class Case(NamedTuple):
    """An operation with a Gram rule, and the same without one."""

    rule: object
    plain: object
    x: np.ndarray
    parameter: np.ndarray
    cotangent: np.ndarray


def _plain_conv(stride, padding):
    def conv(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )

    return conv


def _case(rule, plain, x_shape, parameter_shape):
    rng = np.random.default_rng(sum(x_shape) + 7 * sum(parameter_shape))
    x, parameter = rng.normal(size=x_shape), rng.normal(size=parameter_shape)
    out = jax.eval_shape(plain, x, parameter)
    return Case(rule, plain, x, parameter, rng.normal(size=out.shape))


def _conv_case(size, stride, padding, height, width):
    return _case(
        lambda x, kernel, gram: routed_rules.conv(x, kernel, gram, stride, padding),
        _plain_conv(stride, padding),
        (N, height, width, 2),
        (size, size, 2, 3),
    )


def _add(x, bias):
    return x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def _multiply(x, scale):
    return x * scale.reshape((1,) * (x.ndim - 1) + (-1,))


# Few tokens and wide layers take the Gram matrix through dot products, many tokens through the
# gradients themselves.
MAKERS = {
    "bias of vectors": lambda: _case(routed_rules.add_bias, _add, (N, 3), (3,)),
    "bias of images": lambda: _case(routed_rules.add_bias, _add, (N, 4, 3, 2), (2,)),
    "scale of vectors": lambda: _case(routed_rules.multiply_scale, _multiply, (N, 3), (3,)),
    "scale of images": lambda: _case(routed_rules.multiply_scale, _multiply, (N, 4, 3, 2), (2,)),
    "dense, wide": lambda: _case(routed_rules.dense, jnp.matmul, (N, 1, 40), (40, 30)),
    "dense, long": lambda: _case(routed_rules.dense, jnp.matmul, (N, 20, 3), (3, 2)),
    **{
        f"conv {size}x{size} /{stride} +{padding} of {height}x{width}": (
            lambda args=(size, stride, padding, height, width): _conv_case(*args)
        )
        for size, stride, padding, height, width in [
            (1, 1, 0, 4, 5),
            (1, 2, 0, 5, 4),
            (1, 3, 0, 6, 5),
            (3, 1, 1, 5, 6),
            (3, 1, 0, 5, 5),
            (3, 2, 1, 8, 8),
            (3, 2, 1, 7, 6),
            (3, 2, 0, 6, 7),
            (3, 3, 1, 8, 7),
            (3, 3, 2, 9, 5),
            (5, 1, 2, 6, 5),
            (5, 2, 2, 7, 8),
            (5, 3, 1, 9, 8),
            (5, 3, 0, 7, 5),
        ]
    },
}


@pytest.fixture(params=MAKERS, scope="module")
def case(request):
    return MAKERS[request.param]()


def _assert_close(got, wanted, rtol=1e-10):
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max())


def _example_gradients(case):
    def pulled_back(parameter, x, cotangent):
        return jnp.sum(case.plain(x[None], parameter) * cotangent[None])

    grad = jax.jit(jax.vmap(jax.grad(pulled_back), (None, 0, 0)))
    return np.asarray(grad(case.parameter, case.x, case.cotangent)).reshape(N, -1)


def _wanted_block(jac, shape):
    if shape == (N, N):
        return jac @ jac.T
    return jac[: shape[0]] @ jac[shape[0] :].T


class Computed(NamedTuple):
    """What one compiled function returns for a case: outputs, gradients and Gram matrices."""

    out: jax.Array
    grads: tuple[jax.Array, jax.Array]
    out_with_gram: jax.Array
    grads_with_gram: tuple[jax.Array, jax.Array]
    grams: dict[tuple[int, int], jax.Array]


@pytest.fixture(scope="module")
def computed(case):
    def compute(x, parameter, cotangent):
        out, pull_back = jax.vjp(lambda x, p: case.rule(x, p, None), x, parameter)
        ones = jnp.ones((N, N))
        out_with_gram, pull_back_all = jax.vjp(case.rule, x, parameter, ones)
        grams = {}
        for shape in BLOCKS:
            _, pull_back_gram = jax.vjp(lambda g: case.rule(x, parameter, g), jnp.zeros(shape))
            (grams[shape],) = pull_back_gram(cotangent)
        return Computed(
            out, pull_back(cotangent), out_with_gram, pull_back_all(cotangent)[:2], grams
        )

    return jax.jit(compute)(*map(jnp.asarray, (case.x, case.parameter, case.cotangent)))


@pytest.fixture(scope="module")
def plain(case):
    """Output and gradients by JAX's own differentiation of the plain operation."""

    def compute(x, parameter, cotangent):
        out, pull_back = jax.vjp(case.plain, x, parameter)
        return out, pull_back(cotangent)

    return jax.jit(compute)(*map(jnp.asarray, (case.x, case.parameter, case.cotangent)))


def test_output_is_that_of_the_plain_operation(computed, plain):
    assert computed.out.dtype == np.float64
    _assert_close(computed.out, plain[0])


def test_gradients_are_those_of_the_plain_operation(computed, plain):
    for grads in (computed.grads, computed.grads_with_gram):
        for got, wanted in zip(grads, plain[1], strict=True):
            assert got.dtype == np.float64
            assert got.shape == wanted.shape
            _assert_close(got, wanted)


@pytest.mark.parametrize("shape", BLOCKS)
def test_gram_cotangent_is_the_product_of_example_jacobians(case, computed, shape):
    assert computed.grams[shape].shape == shape
    _assert_close(computed.grams[shape], _wanted_block(_example_gradients(case), shape))


def test_gram_does_not_change_the_output(computed):
    np.testing.assert_array_equal(computed.out_with_gram, computed.out)


@pytest.mark.parametrize("shape", [(4, 4), (5, 4), (1, 3), (6, 6), (3, 3)])
def test_gram_of_another_batch_is_refused(case, shape):
    def pulled_back(x, parameter, cotangent):
        _, pull_back = jax.vjp(lambda gram: case.rule(x, parameter, gram), jnp.zeros(shape))
        return pull_back(cotangent)

    with pytest.raises(ValueError, match="for a batch of 5"):
        jax.eval_shape(pulled_back, case.x, case.parameter, case.cotangent)


def test_float32_places_under_float64_activations_give_float32_kernels(case, plain):
    @jax.jit
    def compute(x, parameter, cotangent):
        rule = lambda x, place: case.rule(x, parameter, place)  # noqa: E731
        out, pull_back = jax.vjp(rule, x, jnp.zeros((N, N), jnp.float32))
        return out, *pull_back(cotangent)

    parameter = jnp.asarray(case.parameter, jnp.float32)
    results = compute(jnp.asarray(case.x), parameter, jnp.asarray(case.cotangent))
    assert [array.dtype for array in results] == [np.float64, np.float64, np.float32]
    for got, wanted in zip(results[:2], (plain[0], plain[1][0]), strict=True):
        _assert_close(got, wanted, rtol=1e-5)
    _assert_close(results[2], _wanted_block(_example_gradients(case), (N, N)), rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize(("features_in", "features_out"), [(2, 3), (12, 9), (1, 1)])
@pytest.mark.parametrize("shape", BLOCKS)
def test_outer_gram_both_ways(tokens, features_in, features_out, shape):
    rng = np.random.default_rng(tokens)
    a, b = rng.normal(size=(N, tokens, features_in)), rng.normal(size=(N, tokens, features_out))
    jac = np.einsum("nti,nto->nio", a, b).reshape(N, -1)
    got = routed_rules.outer_gram(jnp.asarray(a), jnp.asarray(b), shape)
    _assert_close(got, _wanted_block(jac, shape))


def _largest_array(tokens, features_in, features_out):
    shapes = jnp.zeros((N, tokens, features_in)), jnp.zeros((N, tokens, features_out))
    jaxpr = jax.make_jaxpr(lambda a, b: routed_rules.outer_gram(a, b, (N, N)))(*shapes)
    return max(var.aval.size for eqn in jaxpr.jaxpr.eqns for var in eqn.outvars)


def test_outer_gram_takes_the_cheaper_way():
    many_tokens = _largest_array(tokens=100, features_in=2, features_out=3)
    assert many_tokens < N * N * 100 * 100, "many tokens: no n x n x t x t array"
    wide = _largest_array(tokens=1, features_in=200, features_out=300)
    assert wide < N * 200 * 300, "one token: no n x i x o array"


@pytest.mark.parametrize("shape", BLOCKS)
def test_gram_block_names_rows_and_columns(shape):
    jac = np.random.default_rng(0).normal(size=(N, 7))
    _assert_close(gram_block(jnp.asarray(jac), shape), _wanted_block(jac, shape))


def test_half_precision_layers_are_added_up_in_float32():
    x = jnp.ones((3, 700, 2), jnp.bfloat16)
    kernel, scale = jnp.ones((2, 2), jnp.bfloat16), jnp.ones(2, jnp.bfloat16)
    places = [jnp.zeros((3, 3), jnp.float32)] * 3

    # All are arguments: as constants of ones XLA's CPU compiler adds them up wrongly.
    def out(places, x, kernel, scale):
        hidden = routed_rules.add_bias(routed_rules.dense(x, kernel, places[0]), scale, places[1])
        return routed_rules.multiply_scale(hidden, scale, places[2]).sum(dtype=jnp.float32)

    grams = jax.jit(jax.grad(out))(places, x, kernel, scale)
    # A gradient is 700 for each weight and bias, 700 * 3 for each scale.
    for gram, wanted in zip(grams, (4 * 700**2, 2 * 700**2, 2 * 2100**2), strict=True):
        assert gram.dtype == np.float32
        _assert_close(gram, np.full((3, 3), float(wanted)), 1e-6)
