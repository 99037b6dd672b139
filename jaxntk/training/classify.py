"""Trains one architecture to classify images, in a function that is compiled once for all of them.

Stochastic gradient descent with momentum and weight decay on the cross entropy, at a constant
learning rate (the recipe of Mok et al., CVPR 2022, without augmentation). The architecture is a
traced argument, so another cell does not compile anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxntk.networks.nasbench201 import (
    BatchNormMode,
    NasBench201,
    Variables,
    batch_statistics,
    logits,
)

TrainFn = Callable[..., tuple[Float[Array, ""], Float[Array, " epochs"]]]


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to train.

    Args:
        epochs: passes over the training images; a last incomplete batch is dropped.
        batch_size: images a step.
        learning_rate: constant.
        momentum: of the heavy-ball kind.
        weight_decay: added to the gradient, times the parameter, for every parameter.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4


def make_train_fn(network: NasBench201, settings: TrainSettings) -> TrainFn:
    """Returns a pure function that trains one architecture and tests it.

    After training, the batch-normalisation statistics are taken from the whole training set, and
    the test images are classified with these, so that they do not influence one another.

    Args:
        network: the network; its batch-normalisation mode is set by training and testing.
        settings: the recipe.

    Returns:
        ``(variables, arch, x_train, y_train, x_test, y_test, key) -> (accuracy, losses)``: the
        accuracy on the test images in percent and the mean training loss of each epoch.
    """
    training = network.clone(batch_norm=BatchNormMode.BATCH)
    optimizer = optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.sgd(settings.learning_rate, settings.momentum),
    )

    def train(
        variables: Variables,
        arch: Int[Array, "6"],
        x_train: Float[Array, "n h w c"],
        y_train: Int[Array, " n"],
        x_test: Float[Array, "m h w c"],
        y_test: Int[Array, " m"],
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, ""], Float[Array, " epochs"]]:
        stats = variables["batch_stats"]

        def loss(params: dict, x: Array, y: Array) -> Array:
            out = logits(training, {"params": params, "batch_stats": stats}, x, arch)
            return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

        def step(state: tuple, batch: Array) -> tuple[tuple, Array]:
            params, momentum = state
            value, grads = jax.value_and_grad(loss)(params, x_train[batch], y_train[batch])
            updates, momentum = optimizer.update(grads, momentum, params)
            return (optax.apply_updates(params, updates), momentum), value

        def epoch(state: tuple, key: PRNGKeyArray) -> tuple[tuple, Array]:
            steps = len(x_train) // settings.batch_size
            order = jax.random.permutation(key, len(x_train))[: steps * settings.batch_size]
            state, losses = lax.scan(step, state, order.reshape(steps, settings.batch_size))
            return state, losses.mean()

        state = (variables["params"], optimizer.init(variables["params"]))
        (params, _), losses = lax.scan(epoch, state, jax.random.split(key, settings.epochs))
        trained = {"params": params, "batch_stats": stats}
        return 100 * test_accuracy(network, trained, arch, x_train, x_test, y_test), losses

    return train


def test_accuracy(
    network: NasBench201,
    variables: Variables,
    arch: Int[Array, "6"],
    x_train: Float[Array, "n h w c"],
    x_test: Float[Array, "m h w c"],
    y_test: Int[Array, " m"],
) -> Float[Array, ""]:
    """Returns the fraction of test images classified right, with statistics of the training set.

    Args:
        network: the network, in any batch-normalisation mode.
        variables: its parameters and (unused) statistics.
        arch: the architecture.
        x_train: images the batch-normalisation statistics are taken from, all at once.
        x_test: images to classify.
        y_test: their labels.

    Returns:
        A fraction between 0 and 1.
    """
    statistics = batch_statistics(network, variables, x_train, arch)
    stored = network.clone(batch_norm=BatchNormMode.STORED)
    out = logits(stored, {**variables, **statistics}, x_test, arch)
    predicted = jnp.argmax(out, axis=-1).astype(y_test.dtype)
    return jnp.mean((predicted == y_test).astype(x_train.dtype))
