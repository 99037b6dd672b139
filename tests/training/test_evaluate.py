"""Accuracy against the plain network, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.training import evaluate
from jaxntk.training.population import TrainState, population_training
from jaxntk.training.recipe import Recipe
from tests.networks import tiny

CELLS = np.array([tiny.ALL_OPS, tiny.CHAIN, tiny.NONE], np.int32)


@pytest.fixture(scope="module")
def net():
    return tiny.network(cells_per_stage=1)


@pytest.fixture(scope="module")
def drawn(net):
    return tiny.variables(net)


def plain_predictions(drawn, arch, x_seen, x):
    """Predictions of the plain network, one image at a time."""
    seen = batch_statistics(drawn["params"], jnp.asarray(x_seen), arch)

    @jax.jit
    def predict(image):
        normalize = lambda path, out: standardize(out, *seen[path])  # noqa: E731
        return jnp.argmax(plain_logits(drawn["params"], image[None], arch, normalize))

    return np.array([int(predict(image)) for image in jnp.asarray(x)])


def of_one(test, variables, arch, x_seen, x, labels):
    """Accuracy of one network, as a population of one."""
    stacked = jax.tree.map(lambda leaf: leaf[None], variables)
    zero = jnp.zeros(1, jnp.int32)
    state = TrainState(stacked["params"], stacked["batch_stats"], (), zero, zero)
    splits = {"only": (jnp.asarray(x), jnp.asarray(labels, jnp.int32))}
    archs = jnp.asarray([arch], jnp.int32)
    return float(test(state, archs, jnp.asarray(x_seen), splits)["only"][0])


@pytest.mark.parametrize("arch", [tiny.ALL_OPS, tiny.CHAIN])
@pytest.mark.parametrize("block", [2, 3, 512])
def test_accuracy_is_that_of_single_images(net, drawn, arch, block, monkeypatch):
    monkeypatch.setattr(evaluate, "BLOCK", block)
    x_seen, x = tiny.images(), tiny.images((7, 8, 8, 3), seed=1)
    predicted = plain_predictions(drawn, arch, x_seen, x)
    wrong = (predicted + np.array([0, 1, 0, 0, 1, 0, 0])) % tiny.NUM_CLASSES
    test = evaluate.make_evaluation(cell_model(net))
    for labels, right in ((predicted, 7), (wrong, 5)):
        found = of_one(test, drawn, arch, x_seen, x, labels)
        assert found == pytest.approx(right / 7, rel=1e-12)


@pytest.mark.parametrize("strategy", ["map", pytest.param("vmap", marks=pytest.mark.slow)])
def test_a_population_is_tested_cell_by_cell(net, strategy):
    training = population_training(cell_model(net), Recipe(), 1, (8, 8, 3), jnp.dtype("float64"))
    states = training.init([0, 1, 2])
    x_seen, x = jnp.asarray(tiny.images()), jnp.asarray(tiny.images((6, 8, 8, 3), seed=1))
    y = jnp.arange(6, dtype=jnp.int32) % tiny.NUM_CLASSES
    splits = {"valid": (x[:3], y[:3]), "test": (x[3:], y[3:])}
    found = evaluate.make_evaluation(cell_model(net), strategy)(
        states, jnp.asarray(CELLS), x_seen, splits
    )
    assert set(found) == {"valid", "test"}
    for index, arch in enumerate(CELLS):
        variables = jax.tree.map(lambda leaf, index=index: leaf[index], states.variables)
        predicted = plain_predictions(variables, tuple(arch.tolist()), x_seen, x)
        right = predicted == np.asarray(y)
        assert float(found["valid"][index]) == pytest.approx(right[:3].mean(), rel=1e-12)
        assert float(found["test"][index]) == pytest.approx(right[3:].mean(), rel=1e-12)


def test_logits_that_are_not_finite_predict_nothing(net, drawn):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, drawn)
    x = tiny.images()
    labels = np.zeros(len(x))
    assert (
        of_one(evaluate.make_evaluation(cell_model(net)), broken, tiny.ALL_OPS, x, x, labels) == 0.0
    )
