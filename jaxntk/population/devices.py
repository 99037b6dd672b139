"""Several devices and several processes: a mesh with one axis, and how arrays get onto and off it.

A computation is cut into equal parts; each device computes its parts with the same program, on the
devices of one machine as on those of several processes that were joined by :func:`join_processes`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Shaped
from rich.console import Console

from jaxntk.errors import InputError

AXIS = "population"
"""Name of the one axis of the mesh."""

Devices = Sequence[Any]
"""Of ``jax.Device``, which type checkers take for a variable."""


def join_processes(address: str, num_processes: int, process_id: int) -> None:
    """Makes this process one of several that compute together, each with its own devices.

    Call it once, before anything else is asked of JAX, in every process. On TPU pods and under
    SLURM ``jax.distributed.initialize()`` finds the three arguments by itself; then this function
    is not needed.

    Args:
        address: ``host:port`` of process 0.
        num_processes: how many there are.
        process_id: which this is, from 0.

    Raises:
        InputError: a process number out of range.
    """
    if not 0 <= process_id < num_processes:
        cure = f"number the {num_processes} processes from 0"
        raise InputError("process_id", process_id, cure)
    # Only asked for on CPU, where there is a choice.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes, process_id)


def join_named(processes: str | None, console: Console) -> None:
    """Makes this process one of several, as a configuration names them.

    Args:
        processes: ``auto`` where JAX finds the others by itself, ``HOST:PORT/I/N`` for process I of
            N, counted from 1, of which the first listens at HOST:PORT; None for one process.
        console: told that the others are waited for.

    Raises:
        InputError: the text is none of these.
    """
    if processes is None:
        return
    if processes == "auto":
        console.print("waiting for the other processes, found by JAX", highlight=False)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize()
        return
    found = re.fullmatch(r"([^/\s]+:\d+)/(\d+)/(\d+)", processes)
    if found is None or not 1 <= int(found[2]) <= int(found[3]):
        raise InputError("processes", processes, "give auto, or HOST:PORT/I/N with I from 1 to N")
    waiting = f"process {found[2]} of {found[3]}: waiting for the others at {found[1]}"
    console.print(waiting, highlight=False)
    join_processes(found[1], int(found[3]), int(found[2]) - 1)
    console.print(f"process {found[2]} of {found[3]}: all are there", highlight=False)


def population_mesh(devices: Devices | None = None) -> Mesh:
    """Puts devices in a row.

    Args:
        devices: by default all there are, those of other processes included.

    Returns:
        A mesh with one axis.

    Raises:
        InputError: no device.
    """
    chosen = jax.devices() if devices is None else list(devices)
    if not chosen:
        raise InputError("devices", "none", "give at least one, or None for all")
    return Mesh(np.array(chosen), (AXIS,))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies arrays to every device of a mesh.

    Args:
        mesh: the devices.
        tree: arrays, the same in every process.

    Returns:
        The tree, on the devices.
    """
    return jax.tree.map(lambda leaf: _put(mesh, PartitionSpec(), leaf), tree)


def distribute(mesh: Mesh, tree: Any) -> Any:
    """Gives each device of a mesh its part of arrays.

    Args:
        mesh: the devices.
        tree: arrays whose first axis is a multiple of the number of devices, the same in every
            process.

    Returns:
        The tree, on the devices, cut along the first axis.
    """
    return jax.tree.map(lambda leaf: _put(mesh, PartitionSpec(AXIS), leaf), tree)


def over_parts(mesh: Mesh, fn: Callable[[Any, Any, Any], Any]) -> jax.stages.Wrapped:
    """Lets every device of a mesh compute one part.

    Args:
        mesh: the devices.
        fn: ``(variables, x, work of one part) -> array``, pure.

    Returns:
        ``(variables, x, work) -> arrays stacked along a first axis``, where the first axis of each
        array of ``work`` counts the devices. It is jitted.
    """

    def local(variables: Any, x: Any, work: Any) -> Any:
        part = jax.tree.map(lambda leaf: leaf[0], work)
        return jax.tree.map(lambda leaf: leaf[None], fn(variables, x, part))

    whole, cut = PartitionSpec(), PartitionSpec(AXIS)
    # check_vma: our differentiation rules do not say which of their results differ by device.
    sharded = jax.shard_map(
        local, mesh=mesh, in_specs=(whole, whole, cut), out_specs=cut, check_vma=False
    )
    return jax.jit(sharded)


def gather(array: jax.Array) -> Shaped[np.ndarray, "..."]:
    """Returns an array that is spread over devices, whole, in every process.

    Args:
        array: the array; all processes call this with the same one.

    Returns:
        It, on the host.
    """
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def agreed(number: int) -> int:
    """Returns the smallest of the numbers that the processes come to, the same in all of them.

    Args:
        number: what this process comes to; all processes call this.

    Returns:
        The smallest.
    """
    if jax.process_count() == 1:
        return number
    return int(np.min(multihost_utils.process_allgather(np.int32(number))))


def of_the_first(number: int) -> int:
    """Returns the number that process 0 comes to, in every process.

    Args:
        number: what this process comes to; all processes call this.

    Returns:
        That of process 0.
    """
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def one_of(mesh: Mesh) -> Any:
    """Returns a device of a mesh that belongs to this process.

    Args:
        mesh: the devices.

    Returns:
        The first of them, or of this process's devices where the mesh has none.
    """
    mine = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    return mine[0] if mine else jax.local_devices()[0]


def _put(mesh: Mesh, spec: PartitionSpec, leaf: Any) -> jax.Array:
    # Unlike device_put, this needs no word between processes: each takes what its devices need.
    host = np.asarray(leaf)
    return jax.make_array_from_callback(
        host.shape, NamedSharding(mesh, spec), lambda index: host[index]
    )
