"""Three ways to compute the kernels of many cells that share one initialisation.

==========  =======================================  =================================  ==========
strategy    how                                      which kernels                      good where
==========  =======================================  =================================  ==========
``map``     one cell after another; a switch runs    all                                a cell fills
            only the operation that was chosen                                          the device
``vmap``    all at once; every operation runs for    all                                cells are
            every cell                                                                  tiny
``routed``  all at once; every operation runs on     batch normalisation ``frozen``,    the device
            the cells that chose it                  no ``tile``                        is large
==========  =======================================  =================================  ==========

They agree up to rounding.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.function import kernel_dtype
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.outputs import output_basis
from jaxntk.kernels.parameters import Places, predicate, select
from jaxntk.kernels.program import KernelSettings, layer_kernel_fn
from jaxntk.networks import nasbench201_routing
from jaxntk.networks.nasbench201 import BatchNormMode, NasBench201
from jaxntk.networks.nasbench201_routed import Routes, Slots, routed_logits
from jaxntk.networks.precision import at_precision
from jaxntk.spaces.nasbench201 import NUM_EDGES, OPS

Strategy = Literal["map", "vmap", "routed"]
PartFn = Callable[[Any, Array, Any], Array]
"""``(variables, x, work of one part) -> kernels (size, n, n)``, pure."""


class Plan(NamedTuple):
    """A population cut into parts of one size, each of them one call of one pure function.

    Args:
        strategy: how.
        fn: the function.
        work: what it is given beside variables and images; the first axis of every array counts
            the parts.
        index: which cell of the population each kernel of each part belongs to; the number of
            cells where it belongs to none.
    """

    strategy: Strategy
    fn: PartFn
    work: Any
    index: Int[np.ndarray, "parts size"]


def applicable(settings: KernelSettings, n: int) -> tuple[Strategy, ...]:
    """Lists the strategies that can compute a kernel.

    Args:
        settings: the kernel wanted.
        n: images.

    Returns:
        Their names.
    """
    untiled = settings.tile is None or settings.tile >= n
    if settings.batch_norm == "frozen" and untiled and settings.outputs != "full":
        return ("map", "vmap", "routed")
    return ("map", "vmap")


def plan(
    strategy: str,
    network: NasBench201,
    settings: KernelSettings,
    x_shape: tuple[int, ...],
    archs: Int[np.ndarray, "num 6"],
    size: int,
    *,
    multiple: int = 1,
) -> Plan:
    """Cuts a population into parts for a strategy.

    Args:
        strategy: ``map``, ``vmap`` or ``routed``.
        network: the network; its own batch-normalisation mode is not used.
        settings: the kernel wanted.
        x_shape: of the images.
        archs: the cells.
        size: cells in a part.
        multiple: the number of parts is a multiple of it.

    Returns:
        The parts and the function that computes one.

    Raises:
        InputError: an unknown strategy, one that does not apply, or a wrong kernel.
    """
    name = _check_strategy(strategy)
    if name == "routed":
        if name not in applicable(settings, x_shape[0]):
            cure = "choose map or vmap; routed is for frozen batch normalisation without a tile"
            got = f"routed with batch_norm={settings.batch_norm}, tile={settings.tile}"
            raise InputError("strategy", f"{got}, outputs={settings.outputs}", cure)
        packing = nasbench201_routing.pack(archs, size, multiple=multiple)
        fn = routed_kernels_fn(network, settings, packing.slots)
        return Plan(name, fn, nasbench201_routing.routes(packing), packing.index)
    index, cells = _in_order(archs, size, multiple)
    return Plan(name, _switched_fn(name, network, settings, x_shape[1:]), cells, index)


def routed_kernels_fn(
    network: NasBench201,
    settings: KernelSettings,
    slots: tuple[Slots, ...],
) -> PartFn:
    """Returns the pure function that computes the kernels of cells routed to their operations.

    Args:
        network: the network; its own batch-normalisation mode is not used.
        settings: the kernel wanted.
        slots: of each operation on each edge.

    Returns:
        ``(variables, x, routes) -> kernels (cells, n, n)``.

    Raises:
        InputError: an unknown choice of parameters. One that none satisfies is told when the
            function is called.
    """
    enters = predicate(settings.parameters)
    frozen = network.clone(batch_norm=BatchNormMode.FROZEN)

    def kernels(variables: Any, x: Array, routes: Routes) -> Float[Array, "cells n n"]:
        with at_precision(settings.matmul_precision):
            return all_at_once(variables, x, routes)

    def all_at_once(variables: Any, x: Array, routes: Routes) -> Float[Array, "cells n n"]:
        paths = traverse_util.flatten_dict(dict(variables["params"]))
        select(Places(dict.fromkeys(paths, ())), settings.parameters)
        cells = len(routes.skip[0])
        zeros = jnp.zeros((cells, len(x), len(x)), kernel_dtype(variables["params"]))

        def logits(places: Array) -> Array:
            return routed_logits(frozen, variables, x, routes, slots, places, enters)

        out, pull_back = jax.vjp(logits, zeros)
        basis = output_basis(settings.outputs, out.shape[-1], out.dtype)

        def add_output(kernels: Array, combination: Array) -> tuple[Array, None]:
            (more,) = pull_back(jnp.broadcast_to(combination[None, None, :], out.shape))
            return kernels + more, None

        if len(basis) == 1:
            return add_output(zeros, basis[0])[0]
        return lax.scan(add_output, zeros, basis)[0]

    return kernels


def _check_strategy(strategy: str) -> Strategy:
    check_choice("strategy", strategy, get_args(Strategy))
    return cast(Strategy, strategy)


def _switched_fn(
    strategy: Strategy, network: NasBench201, settings: KernelSettings, image: tuple[int, ...]
) -> PartFn:
    layers = layer_kernel_fn(network, settings, image)

    def kernels(variables: Any, x: Array, archs: Array) -> Float[Array, "cells n n"]:
        def kernel(arch: Array) -> Array:
            return total(layers(variables, x, arch))

        return lax.map(kernel, archs) if strategy == "map" else jax.vmap(kernel)(archs)

    return kernels


def _in_order(
    archs: Int[np.ndarray, "num 6"], size: int, multiple: int
) -> tuple[Int[np.ndarray, "parts size"], Int[np.ndarray, "parts size 6"]]:
    """Cuts cells into parts as they stand; cells that are all ``none`` fill the last ones."""
    parts = -(-len(archs) // (size * multiple)) * multiple
    index = np.minimum(np.arange(parts * size), len(archs)).reshape(parts, size)
    nothing = np.full((1, NUM_EDGES), OPS.index("none"), np.int32)
    return index, np.concatenate([archs, nothing])[index]
