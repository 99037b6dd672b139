"""All methods and outputs against explicit Jacobians in float64, and laws of all kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.kernels.empirical import empirical_ntk
from tests.kernels import models
from tests.kernels.explicit import Case, full_kernel, jacobians
from tests.networks.tiny import assert_close

NEURAL_TANGENTS = ["jacobian_contraction", "ntk_vector_products", "structured_derivatives"]
OUTPUTS = ["trace", "mean", "sum", "class_balanced", "full"]
# Each case compiles a program of its own; these are enough to meet every kind of combination.
GRAM_CASES = [
    *((name, how) for name in ("dense", "shared weights") for how in OUTPUTS),
    ("small ViT", "full"),
]
# The check compiles three programs more, so not every case has it.
CHECKED = ("dense", "shared weights")
PER_EXAMPLE = ("dense", "conv, stride, dilation, groups", "embedding", "loop over one layer")
NEURAL_TANGENTS_CASES = [
    *(("dense", method) for method in NEURAL_TANGENTS),
    ("conv, stride 2", "structured_derivatives"),
    ("layer norm", "jacobian_contraction"),
    ("small ViT", "jacobian_contraction"),
    ("shared weights", "structured_derivatives"),
]


@pytest.fixture(autouse=True, scope="module")
def linens_own_promotion():
    """Flax's norms mix float64 inputs with float32 numbers, which the strict rule refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def case():
    made = {}

    def get(name):
        if name not in made:
            made[name] = Case(*models.make(name))
        return made[name]

    return get


@pytest.mark.parametrize(("name", "outputs"), GRAM_CASES)
def test_gram_is_the_jacobian_times_itself(case, name, outputs):
    made, check = case(name), name in CHECKED and outputs == "trace"
    kernel = made.ntk(made.x, outputs=outputs, method="gram", check=check)
    assert kernel.dtype == np.float64
    assert_close(kernel, made.kernel(outputs), 1e-10)


@pytest.mark.parametrize("name", CHECKED)
def test_auto_is_gram_and_warns_of_nothing(case, name):
    made = case(name)
    kernel = made.ntk(made.x, outputs="trace")
    wanted = made.ntk(made.x, outputs="trace", method="gram")
    np.testing.assert_array_equal(kernel, wanted)


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_per_example_gradients_are_the_jacobian_times_itself(case, name):
    made, check = case(name), name == "dense"
    kernel = made.ntk(made.x, outputs="trace", method="per_example_gradients", check=check)
    assert_close(kernel, made.kernel("trace"), 1e-10)


# neural-tangents says where it has no rule for the derivative of an operation and takes JAX's.
@pytest.mark.filterwarnings("ignore:No .* rule found")
@pytest.mark.parametrize(("name", "method"), NEURAL_TANGENTS_CASES)
def test_neural_tangents_is_the_jacobian_times_itself(case, name, method):
    made = case(name)
    assert_close(made.ntk(made.x, outputs="trace", method=method), made.kernel("trace"), 1e-10)


@pytest.mark.parametrize("method", ["per_example_gradients", *NEURAL_TANGENTS])
@pytest.mark.parametrize("outputs", OUTPUTS[1:])
def test_the_other_methods_know_all_outputs(case, method, outputs):
    made = case("dense")
    kernel = made.ntk(made.x, outputs=outputs, method=method, check=False)
    assert_close(kernel, made.kernel(outputs), 1e-10)


@pytest.mark.parametrize("route", ["factorised", "materialised"])
@pytest.mark.parametrize("name", ["dense", "conv, strides 1 and 2", "conv, groups", "embedding"])
def test_both_routes_give_the_same_kernel(case, name, route):
    made = case(name)
    kernel = made.ntk(made.x, outputs="trace", method="gram", route=route, check=False)
    assert_close(kernel, made.kernel("trace"), 1e-10)


@pytest.mark.parametrize("outputs", ["trace", "class_balanced", "full"])
@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
def test_two_batches_give_a_block(case, method, outputs, tile):
    made = case("conv, strides 1 and 2")
    settings = {"outputs": outputs, "method": method, "tile": tile, "check": False}
    block = made.ntk(made.x[:2], made.x[2:], **settings)
    assert_close(block, made.kernel(outputs)[:2, 2:], 1e-10)


@pytest.mark.parametrize("method", NEURAL_TANGENTS)
def test_two_batches_give_a_block_of_neural_tangents(case, method):
    made = case("dense")
    block = made.ntk(made.x[:2], made.x[2:], outputs="trace", method=method)
    assert_close(block, made.kernel("trace")[:2, 2:], 1e-10)


TILED = [
    *(("dense", outputs, tile) for outputs in ("trace", "full") for tile in (1, 2, 3, 5, 9)),
    # Gradients that are collected over several uses.
    ("shared weights", "trace", 2),
]


@pytest.mark.parametrize(("name", "outputs", "tile"), TILED)
def test_tiles_do_not_change_the_kernel(case, name, outputs, tile):
    made = case(name)
    kernel = made.ntk(made.x, outputs=outputs, method="gram", tile=tile, check=False)
    assert_close(kernel, made.kernel(outputs), 1e-10)


