"""Inner products and norms of gradients against the gradients themselves."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.gradients import gradient_dots, per_example_norms
from tests.kernels import small_functions
from tests.networks.tiny import assert_close
from tests.zoo.model import as_users_have_it
from tests.zoo.table import ZOO

NAMES = [
    "linen gru",
    "linen film, dictionary of inputs",
    "equinox cnn, channels first",
]


@pytest.fixture(autouse=True)
def defaults_of_jax():
    with as_users_have_it():
        yield


def squared(outputs, y):
    flat = outputs.reshape(len(outputs), -1)
    return jnp.sum((flat - y) ** 2, axis=1)


def gradients(losses, params, *batch):
    """Returns the gradient of every example's loss, (n, P), from the losses of the batch."""
    rows = jax.jit(jax.jacrev(losses))(params, *batch)
    return np.concatenate([np.reshape(row, (len(row), -1)) for row in jax.tree.leaves(rows)], 1)


@pytest.mark.parametrize("route", ["auto", "factorised", "materialised"])
@pytest.mark.parametrize("name", small_functions.FUNCTIONS)
def test_norms_and_dots_are_those_of_the_gradients(name, route):
    function, params, x = small_functions.case(name)
    y = small_functions.normal(3, len(x), 1)
    rows = gradients(lambda p, x, y: squared(function(p, x), y), params, x, y)
    options = {"loss": squared, "route": route}
    norms = per_example_norms(function, params, x, y, **options)
    assert_close(norms, np.linalg.norm(rows, axis=1), 1e-12)
    assert_close(gradient_dots(function, params, x, y1=y, **options), rows @ rows.T, 1e-12)
    block = gradient_dots(function, params, x[:3], x[3:], y[:3], y[3:], **options)
    assert_close(block, rows[:3] @ rows[3:].T, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_norms_of_the_zoo_are_the_diagonal(name):
    model = ZOO[name]()
    norms = per_example_norms(model.apply_fn, model.params, model.x, state=model.state)
    dots = gradient_dots(model.apply_fn, model.params, model.x, state=model.state)
    assert_close(norms**2, np.diag(dots), 1e-12)


def test_clipping_by_norms_is_what_differential_privacy_does():
    """The sum of clipped gradients is the gradient of a sum weighted by the norms."""
    model = nn.Dense(3, param_dtype=jnp.float64)
    x, y = small_functions.normal(0, 6, 4), jnp.arange(6) % 3
    params = model.init(jax.random.key(0), x)["params"]

    def apply_fn(params, x):
        return model.apply({"params": params}, x)

    loss = optax.softmax_cross_entropy_with_integer_labels
    weights = jnp.minimum(1, 0.5 / per_example_norms(apply_fn, params, x, y, loss=loss))
    clipped = jax.grad(lambda p: jnp.vdot(weights, loss(apply_fn(p, x), y)))(params)
    rows = gradients(lambda p, x, y: loss(apply_fn(p, x), y), params, x, y)
    rows *= np.minimum(1, 0.5 / np.linalg.norm(rows, axis=1, keepdims=True))
    flat = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(clipped)])
    assert_close(flat, rows.sum(axis=0), 1e-12)


@pytest.mark.parametrize("function", [per_example_norms, gradient_dots])
def test_a_loss_of_the_batch_is_refused(function):
    x = jnp.ones((4, 2))

    def mean(outputs, y):
        return jnp.mean(outputs)

    with pytest.raises(InputError, match=r"^loss: got a function that returns the shape \(\)"):
        function(lambda w, x: x @ w, jnp.ones(2), x, loss=mean)


def test_norms_run_inside_jit():
    function, params, x = small_functions.case("dense")
    inside = jax.jit(lambda p, x: per_example_norms(function, p, x))(params, x)
    assert_close(inside, per_example_norms(function, params, x), 1e-12)
