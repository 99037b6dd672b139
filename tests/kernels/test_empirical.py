"""All methods against explicit Jacobians in float64, and the laws every kernel obeys."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxntk.errors import InputError
from jaxntk.kernels.check import check_model
from jaxntk.kernels.coverage import gram_coverage
from jaxntk.kernels.empirical import MethodFallback, NtkSettings, empirical_ntk, plan_ntk
from jaxntk.kernels.gram import gram_kernels
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.outputs import check_outputs, output_basis
from jaxntk.kernels.parameters import named_paths
from jaxntk.networks import gram_rules
from tests.kernels import models
from tests.networks.tiny import assert_close

NEURAL_TANGENTS = ["jacobian_contraction", "ntk_vector_products", "structured_derivatives"]
OUTPUTS = ["trace", "sum", "class_balanced", "full"]
# Each case compiles a program of its own; these are enough to meet every kind of combination.
GRAM_CASES = [
    *((name, "trace") for name in (*models.COVERED, *models.CELLS)),
    *((name, how) for name in ("dense", "small ViT", *models.CELLS) for how in OUTPUTS[1:]),
]
NEURAL_TANGENTS_CASES = [
    "dense",
    "conv, stride 2",
    "layer norm",
    "small ViT, positions",
    "shared weights",
    *models.CELLS,
]


class Case:
    """A network, its Jacobian and its full kernel, computed once."""

    def __init__(self, name):
        self.apply_fn, self.params, self.x = models.make(name)
        jac = jax.jit(jax.jacrev(self.apply_fn))(self.params, self.x)
        self.jac = {
            jax.tree_util.keystr(path): np.asarray(leaf).reshape(*leaf.shape[:2], -1)
            for path, leaf in jax.tree.leaves_with_path(jac)
        }
        flat = np.concatenate(list(self.jac.values()), axis=2)
        self.full = np.einsum("icp,jdp->ijcd", flat, flat)
        self.covered = gram_coverage(self.apply_fn, self.params, self.x).complete

    def kernel(self, outputs):
        trace, ones = np.einsum("ijcc->ij", self.full), self.full.sum(axis=(2, 3))
        balanced = trace - ones / self.full.shape[2]
        return {"trace": trace, "sum": ones, "class_balanced": balanced, "full": self.full}[outputs]

    def ntk(self, x1, x2=None, **settings):
        return empirical_ntk(self.apply_fn, self.params, x1, x2, **settings)


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
            made[name] = Case(name)
        return made[name]

    return get


@pytest.mark.parametrize("name", models.COVERED)
def test_the_rules_cover_linen_layers(case, name):
    made = case(name)
    found = gram_coverage(made.apply_fn, made.params, made.x)
    assert (dict(found.uncovered), found.unused) == ({}, ())
    assert len(found.places.leading) == len(made.jac)


@pytest.mark.parametrize(("name", "outputs"), GRAM_CASES)
def test_gram_is_the_jacobian_times_itself(case, name, outputs):
    made = case(name)
    assert_close(made.ntk(made.x, outputs=outputs, method="gram"), made.kernel(outputs), 1e-10)


@pytest.mark.parametrize("name", sorted(set(models.NAMES) - {*models.COVERED, *models.CELLS}))
@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_auto_is_exact_where_gram_is_not_enough_and_says_so(case, name, outputs):
    made = case(name)
    with pytest.warns(MethodFallback, match="per-example gradients"):
        kernel = made.ntk(made.x, outputs=outputs, method="auto")
    assert_close(kernel, made.kernel(outputs), 1e-10)
    with pytest.raises(InputError, match=r"method: got gram, but (positions|twice|cell)"):
        made.ntk(made.x, outputs=outputs, method="gram")


OTHER_CASES = [
    *((name, "per_example_gradients") for name in models.NAMES),
    *((name, method) for name in NEURAL_TANGENTS_CASES for method in NEURAL_TANGENTS),
]


# neural-tangents says where it has no rule for the derivative of an operation and takes JAX's.
@pytest.mark.filterwarnings("ignore:No .* rule found")
@pytest.mark.parametrize(("name", "method"), OTHER_CASES)
def test_the_other_methods_are_the_jacobian_times_itself(case, name, method):
    made = case(name)
    assert_close(made.ntk(made.x, outputs="trace", method=method), made.kernel("trace"), 1e-10)


@pytest.mark.parametrize("method", ["per_example_gradients", *NEURAL_TANGENTS])
@pytest.mark.parametrize("outputs", OUTPUTS)
def test_the_other_methods_know_all_outputs(case, method, outputs):
    made = case("dense")
    assert_close(made.ntk(made.x, outputs=outputs, method=method), made.kernel(outputs), 1e-10)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
def test_two_batches_give_a_block(case, method, outputs, tile):
    made = case("conv, strides 1 and 2")
    block = made.ntk(made.x[:2], made.x[2:], outputs=outputs, method=method, tile=tile)
    assert_close(block, made.kernel(outputs)[:2, 2:], 1e-10)


@pytest.mark.parametrize("method", NEURAL_TANGENTS)
def test_two_batches_give_a_block_of_neural_tangents(case, method):
    made = case("dense")
    block = made.ntk(made.x[:2], made.x[2:], outputs="trace", method=method)
    assert_close(block, made.kernel("trace")[:2, 2:], 1e-10)


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("tile", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("method", ["gram", "per_example_gradients"])
def test_tiles_do_not_change_the_kernel(case, method, tile, outputs):
    made = case("dense")
    kernel = made.ntk(made.x, outputs=outputs, method=method, tile=tile)
    assert_close(kernel, made.kernel(outputs), 1e-10)


@pytest.mark.parametrize("name", [*models.COVERED, *models.CELLS])
def test_gram_is_symmetric_positive_and_follows_the_data(case, name):
    made = case(name)
    kernel = np.asarray(made.ntk(made.x, outputs="trace", method="gram"))
    assert_close(kernel, kernel.T, 1e-14)
    eigenvalues = np.linalg.eigvalsh(kernel)
    assert eigenvalues[0] >= -1e-12 * eigenvalues[-1], eigenvalues
    order = np.array([3, 0, 4, 1, 2])
    permuted = made.ntk(made.x[order], outputs="trace", method="gram")
    assert_close(permuted, kernel[np.ix_(order, order)], 1e-12)


@pytest.mark.parametrize("name", ["dense", "conv", "small ViT", *models.CELLS])
def test_layers_add_up_and_each_is_its_own_jacobian(case, name):
    made = case(name)
    places = gram_coverage(made.apply_fn, made.params, made.x).places
    layers = gram_kernels(made.apply_fn, made.params, made.x, places, outputs="trace")
    assert_close(total(layers), made.kernel("trace"), 1e-10)
    for path, kernel in layers.items():
        jac = made.jac["".join(f"['{key}']" for key in path)]
        wanted = np.einsum("icp,jcp->ij", jac, jac)
        got = np.asarray(kernel).reshape(-1, *kernel.shape[-2:]).sum(axis=0)
        worst = np.abs(got - wanted).max()
        assert worst <= 1e-10 * np.abs(made.full).max(), f"{path}: {worst:.3e}"


@pytest.mark.parametrize("factor", [-2.0, 0.5, 3.0])
def test_scaling_the_outputs_scales_the_kernel_by_the_square(case, factor):
    made = case("conv")
    kernel = empirical_ntk(
        lambda p, x: factor * made.apply_fn(p, x), made.params, made.x, outputs="sum", method="gram"
    )
    assert_close(kernel, factor**2 * made.kernel("sum"), 1e-12)


@pytest.mark.parametrize("name", ["dense", "conv", "group norm", "small ViT"])
def test_float32_is_right_to_its_rounding(case, name):
    made = case(name)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (made.params, made.x))
    wanted = made.kernel("trace")
    for method in ("gram", "per_example_gradients"):
        got = empirical_ntk(made.apply_fn, *narrow, outputs="trace", method=method)
        # Sums of some thousand products, each wrong by half an ulp of float32.
        tolerance = 100 * np.finfo(np.float32).eps
        assert_close(np.asarray(got, np.float64), wanted, tolerance)


def test_parameters_can_be_left_out(case):
    made = case("conv")
    for method in ("gram", "per_example_gradients"):
        kernel = made.ntk(made.x, outputs="sum", method=method, parameters=_kernels)
        chosen = [jac for path, jac in made.jac.items() if "kernel" in path]
        flat = np.concatenate(chosen, axis=2).sum(axis=1)
        assert_close(kernel, flat @ flat.T, 1e-10)


def _kernels(path):
    return path[-1] == "kernel"


def test_coupled_examples_have_the_kernel_of_the_batch():
    def centred(params, x):
        return jnp.tanh((x - x.mean(axis=0, keepdims=True)) @ params["w"])

    x = models.inputs((5, 4))
    params = {"w": models.inputs((4, 2), seed=1)}
    jac = np.asarray(jax.jacrev(centred)(params, x)["w"]).reshape(5, 2, -1)
    full = np.einsum("icp,jdp->ijcd", jac, jac)
    for method in ("auto", *NEURAL_TANGENTS):
        kernel = empirical_ntk(
            centred, params, x, outputs="trace", method=method, examples="coupled"
        )
        assert_close(kernel, np.einsum("ijcc->ij", full), 1e-10)
    kernel = empirical_ntk(centred, params, x, outputs="full", examples="coupled", tile=2)
    assert_close(kernel, full, 1e-10)


@pytest.mark.parametrize("params", [[1.0, 2.0], (1.0, {"a": 2.0}), {0: 1.0, 1: 2.0}])
def test_any_tree_of_parameters_will_do(params):
    params = jax.tree.map(jnp.asarray, params)
    x = jnp.arange(3.0)

    def line(params, x):
        slope, offset = jax.tree.leaves(params)
        return slope * x + offset

    with pytest.warns(MethodFallback):
        kernel = empirical_ntk(line, params, x, outputs="trace")
    assert_close(kernel, np.outer(x, x) + 1, 1e-14)


@pytest.mark.parametrize("shape", [(5, 4), (5, 5, 4)], ids=["vectors", "as many tokens"])
def test_examples_that_are_mapped_by_hand_have_the_exact_kernel(shape):
    model = nn.Dense(2, param_dtype=jnp.float64)
    x = models.inputs(shape)
    params = model.init(jax.random.key(0), x)["params"]

    def apply_fn(params, x):
        return jax.vmap(lambda one: jnp.tanh(model.apply({"params": params}, one)))(x)

    with pytest.warns(MethodFallback, match="examples on the first axis"):
        kernel = empirical_ntk(apply_fn, params, x, outputs="trace")
    jac = jax.jacrev(apply_fn)(params, x)
    count = apply_fn(params, x).size // 5
    flat = np.concatenate([leaf.reshape(5, count, -1) for leaf in jax.tree.leaves(jac)], axis=2)
    assert_close(kernel, np.einsum("icp,jcp->ij", flat, flat), 1e-12)


@pytest.mark.parametrize(("outputs", "shape"), [("trace", (2, 3)), ("full", (2, 3, 4, 4))])
@pytest.mark.parametrize("method", ["auto", "gram"])
def test_parameters_that_reach_no_output_have_a_kernel_of_zeros(method, outputs, shape):
    params = {"w": jnp.ones(3)}
    kernel = empirical_ntk(
        lambda p, x: x, params, X, jnp.ones((3, 4)), outputs=outputs, method=method
    )
    assert_close(kernel, np.zeros(shape))


def test_whole_numbers_among_the_parameters_are_constants():
    params = {"power": jnp.asarray(2), "w": jnp.asarray(3.0)}
    x = jnp.arange(1.0, 4.0)
    with pytest.warns(MethodFallback, match=r"^method='auto': w \("):
        kernel = empirical_ntk(lambda p, x: x ** p["power"] * p["w"], params, x, outputs="sum")
    assert_close(kernel, np.outer(x**2, x**2))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32])
@pytest.mark.parametrize(("words", "tokens"), [(256, 6), (300, 6), (200, 230)])
def test_short_types_of_tokens_hold_fewer_words_than_there_are(dtype, words, tokens):
    model = nn.Embed(words, 3, param_dtype=jnp.float64)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 127, (4, tokens)), dtype)
    params = model.init(jax.random.key(0), ids)["params"]

    def apply_fn(params, ids):
        return jnp.tanh(model.apply({"params": params}, ids)).sum(axis=1)

    jac = np.asarray(jax.jacrev(apply_fn)(params, ids)["embedding"]).reshape(4, 3, -1)
    kernel = empirical_ntk(apply_fn, params, ids, outputs="trace", method="gram")
    assert_close(kernel, np.einsum("icp,jcp->ij", jac, jac), 1e-12)


@pytest.mark.parametrize("method", ["gram", "per_example_gradients", *NEURAL_TANGENTS])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_are_added_up_in_float32(method, dtype):
    """A bias of 3,000 outputs has the trace 3,000; a bfloat16 would stop at 256."""
    model = nn.Dense(3000, param_dtype=dtype, dtype=dtype)
    x = jnp.ones((2, 3), dtype)
    params = model.init(jax.random.key(0), x)["params"]
    kernel = empirical_ntk(
        lambda p, x: model.apply({"params": p}, x),
        params,
        x,
        outputs="trace",
        method=method,
        parameters=lambda path: path[-1] == "bias",
    )
    assert kernel.dtype == jnp.float32
    # neural-tangents adds up in the dtype of the parameters, rounded once.
    tolerance = float(jnp.finfo(dtype).eps) if method in NEURAL_TANGENTS else 0
    assert_close(kernel, np.full((2, 2), 3000.0), tolerance)


def test_half_precision_layers_of_ours_are_added_up_in_float32():
    x = jnp.ones((3, 700, 2), jnp.bfloat16)
    kernel, scale = jnp.ones((2, 2), jnp.bfloat16), jnp.ones(2, jnp.bfloat16)
    places = [jnp.zeros((3, 3), jnp.float32)] * 3

    def out(places):
        hidden = gram_rules.add_bias(gram_rules.dense(x, kernel, places[0]), scale, places[1])
        return gram_rules.multiply_scale(hidden, scale, places[2]).sum(dtype=jnp.float32)

    grams = jax.grad(out)(places)
    # A gradient is 700 for each weight and bias, 700 * 3 for each scale.
    for gram, wanted in zip(grams, (4 * 700**2, 2 * 700**2, 2 * 2100**2), strict=True):
        assert gram.dtype == jnp.float32
        assert_close(gram, np.full((3, 3), float(wanted)), 1e-6)


def test_a_function_of_one_size_of_batch_is_told_what_to_do():
    params = {"w": jnp.ones(3)}
    with pytest.raises(InputError, match=r"apply_fn: got a function that takes batches of 2"):
        empirical_ntk(
            lambda p, x: x.reshape(2, 4)[:, :3] @ p["w"],
            params,
            X,
            outputs="sum",
            method="per_example_gradients",
        )


def test_parameters_without_entries_add_nothing():
    params = {"none": jnp.ones((0, 2)), "w": jnp.ones((4, 2))}
    kernel = empirical_ntk(
        lambda p, x: x @ p["w"] + x[:, :0] @ p["none"],
        params,
        X,
        outputs="trace",
        method="per_example_gradients",
    )
    assert_close(kernel, np.full((2, 2), 8.0))


class NnxNetwork(nnx.Module):
    """A model of the other Flax."""

    def __init__(self, *, drops):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(4, 3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs) if drops else None
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        x = jnp.tanh(self.first(x))
        return self.norm(x if self.drop is None else self.drop(x))


@pytest.mark.parametrize("drops", [False, True])
def test_an_nnx_model_has_paths_and_is_told_to_stop_training(drops):
    net = NnxNetwork(drops=drops)

    def kernel():
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        return empirical_ntk(
            lambda p, x: nnx.merge(graph, p, rest)(x),
            params,
            jnp.eye(4, dtype=jnp.float32),
            outputs="trace",
            method="per_example_gradients",
            parameters=lambda path: path == ("first", "bias"),
        )

    with pytest.raises(InputError, match=r"apply_fn: got an NNX model .* call eval\(\) on it"):
        kernel()
    net.eval()
    weights = np.asarray(net.first.kernel[...])
    slopes = (1 - np.tanh(weights) ** 2) / np.sqrt(1 + 1e-5)
    assert_close(kernel(), slopes @ slopes.T, 1e-6)


@pytest.mark.parametrize(
    ("tree", "paths"),
    [
        ({"a": [1, {"b": 2}]}, [("a", "0"), ("a", "1", "b")]),
        ({0: 1, 1: 2}, [("0",), ("1",)]),
        ((1.0,), [("0",)]),
        ([{"x/y": 1}, 2], [("0", "x/y"), ("1",)]),
        (1.0, [("params",)]),
    ],
)
def test_leaves_of_any_tree_have_paths(tree, paths):
    assert named_paths(tree) == paths


@pytest.mark.parametrize("beside", [2, 2.0, np.float32(2), np.int8(2), jnp.array(2), True])
@pytest.mark.parametrize("method", ["auto", "per_example_gradients", "ntk_vector_products"])
def test_numbers_beside_arrays_are_parameters_or_constants(method, beside):
    x, weights = jnp.arange(6.0).reshape(3, 2), jnp.ones((2, 4))

    def scaled(params, x):
        return x @ params["weights"] * jnp.asarray(params["by"], x.dtype)

    params = {"weights": weights, "by": beside}
    wanted = 4 * float(beside) ** 2 * x @ x.T
    if isinstance(beside, float | np.floating):
        wanted += (x @ weights) @ (x @ weights).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MethodFallback)
        kernel = empirical_ntk(scaled, params, x, outputs="trace", method=method)
    assert_close(kernel, wanted, 1e-12)
    assert check_model(scaled, params, x).outputs == 4


@pytest.mark.parametrize("method", ["per_example_gradients", "ntk_vector_products"])
@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: [w], lambda w: (w,), lambda w: {"w": w}])
def test_parameters_may_be_one_array_or_any_tree(method, wrap):
    x, weights = jnp.arange(6.0).reshape(3, 2), jnp.ones((2, 4))

    def linear(params, x):
        return x @ jax.tree.leaves(params)[0]

    assert_close(
        empirical_ntk(linear, wrap(weights), x, outputs="trace", method=method), 4 * x @ x.T, 1e-12
    )


def test_it_runs_inside_jit_and_vmap(case):
    made = case("dense")

    def kernel(scale):
        return empirical_ntk(
            lambda p, x: scale * made.apply_fn(p, x),
            made.params,
            made.x,
            outputs="sum",
            method="gram",
        )

    many = jax.jit(jax.vmap(kernel))(jnp.array([1.0, 2.0]))
    assert_close(many, np.stack([made.kernel("sum"), 4 * made.kernel("sum")]), 1e-12)


def test_basis_of_class_balanced_is_orthonormal_and_blind_to_the_mean():
    basis = np.asarray(output_basis("class_balanced", 7, jnp.dtype("float64")))
    np.testing.assert_allclose(basis @ basis.T, np.eye(6), atol=1e-14)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-14)


def test_a_plan_can_be_read(case):
    made = case("small ViT, positions")
    plan = plan_ntk(made.apply_fn, made.params, made.x, NtkSettings("trace"))
    assert str(plan).splitlines()[1:] == [
        "per_example_gradients: 1 parameters",
        "  positions: no Gram rule for the layer that uses it",
    ]


X = jnp.ones((2, 4))
BAD = {
    "method": ({"method": "gramm"}, r"^method: got 'gramm'.*gram"),
    "outputs": ({"outputs": "summ"}, r"^outputs: got 'summ'.*sum"),
    "examples": ({"examples": "couple"}, r"^examples: got 'couple'.*coupled"),
    "tile": ({"tile": 0}, r"^tile: got 0"),
    "tile of neural-tangents": (
        {"tile": 1, "method": "jacobian_contraction"},
        r"^tile: got 1 with method=",
    ),
    "precision": ({"matmul_precision": "sharp"}, r"^matmul_precision: got 'sharp'"),
    "columns": ({"x2": jnp.ones((2, 3))}, r"^x2: got shape \(2, 3\)"),
    "nothing": ({"x1": jnp.ones((0, 4))}, r"^x1: got shape \(0, 4\)"),
    "no parameter": ({"params": {}}, r"^params: got no parameter"),
    "complex": ({"params": {"w": jnp.ones((4, 1), complex)}}, r"^params: got w of dtype complex"),
    "coupled columns": ({"x2": X, "examples": "coupled"}, r"^x2: got .*coupled"),
    "coupled gram": ({"method": "gram", "examples": "coupled"}, r"^method: got gram with"),
    "parameters": ({"parameters": lambda path: False}, r"^parameters: got"),
    "one output": (
        {"outputs": "class_balanced", "method": "per_example_gradients"},
        r"^outputs: got class_balanced",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_in_one_line(what):
    changes, message = BAD[what]
    params = {"w": jnp.ones((4, 1))}
    arguments = {"params": params, "x1": X, "x2": None, "outputs": "sum"} | changes
    with pytest.raises(InputError, match=message) as caught:
        empirical_ntk(
            lambda p, x: x @ p["w"],
            arguments.pop("params"),
            arguments.pop("x1"),
            arguments.pop("x2"),
            **arguments,
        )
    assert len(str(caught.value).splitlines()) == 1


NO_ROWS = [lambda x: (x, x), lambda x: x[:1], lambda x: x.sum(), lambda x: x[:, :0]]


@pytest.mark.parametrize("out", NO_ROWS)
def test_functions_without_one_row_an_example_are_refused(out):
    with pytest.raises(InputError, match=r"^apply_fn: got (no )?outputs"):
        empirical_ntk(lambda p, x: out(x * p["w"]), {"w": jnp.ones(())}, X, outputs="sum")


def test_check_outputs_names_the_choices():
    with pytest.raises(InputError, match="trace, full, sum, class_balanced"):
        check_outputs("mean")
