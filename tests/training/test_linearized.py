"""The linearised network against a Taylor expansion of the plain one, trained by a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxntk.networks.nasbench201 import init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.training.augment import augment
from jaxntk.training.linearized import (
    LinearizedState,
    linearized_training,
    make_linearized_evaluation,
)
from jaxntk.training.population import batches, epoch_keys, population_training
from jaxntk.training.recipe import Recipe, make_optimizer
from tests.networks import tiny

CELLS = np.array([tiny.ALL_OPS, tiny.CHAIN], np.int32)
SEEDS = [0, 1]
SHAPE, NUM, EPOCHS = (8, 8, 3), 12, 3
# One step an epoch: the first epoch is the first step.
RECIPE = Recipe(batch_size=NUM, learning_rate=0.05, pad=1)
STEPS = EPOCHS


@pytest.fixture(scope="module")
def net():
    return tiny.network(cells_per_stage=1)


@pytest.fixture(scope="module")
def data():
    return tiny.labelled_images(NUM)


def made(net, fn):
    return fn(cell_model(net), RECIPE, STEPS, SHAPE, jnp.dtype("float64"))


@pytest.fixture(scope="module")
def training(net):
    return made(net, linearized_training)


@pytest.fixture(scope="module")
def trained(training, data):
    """States after all epochs."""
    states = training.init(SEEDS)
    for _ in range(EPOCHS):
        states, _ = training.epoch(states, jnp.asarray(CELLS), *data)
    return states


def normalize(path, x):
    return standardize(x, x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2)))


def expanded(out_fn, start, params):
    change = jax.tree.map(jnp.subtract, params, start)
    out, moved = jax.jvp(out_fn, (start,), (change,))
    return out + moved


def plain_training(net, data, arch, seed):
    """The same steps by a Python loop over the expansion of the plain network."""
    x, y = data
    start = init_variables(net, jax.random.key(seed), SHAPE, jnp.dtype("float64"))["params"]
    params, optimizer = start, make_optimizer(RECIPE, STEPS)
    state = optimizer.init(params)

    def loss(params, x, y):
        out = expanded(lambda p: plain_logits(p, x, arch, normalize), start, params)
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

    step = jax.jit(jax.grad(loss))
    for epoch in range(EPOCHS):
        key_order, key_augment = epoch_keys(seed, epoch)
        order = batches(key_order, NUM, RECIPE)
        for index, key in zip(order, jax.random.split(key_augment, len(order)), strict=True):
            grads = step(params, augment(key, x[index], RECIPE), y[index])
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
    return start, params


@pytest.fixture(scope="module")
def plain(net, data):
    """Parameters at the start and at the end of the plain training of every cell."""
    return [
        plain_training(net, data, tuple(arch), seed)
        for arch, seed in zip(CELLS.tolist(), SEEDS, strict=True)
    ]


def test_weights_are_those_of_a_plain_loop(trained, plain):
    for index, (start, params) in enumerate(plain):
        for got, wanted in ((trained.trained.params, params), (trained.start, start)):
            one = jax.tree.map(lambda leaf, index=index: leaf[index], got)
            for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(wanted), strict=True):
                error = float(jnp.abs(a - b).max())
                assert error < 1e-9, (CELLS[index], error)


def test_the_first_step_is_that_of_the_network_itself(net, training, data):
    after = []
    for pair in (training, made(net, population_training)):
        states, _ = pair.epoch(pair.init(SEEDS), jnp.asarray(CELLS), *data)
        after.append(states.trained if isinstance(states, LinearizedState) else states)
    for a, b in zip(*(jax.tree.leaves(state.params) for state in after), strict=True):
        assert float(jnp.abs(a - b).max()) < 1e-10


@pytest.mark.slow
def test_accuracy_is_that_of_the_expansion_image_by_image(net, trained, plain):
    x_seen, x = (jnp.asarray(tiny.images((n, *SHAPE), seed=n)) for n in (5, 6))
    for index, (start, params) in enumerate(plain):
        arch = tuple(CELLS[index].tolist())

        def out(params, image, arch=arch):
            seen = batch_statistics(params, x_seen, arch)
            return plain_logits(params, image, arch, lambda p, o: standardize(o, *seen[p]))

        predicted = [
            int(jnp.argmax(expanded(lambda p, i=i: out(p, x[i][None]), start, params)))
            for i in range(len(x))
        ]
        wrong = np.array([predicted[0] + 1, *predicted[1:]]) % tiny.NUM_CLASSES
        state = jax.tree.map(lambda leaf, index=index: leaf[index : index + 1], trained)
        splits = {
            "right": (x, jnp.asarray(predicted, jnp.int32)),
            "but one": (x, jnp.asarray(wrong, jnp.int32)),
        }
        found = make_linearized_evaluation(cell_model(net))(
            state, jnp.asarray(CELLS[index : index + 1]), x_seen, splits
        )
        assert float(found["right"][0]) == 1.0
        assert float(found["but one"][0]) == pytest.approx(5 / 6, rel=1e-12)
