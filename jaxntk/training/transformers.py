"""Trains a population of vision transformers, by the same epoch as cells.

A transformer keeps no statistics of a batch: it is trained, tested and scored as the same function.
Weights that an architecture does not use get no gradient; a recipe's weight decay shrinks them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxntk.networks.vit import Transformer, init_params, logits
from jaxntk.training.evaluate import accuracy_of
from jaxntk.training.population import (
    Strategy,
    Training,
    TrainState,
    make_training,
    over_population,
)
from jaxntk.training.recipe import Recipe


def transformer_training(
    network: Transformer,
    recipe: Recipe,
    steps: int,
    image_shape: tuple[int, ...],
    dtype: jnp.dtype,
    *,
    strategy: Strategy | str = "map",
    mesh: Mesh | None = None,
) -> Training:
    """Returns the functions that begin the training of transformers and train them for an epoch.

    Args:
        network: of a space, or of a class of one.
        recipe: how it is trained.
        steps: of the whole training, for the schedule.
        image_shape: height, width, channels.
        dtype: of the parameters.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which trains an equal part of the population; None for one.

    Returns:
        The pair of functions, as of :func:`~jaxntk.training.population.make_training`.

    Raises:
        InputError: an unknown strategy, no step, or images that patches do not tile.
    """

    def draw(seed: int) -> dict[str, Any]:
        params = init_params(network, jax.random.key(seed), image_shape, dtype)
        return {"params": params, "batch_stats": {}}

    def forward(params: Any, batch_stats: Any, x: Array, arch: Array) -> tuple[Array, Any]:
        return logits(network, params, x, arch), batch_stats

    return make_training(draw, forward, recipe, steps, strategy=strategy, mesh=mesh)


def make_transformer_evaluation(
    network: Transformer, strategy: Strategy | str = "map", mesh: Mesh | None = None
) -> Callable[..., dict[str, Float[Array, " cells"]]]:
    """Returns the function that tests a population of transformers, compiled at its first call.

    Args:
        network: of a space, or of a class of one.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which tests an equal part of the population; None for one.

    Returns:
        ``(states, archs (cells, genes), splits) -> {split: (cells,)}``: for each split, a pair of
        images and labels, the fraction between 0 and 1 that is classified right.

    Raises:
        InputError: an unknown strategy.
    """

    def test(
        state: TrainState, arch: Array, splits: Mapping[str, tuple[Array, Array]]
    ) -> dict[str, Array]:
        def predict(x: Array) -> Array:
            return logits(network, state.params, x, arch)

        return {name: accuracy_of(predict, *split) for name, split in splits.items()}

    return over_population(test, strategy, mesh)