@pytest.mark.parametrize(("outputs", "tile"), [("trace", 2), ("full", 3), ("trace", 9)])
def test_tiles_do_not_change_the_kernel_from_per_example_gradients(case, outputs, tile):
    made = case("dense")
    settings = {"outputs": outputs, "method": "per_example_gradients", "tile": tile}
    assert_close(made.ntk(made.x, **settings, check=False), made.kernel(outputs), 1e-10)


@pytest.mark.parametrize("factor", [-2.0, 3.0])
def test_scaling_the_outputs_scales_the_kernel_by_the_square(case, factor):
    made = case("conv")
    kernel = empirical_ntk(
        lambda p, x: factor * made.apply_fn(p, x),
        made.params,
        made.x,
        outputs="sum",
        method="gram",
        check=False,
    )
    assert_close(kernel, factor**2 * made.kernel("sum"), 1e-12)


@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
@pytest.mark.parametrize("name", ["dense", "group norm"])
def test_float32_is_right_to_its_rounding(case, name, method):
    made = case(name)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (made.params, made.x))
    got = empirical_ntk(made.apply_fn, *narrow, outputs="trace", method=method, check=False)
    # Sums of some thousand products, each wrong by half an ulp of float32.
    tolerance = 100 * np.finfo(np.float32).eps
    assert got.dtype == np.float32
    assert_close(np.asarray(got, np.float64), made.kernel("trace"), tolerance)


@pytest.mark.parametrize("method", ["gram", "per_example_gradients", *NEURAL_TANGENTS])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_are_added_up_in_float32(method, dtype):
    """A bias of 3,000 outputs has the trace 3,000; a bfloat16 would stop at 256."""
    x, params = jnp.ones((2, 3), dtype), {"w": jnp.ones((3, 3000), dtype)}
    params["bias"] = jnp.ones((3000,), dtype)
    kernel = empirical_ntk(
        lambda p, x: x @ p["w"] + p["bias"][None],
        params,
        x,
        outputs="trace",
        method=method,
        parameters=lambda path: path[-1] == "bias",
        check=method == "gram",
    )
    assert kernel.dtype == jnp.float32
    # neural-tangents adds up in the dtype of the parameters, rounded once.
    tolerance = float(jnp.finfo(dtype).eps) if method in NEURAL_TANGENTS else 0
    assert_close(kernel, np.full((2, 2), 3000.0), tolerance)


def test_coupled_examples_have_the_kernel_of_the_batch():
    def centred(params, x):
        return jnp.tanh((x - x.mean(axis=0, keepdims=True)) @ params["w"])

    x, params = models.inputs((5, 4)), {"w": models.inputs((4, 2), seed=1)}
    full = full_kernel(jacobians(centred, params, x))
    for method in ("auto", *NEURAL_TANGENTS):
        kernel = empirical_ntk(
            centred, params, x, outputs="trace", method=method, examples="coupled"
        )
        assert_close(kernel, np.einsum("ijcc->ij", full), 1e-10)
    kernel = empirical_ntk(centred, params, x, outputs="full", examples="coupled", tile=2)
    assert_close(kernel, full, 1e-10)


def test_it_runs_inside_jit_and_vmap(case):
    made = case("dense")

    def kernel(scale):
        def scaled(p, x):
            return scale * made.apply_fn(p, x)

        return empirical_ntk(scaled, made.params, made.x, outputs="sum", method="gram")

    many = jax.jit(jax.vmap(kernel))(jnp.array([1.0, 2.0]))
    assert_close(many, np.stack([made.kernel("sum"), 4 * made.kernel("sum")]), 1e-12)


@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
def test_parameters_and_inputs_may_be_mapped_and_differentiated(method):
    x, params = models.inputs((4, 3)), models.inputs((3, 2), seed=1)

    def trace(params, x):
        def network(p, x):
            return jnp.tanh(x @ p)

        return empirical_ntk(network, params, x, outputs="trace", method=method).sum()

    def explicit(params, x):
        jac = jax.jacrev(lambda p: jnp.tanh(x @ p))(params).reshape(4, 2, -1)
        return jnp.einsum("icp,jcp->", jac, jac)

    several = jnp.stack([params, 2 * params])
    got = jax.jit(jax.vmap(trace, (0, None)))(several, x)
    assert_close(got, [explicit(each, x) for each in several], 1e-12)
    if method == "per_example_gradients":
        assert_close(jax.jit(jax.grad(trace))(params, x), jax.grad(explicit)(params, x), 1e-10)


def test_shapes_alone_give_the_shape_of_the_kernel(case):
    made = case("dense")

    def kernel(params, x):
        return empirical_ntk(made.apply_fn, params, x, outputs="full")

    assert jax.eval_shape(kernel, made.params, made.x).shape == (5, 5, models.OUT, models.OUT)


def test_the_precision_asked_for_does_not_change_float64(case):
    made = case("dense")
    kernel = made.ntk(made.x, outputs="trace", matmul_precision="default", check=False)
    assert_close(kernel, made.kernel("trace"), 1e-10)
