"""The kernel of the outputs against sums written out and against neural-tangents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.nngp import empirical_nngp
from tests.kernels.small_functions import FUNCTIONS, case, outputs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernel_is_the_mean_of_products_of_outputs(name):
    function, params, x = case(name)
    out = outputs(function, params, x)
    full = np.einsum("ic,jd->ijcd", out, out)
    np.testing.assert_allclose(
        empirical_nngp(function, params, x[:4], x, outputs="full"), full[:4], rtol=1e-12
    )
    trace = sum(full[:, :, c, c] for c in range(out.shape[1])) / out.shape[1]
    np.testing.assert_allclose(empirical_nngp(function, params, x), trace, rtol=1e-12)
    compiled = jax.jit(lambda params, x: empirical_nngp(function, params, x, x[:4]))
    np.testing.assert_allclose(compiled(params, x), trace[:, :4], rtol=1e-12)


@pytest.mark.parametrize(("kind", "trace_axes"), [("trace", (-1,)), ("full", ())])
def test_normalisation_is_that_of_neural_tangents(kind, trace_axes):
    pytest.importorskip("frozendict", reason="neural-tangents is not installed")
    from jaxntk.kernels.neural_tangents_import import import_neural_tangents

    function, params, x = case("dense")
    wanted = import_neural_tangents().empirical_nngp_fn(function, trace_axes=trace_axes)
    kernel = empirical_nngp(function, params, x, x[:3], outputs=kind)
    np.testing.assert_allclose(kernel, wanted(x, x[:3], params), rtol=1e-12)


def test_dtype_is_that_of_the_outputs():
    function, params, x = case("dense")
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
    assert empirical_nngp(function, *narrow).dtype == jnp.float32


def test_bad_input_is_refused():
    function, params, x = case("dense")
    with pytest.raises(InputError, match=r"^outputs: got 'tarce'.*did you mean 'trace'"):
        empirical_nngp.__wrapped__(function, params, x, outputs="tarce")
    with pytest.raises(InputError, match=r"^apply_fn: got outputs .* for 7 examples"):
        empirical_nngp(lambda params, x: x.sum(), params, x)
