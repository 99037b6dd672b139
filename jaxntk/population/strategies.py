"""Three ways to compute the kernels of many architectures that share one initialisation.

==========  =======================================  =================================  ==========
strategy    how                                      which kernels                      good where
==========  =======================================  =================================  ==========
``map``     one after another; a switch runs only    all                                one fills
            the operation that was chosen                                               the device
``vmap``    all at once; every operation runs for    all                                they are
            every architecture                                                          tiny
``routed``  all at once; every operation runs on     batch normalisation ``frozen``,    the device
            those that chose it                      no ``tile``, of models that have   is large
                                                     :class:`~jaxntk.networks.model.Routed`
==========  =======================================  =================================  ==========

They agree up to rounding.
"""

from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.function import kernel_dtype
from jaxntk.kernels.outputs import output_basis
from jaxntk.kernels.parameters import Places, predicate, select
from jaxntk.kernels.program import kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.model import Model, Routed
from jaxntk.networks.precision import at_precision

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
        index: which architecture of the population each kernel of each part belongs to; their
            number where it belongs to none.
    """

    strategy: Strategy
    fn: PartFn
    work: Any
    index: Int[np.ndarray, "parts size"]


def applicable(model: Model, settings: KernelSettings, n: int) -> tuple[Strategy, ...]:
    """Lists the strategies that can compute a kernel.

    Args:
        model: the network.
        settings: the kernel wanted.
        n: images.

    Returns:
        Their names.
    """
    untiled = settings.tile is None or settings.tile >= n
    if model.routed is not None and settings.batch_norm == "frozen" and untiled:
        return ("map", "vmap", "routed")
    return ("map", "vmap")


def plan(
    strategy: str,
    model: Model,
    settings: KernelSettings,
    x_shape: tuple[int, ...],
    archs: Int[np.ndarray, "num genes"],
    size: int,
    *,
    multiple: int = 1,
) -> Plan:
    """Cuts a population into parts for a strategy.

    Args:
        strategy: ``map``, ``vmap`` or ``routed``.
        model: the network.
        settings: the kernel wanted.
        x_shape: of the images.
        archs: the encodings.
        size: architectures in a part.
        multiple: the number of parts is a multiple of it.

    Returns:
        The parts and the function that computes one.

    Raises:
        InputError: an unknown strategy, one that does not apply, or a wrong kernel.
    """
    name = _check_strategy(strategy)
    if name == "routed":
        if model.routed is None:
            raise InputError("strategy", "routed", "choose map or vmap: this network has no routes")
        if name not in applicable(model, settings, x_shape[0]):
            cure = "choose map or vmap; routed is for frozen batch normalisation without a tile"
            got = f"routed with batch_norm={settings.batch_norm}, tile={settings.tile}"
            raise InputError("strategy", f"{got}, outputs={settings.outputs}", cure)
        index, routes, slots = model.routed.plan(archs, size, multiple)
        return Plan(name, routed_kernels_fn(model.routed, settings, slots), routes, index)
    index, chosen = _in_order(archs, size, multiple)
    return Plan(name, _switched_fn(name, model, settings, x_shape), chosen, index)


def routed_kernels_fn(routed: Routed, settings: KernelSettings, slots: Hashable) -> PartFn:
    """Returns the pure function that computes kernels of architectures routed to their operations.

    Args:
        routed: the network of many architectures.
        settings: the kernel wanted.
        slots: the static sizes of its plan.

    Returns:
        ``(variables, x, routes) -> kernels (archs, n, n)``.

    Raises:
        InputError: an unknown choice of parameters. One that none satisfies is told when the
            function is called.
    """
    enters = predicate(settings.parameters)

    def kernels(variables: Any, x: Array, routes: Any) -> Float[Array, "archs n n"]:
        with at_precision(settings.matmul_precision):
            return all_at_once(variables, x, routes)

    def all_at_once(variables: Any, x: Array, routes: Any) -> Float[Array, "archs n n"]:
        paths = traverse_util.flatten_dict(dict(variables["params"]))
        select(Places(dict.fromkeys(paths, ())), settings.parameters)
        num = len(jax.tree.leaves(routes)[-1])
        zeros = jnp.zeros((num, len(x), len(x)), kernel_dtype(variables["params"]))

        def logits(places: Array) -> Array:
            return routed.logits(variables, x, routes, slots, places, enters)

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
    strategy: Strategy, model: Model, settings: KernelSettings, x_shape: tuple[int, ...]
) -> PartFn:
    of = kernel_fn(model, settings, x_shape)

    def kernels(variables: Any, x: Array, archs: Array) -> Float[Array, "archs n n"]:
        def kernel(arch: Array) -> Array:
            return of(variables, x, arch)

        return lax.map(kernel, archs) if strategy == "map" else jax.vmap(kernel)(archs)

    return kernels


def _in_order(
    archs: Int[np.ndarray, "num genes"], size: int, multiple: int
) -> tuple[Int[np.ndarray, "parts size"], Int[np.ndarray, "parts size genes"]]:
    """Cuts architectures into parts as they stand; copies of the first fill the last ones."""
    parts = -(-len(archs) // (size * multiple)) * multiple
    even = -(-len(archs) // parts)
    index = np.minimum(np.arange(parts * even), len(archs)).reshape(parts, even)
    return index, np.concatenate([archs, archs[:1]])[index]
