"""How many images a trained network classifies right, without test images helping one another.

A network that normalises by the batch is tested with the statistics of training images, which are
taken anew from its present weights (``tested`` of its :class:`~jaxntk.networks.model.Model`).
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxntk.networks.model import Model
from jaxntk.training.population import Strategy, TrainState, over_population

BLOCK = 512
"""Images classified at once."""


def make_evaluation(
    model: Model, strategy: Strategy | str = "map", mesh: Mesh | None = None
) -> Callable[..., dict[str, Float[Array, " cells"]]]:
    """Returns the function that tests a population, compiled at its first call.

    Args:
        model: the network.
        strategy: ``map`` or ``vmap``.
        mesh: devices in a row, each of which tests an equal part of the population; None for one.

    Returns:
        ``(states, archs (cells, genes), x_seen, splits) -> {split: (cells,)}``: for each split, a
        pair of images and labels, the fraction between 0 and 1 that is classified right with the
        batch statistics of ``x_seen``, all of which are taken at once.

    Raises:
        InputError: an unknown strategy.
    """

    def test(
        state: TrainState, arch: Array, x_seen: Array, splits: Mapping[str, tuple[Array, Array]]
    ) -> dict[str, Array]:
        seen = model.tested(state.variables, x_seen, arch)

        def predict(x: Array) -> Array:
            return model.logits(seen, x, arch)

        return {name: accuracy_of(predict, *split) for name, split in splits.items()}

    return over_population(test, strategy, mesh)


def accuracy_of(
    predict: Callable[[Array], Array], x: Float[Array, "n ..."], y: Int[Array, " n"]
) -> Float[Array, ""]:
    """Returns the fraction of images that is classified right; pure.

    Args:
        predict: ``images -> logits``, each image on its own.
        x: images, `BLOCK` of which are looked at at once.
        y: their classes.

    Returns:
        A number between 0 and 1, of the dtype of the images; logits that are not finite are wrong.
    """

    def right(pair: tuple[Array, Array]) -> Array:
        images, labels = pair
        out = predict(images)
        predicted = jnp.argmax(out, axis=-1).astype(labels.dtype)
        # Logits that are not finite are no prediction, though they have an argmax.
        found = (predicted == labels) & jnp.isfinite(out).all(axis=-1)
        return jnp.sum(found.astype(x.dtype))

    whole = len(x) // BLOCK * BLOCK
    blocks = (x[:whole].reshape(-1, BLOCK, *x.shape[1:]), y[:whole].reshape(-1, BLOCK))
    count = jnp.sum(lax.map(right, blocks)) if whole else jnp.zeros((), x.dtype)
    if whole < len(x):
        count += right((x[whole:], y[whole:]))
    return count / jnp.asarray(len(x), x.dtype)
