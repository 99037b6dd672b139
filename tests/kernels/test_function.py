"""Parameters, inputs and state may be any tree; what has no derivative is held constant."""

from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState

from jaxntk.errors import InputError
from jaxntk.kernels.check import check_model
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.function import function_of, kernel_dtype
from tests.kernels import models
from tests.kernels.explicit import assert_exact, full_kernel, jacobians
from tests.networks.tiny import assert_close

F64 = {"param_dtype": jnp.float64}
X = np.random.default_rng(0).normal(size=(4, 3))


class Pair(NamedTuple):
    """Two parameters by name."""

    w: Any
    b: Any


@flax.struct.dataclass
class Struct:
    """Two parameters and a number that is no leaf."""

    w: Any
    b: Any
    power: int = flax.struct.field(pytree_node=False, default=2)


WRAPPED = {
    "dictionary": lambda w, b: {"w": w, "b": b},
    "list": lambda w, b: [w, b],
    "tuple with a dictionary": lambda w, b: (w, {"b": b}),
    "numbers as keys": lambda w, b: {0: w, 1: b},
    "named tuple": Pair,
    "FrozenDict": lambda w, b: freeze({"w": w, "in": {"b": b}}),
    "dataclass of Flax": Struct,
    "empty nodes": lambda w, b: {"a": {}, "w": w, "b": [b, None, ()], "c": []},
    "numbers without derivatives": lambda w, b: {
        "w": w,
        "steps": jnp.asarray(7),
        "x": {"b": b},
        "z": [3, True],
    },
    "a random key": lambda w, b: [w, b, jax.random.split(jax.random.key(0), 3)],
    "an array of NumPy": lambda w, b: {"w": np.asarray(w), "b": b},
}


@pytest.fixture(scope="module")
def weights():
    return models.inputs((3, 2), 1), models.inputs((2,), 2)


def _of_leaves(params, x):
    by_size = {np.size(leaf): leaf for leaf in jax.tree.leaves(params)}
    return jnp.tanh(x @ jnp.asarray(by_size[6]) + jnp.asarray(by_size[2])[None])


@pytest.mark.parametrize("wrap", WRAPPED)
def test_any_tree_of_parameters_will_do(weights, wrap):
    wanted = full_kernel(jacobians(_of_leaves, weights, X))
    # The program is the same for most, so it is compiled and checked once.
    kernel = empirical_ntk(_of_leaves, WRAPPED[wrap](*weights), X, outputs="full")
    assert_close(kernel, wanted, 1e-10)


@pytest.mark.parametrize("wrap", ["FrozenDict", "dataclass of Flax", "empty nodes", "named tuple"])
def test_a_function_gets_the_tree_that_was_given(weights, wrap):
    params, seen = WRAPPED[wrap](*weights), []

    def network(params, x):
        seen.append(jax.tree.structure(params))
        return _of_leaves(params, x)

    empirical_ntk(network, params, X, outputs="sum", check=False)
    assert set(seen) == {jax.tree.structure(params)}


@pytest.mark.parametrize("method", ["auto", "per_example_gradients", "ntk_vector_products"])
def test_a_tree_that_is_one_array(method):
    w = jnp.arange(6.0).reshape(3, 2)
    kernel = empirical_ntk(lambda w, x: x @ w, w, X, outputs="trace", method=method)
    assert_close(kernel, 2 * X @ X.T, 1e-12)


@pytest.mark.parametrize("beside", [2, 2.0, np.float32(2), np.int8(2), True])
@pytest.mark.parametrize("method", ["auto", "ntk_vector_products"])
def test_numbers_beside_arrays_are_parameters_or_constants(method, beside):
    weights = jnp.ones((3, 4))

    def scaled(params, x):
        return x @ params["weights"] * jnp.asarray(params["by"], x.dtype)

    params = {"weights": weights, "by": beside}
    wanted = 4 * float(beside) ** 2 * X @ X.T
    if isinstance(beside, float | np.floating):
        wanted += (X @ weights) @ (X @ weights).T
    kernel = empirical_ntk(scaled, params, X, outputs="trace", method=method, check=False)
    # The gradient of a float32 parameter is rounded.
    assert_close(kernel, wanted, 1e-7 if isinstance(beside, np.float32) else 1e-12)


def test_whole_numbers_among_the_parameters_are_constants():
    params = {"power": jnp.asarray(2), "w": jnp.asarray(3.0)}
    x = jnp.arange(1.0, 4.0)
    kernel = empirical_ntk(lambda p, x: x ** p["power"] * p["w"], params, x, outputs="sum")
    assert_close(kernel, np.outer(x**2, x**2))
    assert check_model(lambda p, x: x ** p["power"] * p["w"], params, x).outputs == 1


