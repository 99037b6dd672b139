"""The kernel of every model of the zoo against its float64 Jacobian."""

import jax
import numpy as np
import pytest

from jaxntk.kernels.empirical import empirical_ntk
from tests.networks.tiny import assert_close
from tests.zoo.model import Reference, as_users_have_it
from tests.zoo.table import LARGE, ZOO

SUMS = [
    "linen resnet",
    "linen vit, scanned",
    "linen u-net",
    "linen language model, tied",
    "linen film, dictionary of inputs",
    "linen gru",
    "numbers, integers and None among the parameters",
    "mixture of experts, top-1 gathered",
    "branches by the data, under vmap",
    "nnx cnn, batch norm evaluated",
    "equinox cnn, channels first",
    "haiku lstm, time first",
]
IDLE = 1e-6
"""Of the largest derivative of a model; what is smaller is rounding."""


@pytest.fixture(autouse=True, scope="module")
def defaults_of_jax():
    with as_users_have_it():
        yield


@pytest.fixture(scope="module")
def case():
    made = {}

    def get(name):
        if name not in made:
            model = ZOO[name]()
            made[name] = model, Reference(model)
        return made[name]

    return get


@pytest.mark.parametrize("name", ZOO)
def test_each_parameter_matters_and_no_example_sees_another(case, name):
    model, reference = case(name)
    assert model.large == (name in LARGE), model.size
    assert np.all(np.isfinite(reference.outputs))
    sizes = {path: np.abs(leaf).max() for path, leaf in reference.jacobian.items()}
    relative = {path: size / max(sizes.values()) for path, size in sizes.items()}
    idle = {path: size for path, size in relative.items() if path.startswith(model.idle)}
    busy = {path: size for path, size in relative.items() if path not in idle}
    assert not {path: size for path, size in idle.items() if not size < IDLE}
    assert not {path: size for path, size in busy.items() if not size > IDLE}
    assert bool(idle) == bool(model.idle)

    def single(x):
        return model.apply(model.params, jax.tree.map(lambda leaf: leaf[None], x), model.state)[0]

    alone = jax.jit(lambda x: jax.lax.map(single, x))(model.x)
    assert_close(alone.reshape(len(alone), -1), reference.outputs, 0.01 * model.tolerance)


@pytest.mark.parametrize("name", ZOO)
def test_the_trace_is_the_jacobian_times_itself(case, name):
    model, reference = case(name)
    kernel = empirical_ntk(
        model.apply_fn, model.params, model.x, outputs="trace", state=model.state
    )
    assert_close(kernel, reference.kernel("trace"), model.tolerance)


@pytest.mark.parametrize("name", SUMS)
def test_the_sum_is_the_summed_jacobian_times_itself(case, name):
    model, reference = case(name)
    kernel = empirical_ntk(model.apply_fn, model.params, model.x, outputs="sum", state=model.state)
    assert_close(kernel, reference.kernel("sum"), model.tolerance)
