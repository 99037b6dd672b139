"""Which outputs are differentiated, how they are combined, and how many there may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core as jax_core

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.outputs import check_outputs, combinations, output_basis, output_count
from tests.kernels import models
from tests.kernels.explicit import combined, full_kernel, jacobians
from tests.networks.tiny import assert_close

OUTPUTS = ["trace", "mean", "sum", "class_balanced", "full"]
FLOAT64 = np.dtype("float64")


def _images_out(p, x):
    """Outputs of several axes."""
    return jnp.tanh(x @ p["w"]).reshape(len(x), 2, 3) * p["scale"][None, :, None]


@pytest.fixture(scope="module")
def case():
    params = {"w": models.inputs((4, 6), 1), "scale": models.inputs((2,), 2)}
    x = models.inputs((5, 4))
    return params, x, full_kernel(jacobians(_images_out, params, x))


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
def test_outputs_are_combined_as_said(case, outputs, method):
    params, x, full = case
    kernel = empirical_ntk(_images_out, params, x, outputs=outputs, method=method, check=False)
    assert_close(kernel, combined(full, outputs), 1e-12)


def test_combinations_agree_with_each_other(case):
    params, x, _ = case
    kernels = {
        outputs: np.asarray(empirical_ntk(_images_out, params, x, outputs=outputs, check=False))
        for outputs in OUTPUTS
    }
    assert_close(kernels["mean"], kernels["trace"] / 6, 1e-13)
    assert_close(kernels["class_balanced"], kernels["trace"] - kernels["sum"] / 6, 1e-12)
    assert_close(np.einsum("ijcc->ij", kernels["full"]), kernels["trace"], 1e-12)
    assert_close(kernels["full"], kernels["full"].transpose(1, 0, 3, 2), 1e-13)


@pytest.mark.parametrize("outputs", ["trace", "mean", "sum", "full"])
def test_one_output_without_an_axis_of_its_own(outputs):
    w, x = models.inputs((4,), 1), models.inputs((5, 4))
    kernel = empirical_ntk(lambda w, x: x @ w, w, x, outputs=outputs, check=False)
    wanted = x @ x.T
    assert_close(kernel, wanted[..., None, None] if outputs == "full" else wanted, 1e-13)


def test_class_balanced_is_blind_to_what_is_added_to_all_outputs():
    x, w = models.inputs((4, 3)), models.inputs((3, 5), 1)

    def network(p, x):
        return jnp.tanh(x @ p["w"]) + (x @ p["same"])[:, None]

    params = {"w": w, "same": models.inputs((3,), 2)}
    kernel = empirical_ntk(network, params, x, outputs="class_balanced", check=False)
    without = empirical_ntk(
        network,
        params,
        x,
        outputs="class_balanced",
        parameters=lambda path: path == ("w",),
        check=False,
    )
    assert_close(kernel, without, 1e-12)


@pytest.mark.parametrize("count", [2, 7, 30])
def test_the_basis_of_class_balanced_is_orthonormal_and_blind_to_the_mean(count):
    basis = np.asarray(output_basis("class_balanced", count, FLOAT64))
    np.testing.assert_allclose(basis @ basis.T, np.eye(count - 1), atol=1e-14)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-14)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_a_basis_has_the_kernel_of_its_name(outputs):
    full = full_kernel({"all": np.random.default_rng(0).normal(size=(3, 4, 9))})
    basis = np.asarray(output_basis(outputs, 4, FLOAT64))
    if outputs == "full":
        np.testing.assert_array_equal(basis, np.eye(4))
    else:
        got = np.einsum("kc,kd,ijcd->ij", basis, basis, full)
        assert_close(got, combined(full, outputs), 1e-13)


def test_combinations_are_made_one_at_a_time():
    made = combinations("class_balanced", 5, FLOAT64)
    assert made.count == 4
    np.testing.assert_array_equal(made.all()[2], made.at(jnp.int32(2)))


MANY = 20_000


def _largest(program):
    jaxpr = getattr(program, "jaxpr", program)
    sizes = [var.aval.size for eqn in jaxpr.eqns for var in eqn.outvars]
    inner = [_largest(p) for eqn in jaxpr.eqns for p in jax_core.jaxprs_in_params(eqn.params)]
    return max([*sizes, *inner], default=0)


@pytest.mark.parametrize("outputs", ["trace", "mean", "class_balanced", "sum"])
def test_many_outputs_make_no_matrix_of_them(outputs):
    """A language model has that many; a matrix of 20,000 x 20,000 would be 3 GB."""

    def kernel(w, x):
        def network(w, x):
            return jnp.tanh(x * w[0]) * jnp.arange(1.0, MANY + 1)[None] * w[1]

        return empirical_ntk(network, w, x, outputs=outputs)

    shapes = jax.ShapeDtypeStruct((2,), jnp.float64), jax.ShapeDtypeStruct((3, 1), jnp.float64)
    largest = _largest(jax.make_jaxpr(kernel)(*shapes))
    assert largest <= 4 * 3 * MANY, f"an array of {largest:,} numbers"


@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
def test_the_trace_of_many_outputs(method):
    x = models.inputs((2, 1))
    scales = jnp.linspace(0.0, 1.0, MANY)

    def network(w, x):
        return x * scales[None] * w

    kernel = empirical_ntk(network, jnp.ones(()), x, outputs="trace", method=method, check=False)
    assert_close(kernel, float(jnp.sum(scales**2)) * x @ x.T, 1e-12)


def test_check_outputs_names_the_choices():
    with pytest.raises(InputError, match="trace, full, sum, class_balanced, mean"):
        check_outputs("average")


def test_outputs_are_counted_from_shapes():
    params = {"w": jax.ShapeDtypeStruct((4, 6), jnp.float32), "scale": jnp.ones(2, jnp.float32)}
    x = jax.ShapeDtypeStruct((5, 4), jnp.float32)
    assert output_count(_images_out, params, x) == 6
    assert output_count(lambda p, x: x[:, 0], params, {"x": x}["x"]) == 1
