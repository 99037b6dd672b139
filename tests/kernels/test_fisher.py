"""The spectrum of the Fisher matrix against that matrix, formed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.fisher import fisher_spectrum
from jaxntk.validity import Status
from tests.kernels import small_functions
from tests.networks.tiny import assert_close


def fisher_matrix(function, params, x):
    """Returns the matrix (P, P), and the logits' number of softmaxes an example."""
    logits = np.asarray(function(params, x))
    n, classes = len(logits), logits.shape[-1]
    p = np.asarray(jax.nn.softmax(logits)).reshape(-1, classes)
    jac = small_functions.jacobian(function, params, x).reshape(len(p), classes, -1)
    centre = [np.diag(each) - np.outer(each, each) for each in p]
    return sum(j.T @ c @ j for j, c in zip(jac, centre, strict=True)) / n


@pytest.mark.parametrize("name", ["dense", "convolution"])
@pytest.mark.parametrize("tile", [None, 2])
def test_it_is_the_spectrum_of_the_matrix(name, tile):
    function, params, x = small_functions.case(name)
    matrix = fisher_matrix(function, params, x)
    found = fisher_spectrum(function, params, x, tile=tile)
    wanted = np.linalg.eigvalsh(matrix)[::-1]
    assert found.status is Status.OK
    assert_close(found.eigenvalues, wanted[: len(found.eigenvalues)], 1e-10)
    assert np.abs(wanted[len(found.eigenvalues) :]).max(initial=0) < 1e-12 * wanted[0]
    assert abs(found.trace - np.trace(matrix)) < 1e-12 * found.trace


def test_there_are_no_more_eigenvalues_than_parameters():
    x = small_functions.normal(0, 9, 2)
    found = fisher_spectrum(lambda w, x: jnp.tanh(x @ w), small_functions.normal(1, 2, 3), x)
    assert found.eigenvalues.shape == (6,)


def test_picked_logits_with_a_state_are_those_of_the_whole():
    function, params, x = small_functions.case("dense")

    def apply_fn(params, x, state):
        return {"logits": state * function(params, x), "other": x}

    found = fisher_spectrum(
        apply_fn, params, x, state=jnp.float64(2), pick=lambda out: out["logits"]
    )
    wanted = fisher_spectrum(lambda p, x: 2 * function(p, x), params, x)
    assert_close(found.eigenvalues, wanted.eigenvalues, 1e-10)


@pytest.mark.filterwarnings("ignore:every entry of the kernel is zero")
def test_what_has_no_spectrum_says_why():
    x, w = jnp.ones((3, 2)), jnp.ones((2, 2))
    zeros = fisher_spectrum(lambda w, x: x + 0 * jnp.sum(w), w, x)
    assert (zeros.eigenvalues, zeros.status) == (None, Status.ZERO_KERNEL)
    infinite = fisher_spectrum(lambda w, x: x @ w * jnp.inf, w, x, check=False)
    assert (infinite.eigenvalues, infinite.status) == (None, Status.NONFINITE)
    with pytest.raises(InputError, match=r"^apply_fn: got outputs of shape \(3,\)"):
        fisher_spectrum(lambda w, x: x @ w[:, 0], w, x)
