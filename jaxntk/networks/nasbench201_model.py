"""NAS-Bench-201, and its supernet, as models: what kernels, training and evaluation take."""

from collections.abc import Hashable
from functools import cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxntk.errors import InputError
from jaxntk.networks import nasbench201_routing
from jaxntk.networks.batch_norm import KERNEL_MODES, BatchNormMode
from jaxntk.networks.model import Logits, Model, Routed, Statistics
from jaxntk.networks.nasbench201 import NasBench201, batch_statistics, init_variables, logits
from jaxntk.networks.nasbench201_routed import routed_logits
from jaxntk.networks.nasbench201_supernet import Supernet
from jaxntk.spaces.nasbench201 import NUM_EDGES, OPS, is_connected


def cell_model(network: NasBench201) -> Model:
    """Returns the network of all cells as a model: it is trained by the statistics of each batch.

    Args:
        network: the network; which mode of batch normalisation it is in does not matter.

    Returns:
        The model. Cells keep no running statistics, so a trained one is tested with those of
        training images, taken anew from its present weights.
    """
    # A Flax module is a frozen dataclass and hashes by value, which pyright does not see.
    return _cell_model(network)  # pyright: ignore[reportArgumentType]


@cache
def _cell_model(network: NasBench201) -> Model:
    frozen = network.clone(batch_norm=BatchNormMode.FROZEN)

    def plan(archs: np.ndarray, size: int, multiple: int) -> tuple[np.ndarray, Any, Hashable]:
        packing = nasbench201_routing.pack(archs, size, multiple=multiple)
        return packing.index, nasbench201_routing.routes(packing), packing.slots

    def disconnected(arch: Int[np.ndarray, "6"]) -> bool:
        return not is_connected(arch)

    return _model(network)._replace(
        options=(len(OPS),) * NUM_EDGES,
        constant=disconnected,
        distinct=nasbench201_routing.distinct_cells,
        routed=Routed(plan, partial(routed_logits, frozen)),
    )


def supernet_model(network: Supernet) -> Model:
    """Returns the network of several operations on every edge as a model.

    Args:
        network: the network.

    Returns:
        The model, whose architectures are masks of edges and operations.
    """
    return _supernet_model(network)  # pyright: ignore[reportArgumentType]


@cache
def _supernet_model(network: Supernet) -> Model:

    def disconnected(mask: Bool[np.ndarray, "6 5"]) -> bool:
        # Any operation but none connects, as skip_connect does.
        return not is_connected([int(edge.any()) for edge in mask[:, 1:]])

    return _model(network)._replace(constant=disconnected)


def _model(network: NasBench201) -> Model:
    """What both have in common."""
    for name in ("num_classes", "channels", "cells_per_stage"):
        if getattr(network, name) < 1:
            raise InputError(name, getattr(network, name), "give at least 1")

    def in_mode(mode: BatchNormMode, axis: str | None = None) -> NasBench201:
        return network.clone(batch_norm=mode, axis_name=axis)

    def draw(seed: int, image: tuple[int, ...], dtype: jnp.dtype) -> dict[str, Any]:
        return init_variables(network, jax.random.key(seed), image, dtype)

    def apply(mode: BatchNormMode, axis: str | None) -> Logits:
        return partial(logits, in_mode(mode, axis))

    def statistics(axis: str | None) -> Statistics:
        return partial(batch_statistics, in_mode(BatchNormMode.FROZEN, axis))

    def forward(params: Any, batch_stats: Any, x: Array, arch: Array) -> tuple[Array, Any]:
        variables = {"params": params, "batch_stats": batch_stats}
        training = in_mode(BatchNormMode.BATCH)
        out, updated = cast(tuple, training.apply(variables, x, arch, mutable=["batch_stats"]))
        return out, updated["batch_stats"]

    return Model(
        # The mode and the axis are no part of what names it.
        in_mode(BatchNormMode.STORED),
        network.choice,
        draw,
        apply,
        forward,
        # They are halved twice.
        multiple=4,
        modes=KERNEL_MODES,
        statistics=statistics,
    )
