"""Both routes from factors to inner products are the gradients written out, times themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core as jax_core

from jaxntk.errors import InputError
from jaxntk.kernels.traced import contraction
from jaxntk.kernels.traced.contraction import (
    arranged,
    check_route,
    choose,
    costs,
    dots,
    gram_of,
    numbers_held,
    outer_products,
    square_norms,
)
from jaxntk.kernels.traced.operations import Factors, Gradients, OneHot
from tests.networks.tiny import assert_close

N = 6
BLOCKS = [(6, 6), (2, 4), (5, 1)]
FLOAT64 = jnp.dtype("float64")


def _dense(groups, tokens, rows, columns):
    """Returns gradients with random factors, and the same written out."""
    rng = np.random.default_rng(rows + 10 * tokens)
    left = rng.normal(size=(N, groups, tokens, rows))
    right = rng.normal(size=(N, groups, tokens, columns))
    written = np.einsum("ngtr,ngtc->ngrc", left, right)
    factors = Factors(jnp.asarray(left), jnp.asarray(right), lambda grads: grads)
    return Gradients(lambda: factors, tokens, (rows, columns, groups)), written


def _one_hot(groups, tokens, rows, columns):
    """The same for look-ups, some of them of nothing."""
    rng = np.random.default_rng(rows + 10 * tokens)
    ids = rng.integers(-1, rows, (N, groups, tokens))
    right = rng.normal(size=(N, groups, tokens, columns))
    left = (ids[..., None] == np.arange(rows)).astype(float)
    written = np.einsum("ngtr,ngtc->ngrc", left, right)
    hot = OneHot(jnp.asarray(ids, jnp.int32), rows)
    factors = Factors(hot, jnp.asarray(right), lambda grads: grads)
    return Gradients(lambda: factors, tokens, (rows, columns, groups)), written


# Made inside of a test, where arrays are float64.
CASES = {
    "few tokens": lambda: _dense(1, 2, 5, 3),
    "many tokens": lambda: _dense(1, 12, 2, 3),
    "groups": lambda: _dense(3, 4, 2, 3),
    "one-hot": lambda: _one_hot(1, 5, 7, 3),
    "one-hot, groups": lambda: _one_hot(2, 3, 4, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_both_routes_are_the_gradients_times_themselves(name):
    gradients, written = CASES[name]()
    flat = written.reshape(N, -1)

    @jax.jit
    def compute():
        routes = ("factorised", "materialised", "auto")
        blocks = {
            (route, shape): gram_of(gradients, N, shape, route, FLOAT64)
            for route in routes
            for shape in BLOCKS
        }
        norms = {route: square_norms(gradients, N, route, FLOAT64) for route in routes}
        return blocks, norms, arranged(gradients)

    blocks, norms, whole = compute()
    assert_close(whole, written, 1e-13)
    for (route, shape), block in blocks.items():
        wanted = flat @ flat.T if shape == (N, N) else flat[: shape[0]] @ flat[shape[0] :].T
        assert_close(block, wanted, 1e-13)
        assert block.dtype == np.float64, route
    for got in norms.values():
        assert_close(got, np.square(flat).sum(axis=1), 1e-13)


@pytest.mark.parametrize("at_once", [1, 100, 200, 500, 10**6])
@pytest.mark.parametrize("name", ["many tokens", "one-hot, groups"])
def test_few_rows_at_a_time_give_the_same(monkeypatch, name, at_once):
    gradients, written = CASES[name]()
    flat = written.reshape(N, -1)
    monkeypatch.setattr(contraction, "NUMBERS_AT_ONCE", at_once)
    for shape in BLOCKS[:2]:
        wanted = flat @ flat.T if shape == (N, N) else flat[:2] @ flat[2:].T
        got = jax.jit(lambda shape=shape: gram_of(gradients, N, shape, "factorised", FLOAT64))()
        assert_close(got, wanted, 1e-13)
    norms = jax.jit(lambda: square_norms(gradients, N, "factorised", FLOAT64))()
    assert_close(norms, np.square(flat).sum(axis=1), 1e-13)


def _largest(function):
    """Returns the entries of the largest array of a program, loops included."""

    def of(jaxpr):
        sizes = [var.aval.size for eqn in jaxpr.eqns for var in eqn.outvars]
        inner = [of(each) for eqn in jaxpr.eqns for each in jax_core.jaxprs_in_params(eqn.params)]
        return max([*sizes, *inner], default=0)

    return of(jax.make_jaxpr(function)().jaxpr)


def test_the_factorised_route_holds_no_more_than_it_may(monkeypatch):
    gradients, _ = _dense(1, 30, 2, 3)
    pairs_of_one_row = N * 30**2
    monkeypatch.setattr(contraction, "NUMBERS_AT_ONCE", 2 * pairs_of_one_row)
    largest = _largest(lambda: gram_of(gradients, N, (N, N), "factorised", FLOAT64))
    assert largest == 2 * pairs_of_one_row, f"{largest} numbers at once"


@pytest.mark.parametrize(
    ("size", "tokens", "wanted"),
    [((400, 300, 1), 1, "factorised"), ((2, 3, 1), 100, "materialised")],
)
def test_auto_takes_the_cheaper_route(size, tokens, wanted):
    gradients = Gradients(lambda: pytest.fail("a choice needs no factors"), tokens, size)
    cost = costs(gradients, N, (N, N))
    assert min(cost, key=cost.__getitem__) == wanted, cost
    assert choose(gradients, N, (N, N), "auto") == wanted
    for route in ("factorised", "materialised"):
        assert choose(gradients, N, (N, N), route) == route
    assert numbers_held(gradients, N) == N * np.prod(size)


def test_norms_of_wide_layers_form_no_gradient():
    gradients, _ = _dense(1, 1, 90, 80)
    assert _largest(lambda: square_norms(gradients, N, "auto", FLOAT64)) < N * 90 * 80


def test_numbers_beyond_the_table_give_nothing():
    ids = jnp.asarray([[[-1, 7, -5, 100]], [[0, 1, 7, -8]]], jnp.int32)
    right = jnp.ones((2, 1, 4, 3))
    factors = Factors(OneHot(jnp.where((ids < 7) & (ids >= 0), ids, -1), 7), right, lambda g: g)
    grads = np.asarray(outer_products(factors))
    assert not grads[0].any()
    np.testing.assert_array_equal(grads[1, 0].sum(axis=1), [3, 3, 0, 0, 0, 0, 0])
    # Nothing meets nothing: two tokens of no word are not the same word.
    assert not np.asarray(dots(factors.left, factors.left))[0, 0].any()


@pytest.mark.parametrize("swapped", [False, True])
def test_rows_of_the_identity_meet_vectors(swapped):
    hot = OneHot(jnp.asarray([[[1, -1]], [[0, 2]]], jnp.int32), 3)
    written = np.asarray([[[[0, 1, 0], [0, 0, 0]]], [[[1, 0, 0], [0, 0, 1]]]], float)
    dense = np.random.default_rng(0).normal(size=(2, 1, 4, 3))
    pair = (written, dense) if swapped else (dense, written)
    got = dots(hot, jnp.asarray(dense)) if swapped else dots(jnp.asarray(dense), hot)
    assert_close(got, np.einsum("ngtr,mgsr->nmgts", *pair), 1e-15)


def test_kernels_of_short_numbers_are_wide():
    factors = Factors(jnp.ones((2, 1, 3, 2), jnp.float32), jnp.ones((2, 1, 3, 2)), lambda g: g)
    gradients = Gradients(lambda: factors, 3, (2, 2, 1))
    for route in ("factorised", "materialised"):
        with jax.numpy_dtype_promotion("standard"):
            got = gram_of(gradients, 2, (2, 2), route, FLOAT64)
        assert got.dtype == np.float64
        assert_close(got, np.full((2, 2), 36.0))


def test_an_unknown_route_is_refused():
    with pytest.raises(InputError, match=r"^route: got 'factorized'; .*factorised"):
        check_route("factorized")
