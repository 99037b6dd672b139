"""One step against a step written by hand, and what training must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.networks.nasbench201 import BatchNormMode
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.training import classify
from tests.networks import tiny

CELLS = (tiny.ALL_OPS, (1, 1, 1, 1, 1, 1), tiny.NONE)
RATE, MOMENTUM, DECAY = 0.05, 0.9, 0.1
NUM = 6


def _data(num=NUM, seed=0):
    """Images whose class is their brightest channel."""
    rng = np.random.default_rng(seed)
    y = np.arange(num) % tiny.NUM_CLASSES
    x = 0.3 * rng.normal(size=(num, 8, 8, 3)) + np.eye(3)[y][:, None, None, :]
    return jnp.asarray(x), jnp.asarray(y, jnp.int32)


@pytest.fixture(scope="module")
def net():
    return tiny.network(cells_per_stage=1)


@pytest.fixture(scope="module")
def drawn(net):
    return tiny.variables(net)


class Trainer:
    """A compiled training function that counts its traces."""

    def __init__(self, net, settings):
        self.traces = 0
        train = classify.make_train_fn(net, settings)

        def counted(*arguments):
            self.traces += 1
            return train(*arguments)

        self.train = jax.jit(counted)

    def __call__(self, variables, arch, key=0):
        x, y = _data()
        x_test, y_test = _data(9, seed=1)
        cell = jnp.asarray(arch, jnp.int32)
        return self.train(variables, cell, x, y, x_test, y_test, jax.random.key(key))


@pytest.fixture(scope="module")
def trainer(net):
    return Trainer(net, classify.TrainSettings(epochs=20, batch_size=3, learning_rate=0.01))


def test_loss_falls_and_accuracy_is_above_chance(trainer, drawn):
    accuracy, losses = trainer(drawn, tiny.ALL_OPS)
    assert losses.shape == (20,)
    assert losses[-5:].mean() < 0.5 * losses[0], losses
    assert float(accuracy) > 50, accuracy


def test_the_key_decides(trainer, drawn):
    first, again, other = (trainer(drawn, tiny.ALL_OPS, key)[1] for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_one_trace_serves_all_cells(trainer, drawn):
    losses = [np.asarray(trainer(drawn, arch)[1]) for arch in CELLS]
    assert trainer.traces == 1
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert not np.allclose(losses[one], losses[other])


def test_steps_are_those_written_by_hand(net, drawn):
    x, y = _data()
    arch = tiny.ALL_OPS
    settings = classify.TrainSettings(
        epochs=3,
        batch_size=NUM,
        learning_rate=RATE,
        momentum=MOMENTUM,
        weight_decay=DECAY,
    )
    _, losses = Trainer(net, settings)(drawn, arch)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        logits = plain_logits(
            params,
            x,
            arch,
            lambda path, x: standardize(x, x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))),
        )
        shifted = logits - jax.nn.logsumexp(logits, axis=1, keepdims=True)
        return -shifted[jnp.arange(NUM), y].mean()

    params = drawn["params"]
    velocity = jax.tree.map(jnp.zeros_like, params)
    wanted = []
    for _ in range(3):
        value, grads = loss(params)
        wanted.append(float(value))
        velocity = jax.tree.map(
            lambda v, g, p: MOMENTUM * v + g + DECAY * p, velocity, grads, params
        )
        params = jax.tree.map(lambda p, v: p - RATE * v, params, velocity)
    # A full batch an epoch: the second and third losses show decay, rate and momentum.
    np.testing.assert_allclose(losses, wanted, rtol=1e-9)


def test_accuracy_uses_statistics_of_the_training_images(net, drawn):
    arch = tiny.ALL_OPS
    x, _ = _data()
    x_test, y_test = _data(9, seed=3)
    x_test = 3 * x_test + 1.5
    seen = batch_statistics(drawn["params"], x, arch)
    logits = plain_logits(
        drawn["params"], x_test, arch, lambda path, x: standardize(x, *seen[path])
    )
    predicted = np.asarray(logits).argmax(axis=1)
    own = tiny.plain_network(BatchNormMode.BATCH, drawn, x_test, arch)(drawn["params"])
    assert (predicted != np.asarray(own).argmax(axis=1)).any(), "the test must tell them apart"
    cell = jnp.asarray(arch, jnp.int32)
    right = classify.test_accuracy(net, drawn, cell, x, x_test, jnp.asarray(predicted, jnp.int32))
    assert float(right) == 1.0
    # Images do not influence one another: one alone is classified as among the others.
    for index in range(3):
        one = classify.test_accuracy(
            net,
            drawn,
            cell,
            x,
            x_test[index : index + 1],
            jnp.asarray(predicted[index : index + 1]),
        )
        assert float(one) == 1.0
    truth = float((predicted == np.asarray(y_test)).mean())
    assert float(classify.test_accuracy(net, drawn, cell, x, x_test, y_test)) == truth


def test_defaults_are_the_recipe():
    settings = classify.TrainSettings(epochs=1, batch_size=1)
    recipe = settings.learning_rate, settings.momentum, settings.weight_decay
    assert recipe == (0.025, 0.9, 3e-4)
