"""Every strategy gives the kernels that the network of one cell gives, in the order asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks import nasbench201_routing
from jaxntk.networks.nasbench201 import init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.population.kernels import population_kernels
from jaxntk.spaces import nasbench201
from tests.networks import tiny
from tests.networks.tiny import quick_float64  # noqa: F401

NETWORK = tiny.network(cells_per_stage=1)
X = tiny.images()
# Five cells in chunks of two: the last chunk is not full.
ARCHS = np.concatenate([[tiny.ALL_OPS, tiny.CHAIN], nasbench201.sample(jax.random.key(3), 3)])


def settings(**changes):
    fixed = {"batch_norm": "frozen", "dtype": "float64", "outputs": "trace"}
    return KernelSettings(**(fixed | changes))


@functools.cache
def one_at_a_time():
    """Returns the function that computes the kernel of one cell."""
    layers = layer_kernel_fn(cell_model(NETWORK), settings(), X.shape[1:])
    kernel = jax.jit(lambda variables, arch: total(layers(variables, jnp.asarray(X), arch)))
    variables = init_variables(NETWORK, jax.random.key(0), X.shape[1:], jnp.dtype("float64"))
    return functools.partial(kernel, variables)


@functools.cache
def reference():
    return [one_at_a_time()(jnp.asarray(arch)) for arch in ARCHS]


@pytest.mark.parametrize("strategy", ["map", "vmap", "routed"])
def test_strategies_agree(strategy):
    kernels = population_kernels(
        cell_model(NETWORK), settings(), X, ARCHS, strategy=strategy, chunk=2
    )
    got = kernels.array()
    assert got.dtype == np.float64
    assert (kernels.strategy, kernels.rates, kernels.chunk) == (strategy, {}, 2)
    for gram, wanted in zip(got, reference(), strict=True):
        tiny.assert_close(gram, wanted)


@pytest.fixture(scope="module")
def measured():
    calls = []
    kernels = population_kernels(
        cell_model(NETWORK),
        settings(),
        X,
        ARCHS,
        chunk=2,
        progress=lambda *each: calls.append(each),
    )
    return kernels, list(kernels), calls


def test_auto_keeps_the_strategy_with_the_highest_rate(measured):
    kernels, _, _ = measured
    assert set(kernels.rates) == {"map", "routed"}
    assert all(rate > 0 for rate in kernels.rates.values()), kernels.rates
    assert kernels.strategy == max(kernels.rates, key=lambda name: kernels.rates[name])


def test_every_cell_comes_once(measured):
    _, chunks, calls = measured
    assert sorted(np.concatenate([chunk.index for chunk in chunks])) == list(range(len(ARCHS)))
    for chunk in chunks:
        for index, gram in zip(chunk.index, chunk.gram_KxNxN, strict=True):
            tiny.assert_close(gram, reference()[index])
    done = np.cumsum([len(chunk.index) for chunk in chunks])
    assert calls == [(each, 5) for each in done]


def test_distinct_cells_have_the_kernels_of_all():
    archs = np.array([
        tiny.ALL_OPS,
        (3, 0, 3, 1, 0, 0),  # two convolutions that lead nowhere
        (0, 0, 3, 1, 2, 3),  # two that see zeros
        (0, 0, 0, 1, 0, 0),
        tiny.NONE,
    ])
    cells, index = nasbench201_routing.distinct_cells(archs)
    assert len(cells) == 3
    kernel = one_at_a_time()
    got, wanted = ([kernel(jnp.asarray(arch)) for arch in each] for each in (cells[index], archs))
    scale = np.abs(wanted).max()
    error = np.abs(np.subtract(got, wanted)).max()
    assert error <= 1e-12 * scale, f"{error:.2e} of {scale:.2e}"


BAD = {
    "strategy": ({"strategy": "rooted"}, "did you mean 'routed'"),
    "routed batch": (
        {"strategy": "routed", "settings": settings(batch_norm="batch")},
        "choose map or vmap",
    ),
    "routed tile": ({"strategy": "routed", "settings": settings(tile=2)}, "choose map or vmap"),
    "routed parameters": (
        {"strategy": "routed", "settings": settings(parameters=lambda path: False)},
        "paths look like",
    ),
    "chunk": ({"chunk": 0}, "chunk"),
    "no cell": ({"archs": np.zeros((0, 6), int)}, "give at least one"),
    "no device": ({"devices": []}, "devices"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    changes, message = BAD[name]
    arguments = {"settings": settings(), "x": X, "archs": ARCHS} | changes
    with pytest.raises(InputError, match=message):
        population_kernels(cell_model(NETWORK), **arguments)


def test_float64_is_asked_for():
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        population_kernels(cell_model(NETWORK), settings(), X, ARCHS)
