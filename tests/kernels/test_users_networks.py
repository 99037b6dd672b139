"""Networks as their users write them have the kernel of their Jacobian, or are refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from tests.kernels import models, users_networks
from tests.kernels.explicit import assert_exact, full_kernel, jacobians
from tests.kernels.users_networks import plain
from tests.networks.tiny import assert_close

F64 = {"param_dtype": jnp.float64}
KEY = jax.random.key(0)
VECTORS = users_networks.VECTORS
CHECKED = (
    "a mask of the first layer",
    "a cast of all weights, compiled",
    "a step that gives its weights back",
    "weights by their exponential",
    "tied words",
    "a rule of ones own around a layer",
    "shuffled and restored by scatter",
)


@pytest.fixture(autouse=True, scope="module")
def linens_own_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", users_networks.NETWORKS)
def test_the_kernel_is_the_jacobian_times_itself(name):
    network, params, x = users_networks.make(name)
    # A cast rounds the gradients, and rounds them differently.
    tolerance = 1e-5 if "cast" in name else 1e-10
    assert_exact(network, params, x, tolerance=tolerance, check=name in CHECKED)


class Spectral(nn.Module):
    """A layer divided by its largest singular value, which is a statistic."""

    @nn.compact
    def __call__(self, x):
        return nn.SpectralNorm(nn.Dense(2, **F64))(x, update_stats=False)


def test_spectral_normalisation_has_its_vector_as_state():
    x = models.inputs(VECTORS)
    variables = dict(Spectral().init(KEY, x))
    params = variables.pop("params")

    def network(p, x, rest):
        return Spectral().apply({**rest, "params": p}, x)

    kernel = empirical_ntk(network, params, x, outputs="full", state=variables)
    wanted = jacobians(lambda p, x: network(p, x, variables), params, x)
    assert_close(kernel, full_kernel(wanted), 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_pixels_and_truth_values_go_into_dense_layers(dtype):
    net = nn.Sequential([nn.Dense(6, **F64), lambda x: jnp.tanh(0.01 * x), nn.Dense(2, **F64)])
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 30)).astype(dtype))
    params = net.init(KEY, x)["params"]
    assert_exact(lambda p, x: net.apply({"params": p}, x), params, x)


class Normalised(nn.Module):
    """Batch normalisation with stored statistics."""

    @nn.compact
    def __call__(self, x):
        norm = nn.BatchNorm(use_running_average=True, dtype=jnp.float64, **F64)
        return nn.Dense(2, **F64)(jnp.tanh(norm(nn.Dense(5, **F64)(x))))


def test_statistics_that_a_training_loop_changes():
    x = models.inputs(VECTORS)
    variables = Normalised().init(KEY, x)
    box = {"stats": variables["batch_stats"]}

    def network(p, x):
        return Normalised().apply({"params": p, "batch_stats": box["stats"]}, x)

    kernels = []
    for _ in range(2):
        kernels.append(empirical_ntk(network, variables["params"], x, outputs="full"))
        rows = jacobians(lambda p, x: network(p, x), variables["params"], x)
        assert_close(kernels[-1], full_kernel(rows), 1e-10)
        box["stats"] = jax.tree.map(lambda leaf: 2 * leaf + 0.5, box["stats"])
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


def test_variables_as_flax_applies_them_are_refused():
    x = models.inputs(VECTORS)
    variables = Normalised().init(KEY, x)
    with pytest.raises(InputError, match=r"^params: got batch_stats/.*variables\['params'\]"):
        empirical_ntk(Normalised().apply, variables, x, outputs="trace")


ORDERS = {
    "flipped": lambda x: x[::-1],
    "rolled": lambda x: jnp.roll(x, 1, axis=0),
    "sorted": lambda x: x[jnp.argsort(x[:, 0])],
    "sorted by axis": lambda x: jnp.sort(x, axis=0),
    "flipped, compiled": jax.jit(lambda x: x[::-1]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_rows_in_another_order_are_not_those_of_their_examples(name):
    params, x = users_networks.weights("first", "last"), models.inputs(VECTORS)

    def network(p, x):
        return plain(p, ORDERS[name](x))

    with pytest.raises(InputError, match=r"^apply_fn: got outputs that are other ones in a batch"):
        empirical_ntk(network, params, x, outputs="trace")
    if name == "sorted":
        assert_exact(network, params, x, examples="coupled")


def _time_first(p, x):
    out = plain(p, x.reshape(5, 5, 4).swapaxes(0, 1))
    return out.swapaxes(0, 1).sum(axis=1)


ONE_SIZE = {
    "a shape written out": (_time_first, (5, 5, 4)),
    "something added to each example": (
        lambda p, x: plain(p, x) + jnp.arange(10.0).reshape(5, 2),
        VECTORS,
    ),
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("name", ONE_SIZE)
def test_functions_of_one_size_of_batch_are_refused_and_have_a_kernel_as_coupled(name, check):
    network, shape = ONE_SIZE[name]
    params, x = users_networks.weights("first", "last"), models.inputs(shape)
    with pytest.raises(InputError, match=r"^apply_fn: got .*examples='coupled'"):
        empirical_ntk(network, params, x, outputs="trace", check=check)
    if check:
        assert_exact(network, params, x, examples="coupled")
