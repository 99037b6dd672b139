"""Which parts of a population of cells fit into memory, before anything is compiled and after.

What is estimated from shapes chooses the size of a part or refuses it; what the compiler reports of
a program refuses it too, whatever was estimated. Every process comes to the same conclusion.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import jax
from jax.sharding import Mesh

from jaxntk.errors import InputError
from jaxntk.kernels.memory import MemoryEstimate, estimate_memory, largest_tile
from jaxntk.kernels.memory_plan import SHARE, check_memory
from jaxntk.population.devices import agreed, distribute, one_of, over_parts
from jaxntk.population.strategies import Plan

CHUNK_ON_CPU = 8
CHUNK_ELSEWHERE = 50
"""Cells of a part by default: many on an accelerator, which is idle with few."""

Made = TypeVar("Made")


class Fitted(NamedTuple):
    """A plan, the function that computes one chunk of it, and the memory that this takes.

    Args:
        plan: the population in parts.
        fn: ``(variables, x, work of one chunk) -> kernels``.
        estimate: what a chunk takes on one device.
    """

    plan: Plan
    fn: jax.stages.Wrapped
    estimate: MemoryEstimate


def part_size(chunk: int | None, mesh: Mesh, num: int) -> int:
    """Returns the cells that one device computes at a time.

    Args:
        chunk: cells computed together on all devices; None for the default.
        mesh: the devices.
        num: cells in the population.

    Returns:
        The size of a part, not larger than the population needs.

    Raises:
        InputError: a chunk that the devices cannot share.
    """
    if chunk is None:
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        size = CHUNK_ON_CPU if on_cpu else CHUNK_ELSEWHERE
    elif chunk < 1 or chunk % mesh.size:
        cure = f"give a multiple of {mesh.size}, the number of devices"
        raise InputError("chunk", chunk, cure)
    else:
        size = chunk // mesh.size
    return min(size, -(-num // mesh.size))


def fit(
    mesh: Mesh,
    planned: Callable[[int], Plan],
    size: int,
    inputs: tuple[Any, Any],
    chunk: int | None,
) -> Fitted:
    """Plans parts of some size or, if no chunk was asked for, of a smaller size that fits.

    Args:
        mesh: the devices.
        planned: the plan for parts of a size.
        size: cells in a part.
        inputs: variables and images, on all devices.
        chunk: what was asked for.

    Returns:
        The plan, not compiled.

    Raises:
        InputError: the chunk that was asked for does not fit into memory, or not even one cell.
    """

    @cache
    def fitted(cells: int) -> Fitted:
        each = planned(cells)
        fn = over_parts(mesh, each.fn)
        work = distribute(mesh, some_parts(each.work, 0, mesh.size))
        estimate = estimate_memory(fn, *inputs, work, device=one_of(mesh))
        # Outside of what a device computes, results count as a whole.
        peak = replace(estimate.peak, outputs=estimate.peak.outputs // mesh.size)
        return Fitted(each, fn, replace(estimate, peak=peak))

    def bytes_of(cells: int) -> int:
        return fitted(cells).estimate.peak.total * _sharing(mesh)

    available = fitted(size).estimate.available
    if available is None or bytes_of(size) <= SHARE * available:
        fits = size
    elif chunk is not None:
        fits = size if bytes_of(size) <= available else 0
    else:
        try:
            fits = largest_tile(bytes_of, size, int(SHARE * available))
        except InputError:
            fits = 0
    # Every process has to compute the same.
    fits = agreed(fits)
    if fits:
        return fitted(fits)
    if chunk is not None:
        cure = "give a smaller one, or None to have it chosen"
        raise InputError("chunk", f"{chunk}, which takes {fitted(size).estimate}", cure)
    cure = "give fewer images, or settings with a tile"
    got = f"{len(inputs[1])} images, one cell of which takes {fitted(1).estimate}"
    raise InputError("x", got, cure)


def check_compiled(mesh: Mesh, fitted: Fitted, needed: int | None) -> None:
    """Refuses a compiled chunk that cannot fit into memory, whatever was estimated.

    Args:
        mesh: the devices.
        fitted: what was compiled.
        needed: bytes on one device, as the compiler reports them; None where it does not.

    Raises:
        InputError: more is needed than there is, here or in another process.
    """
    chunk = fitted.plan.index.shape[1] * mesh.size
    fault = None
    try:
        total = None if needed is None else needed * _sharing(mesh)
        check_memory(total, fitted.estimate.available, None, chunk=chunk)
    except InputError as error:
        fault = error
    if agreed(int(fault is None)):
        return
    cure = "give a smaller one, or fewer images"
    raise fault or InputError("chunk", f"{chunk}, which does not fit in another process", cure)


def those_that_fit(attempts: Iterable[Callable[[], Made]]) -> list[Made]:
    """Makes what fits into memory.

    Args:
        attempts: each makes something, or refuses.

    Returns:
        What was made.

    Raises:
        InputError: nothing was; what the last one needs.
    """
    made, faults = [], []
    for attempt in attempts:
        try:
            made.append(attempt())
        except InputError as error:
            faults.append(error)
    if not made:
        raise faults[-1]
    return made


def some_parts(work: Any, start: int, parts: int) -> Any:
    """Returns the work of some parts.

    Args:
        work: of all parts; the first axis of every array counts them.
        start: the first part.
        parts: how many.

    Returns:
        Arrays of that many parts.
    """
    return jax.tree.map(lambda leaf: leaf[start : start + parts], work)


def _sharing(mesh: Mesh) -> int:
    """Returns how many devices share one memory: those of a CPU do."""
    return mesh.local_mesh.size if one_of(mesh).platform == "cpu" else 1
