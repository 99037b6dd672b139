"""Training a population of transformers against each of them trained plainly at its own size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.vit import transformer_model
from jaxntk.networks.vit_plain import own_params, plain_logits
from jaxntk.spaces.autoformer import Choices, decode, from_string
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import batches, epoch_keys, population_training
from jaxntk.training.recipe import Recipe, make_optimizer
from tests.networks import tiny

SPACE = Choices((6, 12), (1, 2), (2, 3), (2.0,), head_dim=None)
MODEL = transformer_model(AutoFormer(SPACE, tiny.NUM_CLASSES, patch_size=4))
TEXTS = ("6:3x2", "12:2x2,3x2")
ARCHS = np.stack([from_string(text, SPACE) for text in TEXTS])
SEEDS, NUM, EPOCHS = [0, 1], 12, 3
RECIPE = Recipe(
    optimizer="adamw",
    schedule="cosine",
    learning_rate=0.01,
    weight_decay=0.0,
    batch_size=4,
    augmentation="none",
)
STEPS = EPOCHS * (NUM // 4)


@pytest.fixture(scope="module")
def data():
    return tiny.labelled_images(NUM)


@pytest.fixture(scope="module")
def training():
    return population_training(MODEL, RECIPE, STEPS, (8, 8, 3), jnp.dtype("float64"))


@pytest.fixture(scope="module")
def trained(training, data):
    states = training.init(SEEDS)
    for _ in range(EPOCHS):
        states, found = training.epoch(states, jnp.asarray(ARCHS), *data)
    return states, found


def plain_training(params, data, heads, seed):
    """A loop over epochs and steps of the network at its own size."""
    x, y = data
    optimizer = make_optimizer(RECIPE, STEPS)
    state = optimizer.init(params)

    def loss(params, index):
        with jax.numpy_rank_promotion("allow"):
            out = plain_logits(params, x[index], heads, patch_size=4)
        return optax.softmax_cross_entropy_with_integer_labels(out, y[index]).mean()

    grad = jax.jit(jax.value_and_grad(loss))
    for epoch in range(EPOCHS):
        losses = []
        for index in batches(epoch_keys(seed, epoch)[0], NUM, RECIPE):
            value, gradient = grad(params, index)
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            losses.append(value)
    return params, np.mean(losses)


def test_weights_are_those_of_the_plain_networks(training, trained, data):
    states, found = trained
    begun = training.init(SEEDS)
    for at, text in enumerate(TEXTS):
        sizes = decode(from_string(text, SPACE), SPACE)
        own = [
            own_params(jax.tree.map(lambda leaf, at=at: leaf[at], each.params), sizes, SPACE)
            for each in (begun, states)
        ]
        wanted, loss = plain_training(own[0], data, sizes.heads, SEEDS[at])
        for got, leaf in zip(jax.tree.leaves(own[1]), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(got, leaf, rtol=1e-6, atol=1e-8)
        assert float(found.loss[at]) == pytest.approx(float(loss), rel=1e-8)
        assert bool(found.finite[at])


def test_accuracy_is_that_of_single_images(trained, data):
    states, _ = trained
    x, y = data
    splits = {"valid": (x[:7], y[:7])}
    tested = make_evaluation(MODEL)(states, jnp.asarray(ARCHS), x, splits)
    for at, text in enumerate(TEXTS):
        sizes = decode(from_string(text, SPACE), SPACE)
        own = own_params(jax.tree.map(lambda leaf, at=at: leaf[at], states.params), sizes, SPACE)
        with jax.numpy_rank_promotion("allow"):
            out = [plain_logits(own, x[i : i + 1], sizes.heads, patch_size=4)[0] for i in range(7)]
        right = [int(np.argmax(each)) == int(y[i]) for i, each in enumerate(out)]
        assert float(tested["valid"][at]) == pytest.approx(np.mean(right))


def test_vmap_gives_the_same_numbers(trained, data):
    states, found = trained
    other = population_training(
        MODEL, RECIPE, STEPS, (8, 8, 3), jnp.dtype("float64"), strategy="vmap"
    )
    again = other.init(SEEDS)
    for _ in range(EPOCHS):
        again, epoch = other.epoch(again, jnp.asarray(ARCHS), *data)
    np.testing.assert_allclose(epoch.loss, found.loss, rtol=1e-8)
    for got, wanted in zip(
        jax.tree.leaves(again.params), jax.tree.leaves(states.params), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)
