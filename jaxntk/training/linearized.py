r"""Trains the linearisation of a network: what it could learn if its kernel stayed as it began.

.. math:: f_\mathrm{lin}(\theta, x) = f(\theta_0, x) + J(\theta_0, x) (\theta - \theta_0)

with the same seeds, images, augmentation and recipe as the network itself (weight decay, too, pulls
the parameters towards 0 and not to where they began). The difference of their accuracies is the
non-linear advantage.

Source: Fort, Dziugaite, Paul, Kharaghani, Roy, Ganguli, "Deep learning versus kernel learning",
NeurIPS 2020, arXiv 2010.15110.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxntk.kernels.linearized import linearized
from jaxntk.networks.forward_mode import forward_mode
from jaxntk.networks.model import Model
from jaxntk.training.evaluate import accuracy_of
from jaxntk.training.population import (
    Epoch,
    Forward,
    Strategy,
    Training,
    TrainState,
    over_population,
    population_training,
    train_one_epoch,
)
from jaxntk.training.recipe import Recipe


class LinearizedState(NamedTuple):
    """What training a linearised network goes on from; with a leading axis, a population.

    Args:
        trained: the state of the training.
        start: the parameters that the network is expanded about.
    """

    trained: TrainState
    start: Any


def linearized_training(
    model: Model,
    recipe: Recipe,
    steps: int,
    image_shape: tuple[int, ...],
    dtype: jnp.dtype,
    *,
    strategy: Strategy | str = "map",
    mesh: Mesh | None = None,
) -> Training:
    """Returns the functions that train the linearisation of each network of a population.

    Each is expanded about the parameters it begins with. Statistics of batch normalisation are
    those of the batch, and are linearised as everything else.

    Args:
        model: the network.
        recipe: how it is trained.
        steps: of the whole training, for the schedule.
        image_shape: height, width, channels.
        dtype: of the parameters.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which trains an equal part of the population; None for one.

    Returns:
        A pair of functions as :func:`~jaxntk.training.population.population_training` gives it, of
        :class:`LinearizedState`.

    Raises:
        InputError: an unknown strategy, or no step.
    """
    plain = population_training(
        model, recipe, steps, image_shape, dtype, strategy=strategy, mesh=mesh
    )

    def init(seeds: Any) -> LinearizedState:
        state = plain.init(seeds)
        # A copy, as the epoch uses its states up.
        return LinearizedState(state, jax.tree.map(jnp.copy, state.params))

    def epoch(
        state: LinearizedState, arch: Array, x: Array, y: Array
    ) -> tuple[LinearizedState, Epoch]:
        forward = linearized_forward(model, state.start)
        trained, found = train_one_epoch(forward, recipe, steps)(state.trained, arch, x, y)
        return LinearizedState(trained, state.start), found

    return Training(init, over_population(epoch, strategy, mesh, donate=True))


def linearized_forward(model: Model, start: Any) -> Forward:
    """Returns the first-order Taylor expansion of a network as it is trained.

    Args:
        model: the network.
        start: the parameters to expand about.

    Returns:
        ``(params, batch_stats, x, arch) -> (logits, batch_stats)``, logits affine in ``params``,
        the running statistics as they were.
    """

    def forward(params: Any, batch_stats: Any, x: Array, arch: Array) -> tuple[Array, Any]:
        expanded = linearized(
            lambda params, x: model.forward(params, batch_stats, x, arch)[0], start
        )
        return expanded(params, x), batch_stats

    return forward


def make_linearized_evaluation(
    model: Model, strategy: Strategy | str = "map", mesh: Mesh | None = None
) -> Callable[..., dict[str, Float[Array, " cells"]]]:
    """Returns the function that tests a population of linearised networks.

    What is linearised is the network as :func:`~jaxntk.training.evaluate.make_evaluation` tests
    it, statistics of ``x_seen`` included.

    Args:
        model: the network.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which tests an equal part of the population; None for one.

    Returns:
        ``(states, archs (cells, genes), x_seen, splits) -> {split: (cells,)}``, fractions
        classified right; states are :class:`LinearizedState`.

    Raises:
        InputError: an unknown strategy.
    """

    def test(
        state: LinearizedState, arch: Array, x_seen: Array, splits: Mapping[str, tuple]
    ) -> dict[str, Array]:
        start, running = state.start, state.trained.batch_stats
        change = jax.tree.map(jnp.subtract, state.trained.params, start)

        def seen(params: Any) -> Any:
            # Not those that it is tested with, which are constants to differentiation.
            return model.forward(params, running, x_seen, arch)[1]

        # The statistics once for all blocks of images.
        with forward_mode():
            statistics, moved = jax.jvp(seen, (start,), (change,))

        def predict(x: Array) -> Array:
            def out(params: Any, statistics: Any) -> Array:
                return model.logits({"params": params, "batch_stats": statistics}, x, arch)

            with forward_mode():
                at_start, moved_by = jax.jvp(out, (start, statistics), (change, moved))
            return at_start + moved_by

        return {name: accuracy_of(predict, *split) for name, split in splits.items()}

    return over_population(test, strategy, mesh)
