"""Equal programs are compiled once; whatever changes a kernel makes another key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels import compiled, empirical
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.fingerprint import array_key, fingerprint
from tests.kernels import models
from tests.kernels.explicit import full_kernel, jacobians
from tests.networks.tiny import assert_close


def _key(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes or [(3,)]]
    return fingerprint(jax.make_jaxpr(function)(*arrays))


def _loop(length, factor):
    return lambda x: lax.fori_loop(0, length, lambda _, x: x * factor, x)


def _closed(values):
    array = np.asarray(values)
    return lambda x: x * jnp.asarray(array)


SAME = {
    "names": (lambda x: x + 1, lambda other: other + 1),
    "calls": (jax.jit(jnp.sin), jax.jit(jnp.sin)),
    "loops": (_loop(3, 2.0), _loop(3, 2.0)),
    "closed-over arrays": (_closed([1.0, 2.0, 3.0]), _closed([4.0, 5.0, 6.0])),
    "library functions": (jax.nn.relu, lambda x: jax.nn.relu(x)),
}
OTHER = {
    "numbers": (lambda x: x + 1, lambda x: x + 2),
    "operations": (jnp.sin, jnp.cos),
    "order of operands": (lambda x: x - x * 2, lambda x: x * 2 - x),
    "lengths": (_loop(3, 2.0), _loop(4, 2.0)),
    "numbers inside": (_loop(3, 2.0), _loop(3, 3.0)),
    "axes": (lambda x: x[None].sum(axis=0), lambda x: x[None].sum(axis=1)),
    "dtypes": (lambda x: x.astype(jnp.float32), lambda x: x.astype(jnp.float16)),
    "outputs": (lambda x: (x, 2 * x), lambda x: (2 * x, x)),
    "precision": (
        lambda x: jnp.dot(x, x, precision="highest"),
        lambda x: jnp.dot(x, x, precision="default"),
    ),
    "small numbers": (lambda x: x * 1e-300, lambda x: x * 2e-300),
    "signs of zero": (lambda x: x * 0.0, lambda x: x * -0.0),
}


@pytest.mark.parametrize("name", SAME)
def test_equal_programs_have_one_key(name):
    first, second = SAME[name]
    assert _key(first) == _key(second)
    assert hash(_key(first)) == hash(_key(second))


@pytest.mark.parametrize("name", OTHER)
def test_other_programs_have_other_keys(name):
    first, second = OTHER[name]
    assert _key(first) != _key(second)


def test_shapes_are_part_of_the_key():
    assert _key(jnp.sin, (3,)) != _key(jnp.sin, (4,))


def test_arrays_are_known_by_what_they_hold_or_which_they_are():
    array = np.arange(3.0)
    key = array_key(array)
    assert key == array_key(np.arange(3.0)) != array_key(np.arange(3))
    array[0] = 7
    assert array_key(array) != key
    fixed = jnp.arange(3.0)
    assert array_key(fixed) == array_key(fixed) != array_key(jnp.arange(3.0))


def _own_vjp(factor):
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(
        lambda x, w: (x @ w, (x, w)),
        lambda saved, ct: (factor * ct @ saved[1].T, factor * (saved[0].T @ ct)),
    )
    return product


def _own_jvp(factor):
    @jax.custom_jvp
    def product(x, w):
        return x @ w

    @product.defjvp
    def rule(at, moved):
        return at[0] @ at[1], factor * (moved[0] @ at[1] + at[0] @ moved[1])

    return product


def _own_jvp_of_an_array(factor):
    """A rule that closes over an array, which its program has as a constant."""
    factors = jnp.full((1, 2), factor)

    @jax.custom_jvp
    def product(x, w):
        return x @ w

    @product.defjvp
    def rule(at, moved):
        return at[0] @ at[1], factors * (moved[0] @ at[1] + at[0] @ moved[1])

    return product


OWN = [_own_vjp, _own_jvp, _own_jvp_of_an_array]


@pytest.mark.parametrize("own", OWN)
def test_a_derivative_of_ones_own_is_part_of_the_key(own):
    shapes = ((4, 3), (3, 2))
    assert _key(own(2.0), *shapes) != _key(own(3.0), *shapes)
    if own is not _own_jvp_of_an_array:
        assert _key(own(2.0), *shapes) == _key(own(2.0), *shapes)


@pytest.mark.parametrize("inside", [lambda f: f, jax.jit, jax.checkpoint])
@pytest.mark.parametrize("own", [_own_vjp, _own_jvp])
def test_a_derivative_that_changes_gives_another_kernel(own, inside):
    w, x = models.inputs((3, 2), 1), models.inputs((4, 3))

    def kernel(factor):
        product = inside(own(factor))
        return empirical_ntk(lambda w, x: product(x, w), w, x, outputs="trace", check=False)

    for factor in (1.0, 3.0, 1.0):
        assert_close(kernel(factor), 2 * factor**2 * x @ x.T, 1e-12)


@pytest.fixture
def compilations(monkeypatch):
    """Counts how often something is compiled, from nothing remembered."""
    counted = []
    make = empirical._kernel_program
    monkeypatch.setattr(compiled, "_compiled", type(compiled._compiled)())
    monkeypatch.setattr(
        empirical, "_kernel_program", lambda *given: (counted.append(given), make(*given))[1]
    )
    return counted


def test_one_program_is_compiled_once(compilations):
    w, x = models.inputs((3, 2), 1), models.inputs((4, 3))

    def kernel(x, **settings):
        # A new function at every call.
        return empirical_ntk(
            lambda w, x: jnp.tanh(x @ w), w, x, outputs="trace", check=False, **settings
        )

    first = kernel(x)
    assert_close(kernel(x), first)
    kernel(x + 1)
    assert len(compilations) == 1
    kernel(x[:3])
    kernel(x, tile=2)
    kernel(x, matmul_precision="default")
    kernel(x, route="materialised")
    assert len(compilations) == 5


def test_no_more_than_some_programs_are_remembered(compilations, monkeypatch):
    monkeypatch.setattr(compiled, "REMEMBERED", 2)
    w, x = models.inputs((3, 2), 1), models.inputs((4, 3))
    for factor in (1.0, 2.0, 3.0, 3.0, 1.0):
        empirical_ntk(lambda w, x, f=factor: f * x @ w, w, x, outputs="sum", check=False)
    assert len(compilations) == 4
    assert len(compiled._compiled) == 2


CHANGES = {
    "an array": (lambda at: jnp.full((2,), at), 1),
    "an array of NumPy": (lambda at: np.full((2,), at), 1),
    # Numbers are part of the program.
    "a number": (float, 2),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_function_closes_over_may_change(compilations, what):
    make, programs = CHANGES[what]
    w, x = models.inputs((3, 2), 1), models.inputs((4, 3))
    box = {}

    def network(w, x):
        return jnp.tanh(x @ w) * box["scale"]

    for at in (1.0, 3.0):
        box["scale"] = make(at)
        if what != "a number":
            box["scale"] = box["scale"].reshape(1, 2)
        kernel = empirical_ntk(network, w, x, outputs="full", check=False)
        assert_close(kernel, full_kernel(jacobians(lambda w, x: network(w, x), w, x)), 1e-12)
    assert len(compilations) == programs


def test_an_array_of_numpy_that_is_changed_in_place(compilations):
    w, x, scale = models.inputs((3, 2), 1), models.inputs((4, 3)), np.ones((1, 2))
    kernels = []
    for at in (1.0, 3.0):
        scale[:] = at
        kernels.append(
            empirical_ntk(lambda w, x: x @ w * scale, w, x, outputs="trace", check=False)
        )
    assert_close(kernels[1], 9 * kernels[0], 1e-13)


@pytest.mark.parametrize("settings", [{"examples": "coupled"}, {"method": "ntk_vector_products"}])
def test_methods_that_take_batches_see_changes_too(settings):
    w, x, box = models.inputs((3, 2), 1), models.inputs((4, 3)), {}

    def kernel(scale):
        box["scale"] = scale
        return empirical_ntk(lambda w, x: x @ w * box["scale"], w, x, outputs="trace", **settings)

    one = kernel(jnp.ones((1, 2)))
    assert_close(kernel(jnp.full((1, 2), 3.0)), 9 * one, 1e-12)
    assert_close(kernel(2.0), 4 * one, 1e-12)
