"""The kernel of every model of the zoo against its float64 Jacobian."""

import jax
import numpy as np
import pytest

from jaxntk.kernels.arguments import NtkSettings
from jaxntk.kernels.empirical import empirical_ntk, plan_ntk
from tests.networks.tiny import assert_close
from tests.zoo.model import Reference, as_users_have_it
from tests.zoo.table import LARGE, ORDINARY, ZOO

SUMS = [
    "linen film, dictionary of inputs",
    "linen gru",
    "numbers, integers and None among the parameters",
    "mixture of experts, top-1 gathered",
    "branches by the data, under vmap",
    "haiku lstm, time first",
]
EVERY = [
    pytest.param(name, marks=[] if name in ORDINARY else pytest.mark.slow, id=name) for name in ZOO
]
COLLECTED = {
    "linen shared layers": "used 2 times",
    "linen lstm": "used by every step of a loop",
    "linen optimised lstm, stacked": "used by every step of a loop",
    "linen gru": "used by every step of a loop",
    "linen gru, both ways": "used by every step of a loop",
    "linen gru, lengths": "used by every step of a loop",
    "linen convolutional lstm": "used by every step of a loop",
    "rnn by scan, learnt start": "used by every step of a loop",
    "rnn that generates, outputs fed back": "used by every step of a loop",
    "delta rule, fast weights": "used by every step of a loop",
    "one flat vector": "used 4 times",
    "hypernetwork": "used 4 times",
    "fused and stacked weights": "used 2 times",
    "loop that picks its layer": "used by every step of a loop",
    "neural ode, runge-kutta": "used by every step of a loop",
    "branches by the data, under vmap": "used 2 times",
    "codebook, straight-through": "used 2 times",
    "gradients inside": "used 2 times",
    "nnx lstm": "used by every step of a loop",
    "nnx gru": "used by every step of a loop",
    "equinox gru, scan": "used by every step of a loop",
    "haiku lstm, time first": "used by every step of a loop",
    "haiku resettable gru, learnt start": "used 6 times",
}
"""Models more than 5 % of whose parameters are shared in a way that makes their gradients be added
up for each example (in cells as tiny as these, biases are much of them), and the reason."""
COVERED = 0.95
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


@pytest.mark.slow
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
def test_gram_rules_cover_what_is_not_named(name):
    model = ZOO[name]()
    settings = NtkSettings("trace")
    plan = plan_ntk(model.apply_fn, model.params, model.x, settings, state=model.state)
    share = plan.share("factorised", "materialised")
    assert (share >= COVERED) == (name not in COLLECTED), f"{share:.3f}\n{plan}"
    others = [each for each in plan.parameters.values() if each.way == "collected"]
    assert all(each.reason for each in others), str(plan)
    assert name not in COLLECTED or COLLECTED[name] in {each.reason for each in others}, str(plan)


@pytest.mark.parametrize("name", EVERY)
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
