"""What a model is: a network whose architecture is an input, as a record of pure functions.

Training, evaluation and everything above take a :class:`Model`, whatever the family. Those that are
here are made by :func:`~jaxntk.networks.nasbench201.cell_model` and
:func:`~jaxntk.networks.vit.transformer_model`; one of your own is another instance.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

Variables: TypeAlias = Mapping[str, Any]
"""The Flax collections ``params`` and ``batch_stats``, ``{}`` where no statistics are kept."""


class Model(NamedTuple):
    """A network whose architecture is an input.

    Args:
        network: the Flax module as it is tested.
        logits: ``(variables, x, arch) -> logits`` of each image on its own, by the statistics in
            ``batch_stats``.
        draw: ``(seed, image shape, dtype) -> variables``: weights of all architectures at once.
        forward: the network as it is trained: ``(params, batch_stats, x, arch) -> (logits,
            batch_stats of these images)``.
        tested: ``(variables, x, arch) -> variables`` with the statistics of images ``x``, by which
            a trained network is tested.
    """

    network: nn.Module
    logits: Callable[[Variables, Array, Array], Array]
    draw: Callable[[int, tuple[int, ...], jnp.dtype], dict[str, Any]]
    forward: Callable[[Any, Any, Array, Array], tuple[Array, Any]]
    tested: Callable[[Variables, Array, Array], dict[str, Any]]