def test_parameters_without_entries_add_nothing():
    params = {"none": jnp.ones((0, 2)), "w": jnp.ones((3, 2))}
    kernel = empirical_ntk(
        lambda p, x: x @ p["w"] + x[:, :0] @ p["none"], params, X, outputs="trace"
    )
    assert_close(kernel, 2 * X @ X.T, 1e-12)


def test_a_train_state_is_its_parameters(weights):
    dense = nn.Dense(2, **F64)
    params = dense.init(jax.random.key(0), X)["params"]
    state = TrainState.create(apply_fn=dense.apply, params=params, tx=optax.sgd(0.1))
    kernel = empirical_ntk(
        lambda state, x: jnp.tanh(state.apply_fn({"params": state.params}, x)),
        state,
        X,
        outputs="full",
    )
    wanted = jacobians(lambda p, x: jnp.tanh(dense.apply({"params": p}, x)), params, X)
    assert_close(kernel, full_kernel(wanted), 1e-10)


def test_the_moments_of_an_optimiser_have_zero_gradients():
    w = jnp.ones((3, 2))
    adam = optax.adam(0.1)
    state = TrainState.create(apply_fn=lambda w, x: x @ w, params=w, tx=adam)
    kernel = empirical_ntk(lambda s, x: s.apply_fn(s.params, x), state, X, outputs="trace")
    assert_close(kernel, 2 * X @ X.T, 1e-12)


class NnxNetwork(nnx.Module):
    """A model of the other Flax."""

    def __init__(self, *, drops):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(3, 3, rngs=rngs)
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
        with jax.numpy_dtype_promotion("standard"):
            return empirical_ntk(
                lambda p, x: nnx.merge(graph, p, rest)(x),
                params,
                jnp.eye(3, dtype=jnp.float32),
                outputs="trace",
                parameters=lambda path: path == ("first", "bias"),
            )

    with pytest.raises(InputError, match=r"apply_fn: got an NNX model .*eval\(\)"):
        kernel()
    net.eval()
    weights = np.asarray(net.first.kernel[...])
    slopes = (1 - np.tanh(weights) ** 2) / np.sqrt(1 + 1e-5)
    assert_close(kernel(), slopes @ slopes.T, 1e-6)


def test_an_nnx_state_may_hold_the_keys_of_dropout():
    class Net(nnx.Module):
        def __init__(self):
            self.a = nnx.Linear(3, 4, rngs=nnx.Rngs(0), **F64)
            self.drop = nnx.Dropout(0.3, rngs=nnx.Rngs(1))
            self.b = nnx.Linear(4, 2, rngs=nnx.Rngs(2), **F64)

        def __call__(self, x):
            return self.b(jnp.tanh(self.drop(self.a(x))))

    net = Net()
    net.eval()
    graph, state = nnx.split(net)
    params, rest = nnx.split_state(state, nnx.Param, ...)
    wanted = full_kernel(jacobians(lambda p, x: nnx.merge(graph, p, rest)(x), params, X))
    kernel = empirical_ntk(lambda s, x: nnx.merge(graph, s)(x), state, X, outputs="full")
    assert_close(kernel, wanted, 1e-10)


def test_an_equinox_model_is_parted_and_joined():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    params, rest = eqx.partition(model, eqx.is_array)

    def network(params, x):
        return jax.vmap(eqx.combine(params, rest))(x)

    assert_exact(network, params, X)
    with pytest.raises(InputError, match=r"^params: got .*equinox.partition"):
        empirical_ntk(lambda m, x: jax.vmap(m)(x), model, X, outputs="trace")


