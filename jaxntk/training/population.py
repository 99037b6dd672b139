"""Trains a population of architectures, each from its own seed, in one compiled epoch.

An epoch is a pure function of a state, an architecture and the images; the architecture is traced,
so one compilation serves the whole space, and the function is mapped over a population:

    ``map``   one architecture after the other; a switch runs one branch. Best on CPUs.
    ``vmap``  all at once; a switch runs every branch. Best for tiny networks on accelerators.

All randomness comes from the seed and the number of the epoch, so training that is cut off after an
epoch and goes on from its state gives the same numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxntk.errors import InputError, check_choice
from jaxntk.networks.model import Model
from jaxntk.training.augment import augment
from jaxntk.training.recipe import Recipe, make_optimizer

RUNNING_MOMENTUM = 0.1
"""Weight of a batch in the running mean and variance, as in PyTorch, whose variance is the unbiased
one; here it is the biased one."""

Strategy = Literal["map", "vmap"]
Forward = Callable[[Any, Any, Array, Array], tuple[Array, Any]]
"""``(params, batch_stats, x, arch) -> (logits, batch_stats of these images)``."""


class TrainState(NamedTuple):
    """Everything that training one architecture goes on from; with a leading axis, a population.

    Args:
        params: the parameters.
        batch_stats: running means and variances.
        optimizer: the optimiser's state.
        seed: of the initialisation, the order of the images and their augmentation.
        epoch: epochs done.
    """

    params: Any
    batch_stats: Any
    optimizer: Any
    seed: Int[Array, "*cells"]
    epoch: Int[Array, "*cells"]

    @property
    def variables(self) -> dict[str, Any]:
        """The Flax collections of the network."""
        return {"params": self.params, "batch_stats": self.batch_stats}


class Epoch(NamedTuple):
    """What an epoch of one architecture gave; with a leading axis, of a population.

    Args:
        loss: mean cross entropy of its steps, each before its update.
        accuracy: fraction of its images that were classified right, as they came.
        finite: whether all parameters are finite after it.
    """

    loss: Float[Array, "*cells"]
    accuracy: Float[Array, "*cells"]
    finite: Bool[Array, "*cells"]


def steps_of(num_images: int, recipe: Recipe) -> int:
    """Returns the steps of an epoch.

    Args:
        num_images: training images.
        recipe: gives the batch size; the last incomplete batch is dropped.

    Returns:
        At least 1.

    Raises:
        InputError: fewer images than a batch.
    """
    if num_images < recipe.batch_size:
        cure = f"the training set has {num_images} images"
        raise InputError("batch_size", recipe.batch_size, cure)
    return num_images // recipe.batch_size


class Training(NamedTuple):
    """How a population is trained: a pair of functions.

    Args:
        init: ``seeds (cells,) -> states``: draws a network for each seed, the one that is scored
            with that seed at initialisation.
        epoch: ``(states, archs (cells, genes), x, y) -> (states, Epoch)``; the states given are
            used up.
    """

    init: Callable[[Any], Any]
    epoch: Callable[..., tuple[Any, Epoch]]


def population_training(
    model: Model,
    recipe: Recipe,
    steps: int,
    image_shape: tuple[int, ...],
    dtype: jnp.dtype,
    *,
    strategy: Strategy | str = "map",
    mesh: Mesh | None = None,
) -> Training:
    """Returns the functions that begin the training of a population and train it for an epoch.

    They compile at their first call, once for all architectures; another number of them compiles
    the epoch anew.

    Args:
        model: the network that a seed gives is the one that is scored with that seed at
            initialisation.
        recipe: how it is trained.
        steps: of the whole training, for the schedule.
        image_shape: height, width, channels.
        dtype: of the parameters.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which trains an equal part of the population; None for one.

    Returns:
        The pair of functions.

    Raises:
        InputError: an unknown strategy, no step, or images that do not fit the network.
    """
    optimizer = make_optimizer(recipe, steps)

    def init(seeds: Sequence[int] | Int[np.ndarray, " cells"]) -> TrainState:
        # One draw a seed, by the program that scoring compiles as well.
        distinct, index = np.unique(np.asarray(seeds, np.int32), return_inverse=True)
        drawn = [model.draw(int(seed), image_shape, dtype) for seed in distinct]
        variables: Any = jax.tree.map(lambda *leaves: jnp.stack(leaves)[index], *drawn)
        params = variables["params"]
        state = jax.vmap(optimizer.init)(params)
        epoch = jnp.zeros(len(index), jnp.int32)
        return TrainState(
            params, variables["batch_stats"], state, jnp.asarray(distinct[index]), epoch
        )

    epoch = train_one_epoch(model.forward, recipe, steps)
    return Training(init, over_population(epoch, strategy, mesh, donate=True))


def over_population(
    fn: Callable[..., Any],
    strategy: Strategy | str,
    mesh: Mesh | None = None,
    *,
    donate: bool = False,
) -> Callable[..., Any]:
    """Maps a function of one architecture over a population, and compiles it.

    Args:
        fn: ``(state, arch, *shared) -> anything``, pure.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which gets an equal part of the population; None for one.
        donate: whether the states given are used up.

    Returns:
        ``(states, archs, *shared) -> stacked``, jitted.

    Raises:
        InputError: an unknown strategy.
    """
    check_choice("strategy", strategy, get_args(Strategy))

    def population(states: Any, archs: Int[Array, "cells genes"], shared: tuple) -> Any:
        if strategy == "vmap":
            return jax.vmap(lambda state, arch: fn(state, arch, *shared))(states, archs)
        return lax.map(lambda pair: fn(*pair, *shared), (states, archs))

    if mesh is not None:
        cut, whole = PartitionSpec(*mesh.axis_names), PartitionSpec()
        # check_vma: our differentiation rules do not say which of their results differ by device.
        population = jax.shard_map(
            population, mesh=mesh, in_specs=(cut, cut, whole), out_specs=cut, check_vma=False
        )
    compiled = jax.jit(population, donate_argnums=(0,) if donate else ())
    return lambda states, archs, *shared: compiled(states, archs, shared)


def train_one_epoch(
    forward: Forward, recipe: Recipe, steps: int
) -> Callable[..., tuple[TrainState, Epoch]]:
    """Returns the pure function that trains one architecture for one epoch.

    Args:
        forward: the network as it is trained, such as that of a model.
        recipe: how it is trained.
        steps: of the whole training, for the schedule.

    Returns:
        ``(state, arch, x, y) -> (state, Epoch)``.
    """
    optimizer = make_optimizer(recipe, steps)

    def loss_fn(
        params: Any, batch_stats: Any, arch: Array, x: Array, y: Array
    ) -> tuple[Array, tuple[Array, Any]]:
        out, used = forward(params, batch_stats, x, arch)
        loss = optax.softmax_cross_entropy_with_integer_labels(out, y).mean()
        right = (jnp.argmax(out, axis=-1).astype(y.dtype) == y).astype(x.dtype).mean()
        return loss, (right, used)

    def epoch(
        state: TrainState,
        arch: Int[Array, " genes"],
        x: Float[Array, "n h w c"],
        y: Int[Array, " n"],
    ) -> tuple[TrainState, Epoch]:
        key_order, key_augment = epoch_keys(state.seed, state.epoch)
        order = batches(key_order, len(x), recipe)

        def step(carry: tuple, batch: tuple[Array, Array]) -> tuple[tuple, tuple[Array, Array]]:
            params, batch_stats, opt_state = carry
            index, key = batch
            seen = augment(key, x[index], recipe)
            grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
            (loss, (right, used)), grads = grad_fn(params, batch_stats, arch, seen, y[index])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            moved = jax.tree.map(_toward, batch_stats, used)
            return (optax.apply_updates(params, updates), moved, opt_state), (loss, right)

        keys = jax.random.split(key_augment, len(order))
        carry = (state.params, state.batch_stats, state.optimizer)
        (params, batch_stats, opt_state), (losses, right) = lax.scan(step, carry, (order, keys))
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
        after = TrainState(params, batch_stats, opt_state, state.seed, state.epoch + 1)
        return after, Epoch(losses.mean(), right.mean(), finite)

    return epoch


def epoch_keys(
    seed: int | Int[Array, ""], epoch: int | Int[Array, ""]
) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """Returns the random keys of an epoch: of the order of the images, of their augmentation.

    Args:
        seed: of the training.
        epoch: epochs done before.

    Returns:
        Two keys; none of them is that of the initialisation.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), epoch)
    key_order, key_augment = jax.random.split(key)
    return key_order, key_augment


def batches(key: PRNGKeyArray, num_images: int, recipe: Recipe) -> Int[Array, "steps batch"]:
    """Draws the order of the images of an epoch.

    Args:
        key: a JAX random key.
        num_images: training images.
        recipe: gives the batch size.

    Returns:
        Numbers of images, a row a step.

    Raises:
        InputError: fewer images than a batch.
    """
    steps = steps_of(num_images, recipe)
    order = jax.random.permutation(key, num_images)
    return order[: steps * recipe.batch_size].reshape(steps, recipe.batch_size)


def _toward(running: Array, used: Array) -> Array:
    weight = jnp.asarray(RUNNING_MOMENTUM, running.dtype)
    return running + weight * (used - running)
