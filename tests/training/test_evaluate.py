"""Accuracy against the plain network, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.training import evaluate
from jaxntk.training.population import population_training
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


@pytest.mark.parametrize("arch", [tiny.ALL_OPS, tiny.CHAIN])
@pytest.mark.parametrize("block", [2, 3, 512])
def test_accuracy_is_that_of_single_images(net, drawn, arch, block, monkeypatch):
    monkeypatch.setattr(evaluate, "BLOCK", block)
    x_seen, x = tiny.images(), tiny.images((7, 8, 8, 3), seed=1)
    predicted = plain_predictions(drawn, arch, x_seen, x)
    wrong = (predicted + np.array([0, 1, 0, 0, 1, 0, 0])) % tiny.NUM_CLASSES
    cell = jnp.asarray(arch, jnp.int32)
    accuracy = jax.jit(evaluate.accuracy, static_argnums=0)
    for labels, right in ((predicted, 7), (wrong, 5)):
        found = accuracy(
            net, drawn, cell, jnp.asarray(x_seen), jnp.asarray(x), jnp.asarray(labels, jnp.int32)
        )
        assert float(found) == pytest.approx(right / 7, rel=1e-12)


@pytest.mark.parametrize("strategy", ["map", pytest.param("vmap", marks=pytest.mark.slow)])
def test_a_population_is_tested_cell_by_cell(net, strategy):
    training = population_training(net, Recipe(), 1, (8, 8, 3), jnp.dtype("float64"))
    states = training.init([0, 1, 2])
    x_seen, x = jnp.asarray(tiny.images()), jnp.asarray(tiny.images((6, 8, 8, 3), seed=1))
    y = jnp.arange(6, dtype=jnp.int32) % tiny.NUM_CLASSES
    splits = {"valid": (x[:3], y[:3]), "test": (x[3:], y[3:])}
    found = evaluate.make_evaluation(net, strategy)(states, jnp.asarray(CELLS), x_seen, splits)
    assert set(found) == {"valid", "test"}
    accuracy = jax.jit(evaluate.accuracy, static_argnums=0)
    for index, arch in enumerate(CELLS):
        variables = jax.tree.map(lambda leaf, index=index: leaf[index], states.variables)
        for name, split in splits.items():
            alone = accuracy(net, variables, jnp.asarray(arch), x_seen, *split)
            assert float(found[name][index]) == pytest.approx(float(alone), rel=1e-12)


def test_logits_that_are_not_finite_predict_nothing(net, drawn):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, drawn)
    x, cell = jnp.asarray(tiny.images()), jnp.asarray(tiny.ALL_OPS, jnp.int32)
    accuracy = jax.jit(evaluate.accuracy, static_argnums=0)
    found = accuracy(net, broken, cell, x, x, jnp.zeros(len(x), jnp.int32))
    assert float(found) == 0.0