STATISTICS = {
    "as Flax applies them": {"params": {"w": 1}, "batch_stats": {"norm": {"mean": 0.0}}},
    "another collection": {"params": {"w": 1}, "moving": {"norm": 0.0}},
    "by name": {"w": 1, "bn": {"running_mean": 0.0}},
    "mean and var": {"w": 1, "bn": {"mean": 0.0, "var": 1.0}},
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_batches_are_no_parameters(name):
    params = jax.tree.map(float, STATISTICS[name])
    message = r"^params: got .*, which looks like a statistic of batches.*state="
    with pytest.raises(InputError, match=message):
        empirical_ntk(lambda p, x: x * jax.tree.leaves(p)[0], params, X, outputs="trace")
    # Whoever says which paths enter, has said it.
    kernel = empirical_ntk(
        lambda p, x: x * sum(jax.tree.leaves(p)),
        params,
        X,
        outputs="trace",
        parameters=lambda path: path[-1] == "w",
        check=False,
    )
    assert_close(kernel, X @ X.T, 1e-12)


def test_statistics_of_nnx_are_no_parameters():
    net = nnx.BatchNorm(3, rngs=nnx.Rngs(0), **F64)
    net.eval()
    graph, state = nnx.split(net)
    with pytest.raises(InputError, match=r"^params: got .*a statistic of batches.*nnx.Param"):
        empirical_ntk(lambda s, x: nnx.merge(graph, s)(x), state, X, outputs="trace")


def test_a_mean_alone_is_a_parameter_like_any_other():
    assert_exact(lambda p, x: x - p["mean"][None], {"mean": jnp.ones(3)}, X, check=False)


def _scaled(params, x, state):
    return {"logits": jnp.tanh(x @ params["w"]) * state["scale"], "hidden": x}


@pytest.mark.parametrize("method", ["auto", "per_example_gradients", "jacobian_contraction"])
def test_a_state_is_given_and_one_output_picked(method):
    params, state = {"w": models.inputs((3, 2), 1)}, {"scale": jnp.asarray(3.0), "steps": 5}

    def kernel(state):
        return empirical_ntk(
            _scaled,
            params,
            X,
            outputs="full",
            state=state,
            pick=lambda out: out["logits"],
            method=method,
        )

    wanted = full_kernel(jacobians(lambda p, x: _scaled(p, x, state)["logits"], params, X))
    assert_close(kernel(state), wanted, 1e-10)
    # The state is an input: another one gives another kernel.
    assert_close(kernel({**state, "scale": jnp.asarray(6.0)}), 4 * wanted, 1e-10)


def test_a_function_that_returns_more_is_told_of_pick():
    with pytest.raises(InputError, match=r"^apply_fn: got outputs of type dict.*pick="):
        empirical_ntk(_scaled, {"w": jnp.ones((3, 2))}, X, outputs="sum", state={"scale": 1.0})


def _two_inputs(params, x):
    ids, pixels = x["ids"], x["more"][0]
    return jnp.tanh(params["words"][ids].sum(axis=1) + pixels @ params["w"])


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("tile", [None, 2])
def test_inputs_may_be_a_tree(outputs, tile):
    params = {"words": models.inputs((6, 2), 1), "w": models.inputs((3, 2), 2)}
    x = {"ids": jnp.arange(20).reshape(5, 4) % 6, "more": (models.inputs((5, 3)),)}
    settings = {"outputs": outputs, "tile": tile}
    assert_exact(_two_inputs, params, x, **settings, check=tile is None)
    rows, columns = (
        jax.tree.map(lambda leaf, at=at: leaf[at], x) for at in (slice(2), slice(2, 5))
    )
    whole = empirical_ntk(_two_inputs, params, x, **settings, check=False)
    block = empirical_ntk(_two_inputs, params, rows, columns, **settings, check=False)
    assert_close(block, whole[:2, 2:], 1e-12)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16, jnp.bool_])
def test_inputs_may_be_whole_numbers_or_truth_values(dtype):
    pixels = jnp.asarray(np.random.default_rng(0).integers(0, 200, (4, 12)), dtype)
    assert_exact(
        lambda w, x: jnp.tanh(x.astype(jnp.float64) @ w * 0.01), models.inputs((12, 2), 1), pixels
    )


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32])
@pytest.mark.parametrize(("words", "tokens"), [(256, 6), (200, 230)])
def test_short_types_of_tokens_hold_fewer_words_than_there_are(dtype, words, tokens):
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 127, (4, tokens)), dtype)
    table = models.inputs((words, 3), 1)
    settings = {"check": False, "tolerance": 1e-12}

    def network(table, ids):
        return jnp.tanh(jnp.take(table, ids, axis=0)).sum(axis=1)

    assert_exact(network, table, ids, **settings)


def test_a_function_is_taken_apart_by_what_enters():
    params = {"w": jnp.ones((2, 3)), "b": 1.0, "steps": 7, "none": jnp.ones((0,))}
    function = function_of(lambda p, x: x, params, None, lambda path: path != ("b",), None)
    assert function.paths == [("w",)]
    assert [np.shape(leaf) for leaf in function.entering] == [(2, 3)]
    assert len(function.others) == 3
    assert function.dtype == np.float64


@pytest.mark.parametrize(
    ("leaves", "dtype"),
    [
        ([np.float32(1)], "float32"),
        ([jnp.bfloat16(1), np.float64(1)], "float64"),
        ([jnp.ones(2, jnp.float16), 3], "float32"),
        ([], "float32"),
    ],
)
def test_kernels_have_the_longest_type_that_enters(leaves, dtype):
    assert kernel_dtype(leaves).name == dtype


def test_a_float64_parameter_that_does_not_enter_does_not_count():
    params = {"w": jnp.ones((3, 2), jnp.float32), "wide": jnp.ones(3)}
    kernel = empirical_ntk(
        lambda p, x: x @ p["w"],
        params,
        X.astype(jnp.float32),
        outputs="sum",
        parameters=lambda path: path == ("w",),
        check=False,
    )
    assert kernel.dtype == np.float32
