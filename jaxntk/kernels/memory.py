"""How much memory a computation will take, from shapes alone, before it is compiled.

An estimate, and what is done with it: a share of the device's memory to print before a run, and the
largest tile that fits. The rules are in :mod:`jaxntk.kernels.traced_program` and
:mod:`jaxntk.kernels.liveness`; ``benchmarks/memory_estimate.py`` measures how far they hold.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxntk.errors import InputError
from jaxntk.kernels.traced_program import constants, size_of, temporaries

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class PeakBytes:
    """What a computation holds in memory, in bytes.

    Args:
        arguments: the arrays it is called with, and those it closes over.
        outputs: the arrays it returns.
        temporaries: the most that it holds beside those at any time.
        operation: during which it holds the most; ``scan/dot_general`` is one inside a loop.
    """

    arguments: int
    outputs: int
    temporaries: int
    operation: str

    @property
    def total(self) -> int:
        """Everything that is held at the peak."""
        return self.arguments + self.outputs + self.temporaries


@dataclass(frozen=True)
class MemoryEstimate:
    """How much memory a computation will take; a line of text under ``str``.

    Args:
        peak: what it will hold.
        device: the kind of device it will run on.
        available: bytes of memory there; None where nobody tells.
    """

    peak: PeakBytes
    device: str
    available: int | None

    @property
    def share(self) -> float | None:
        """The part of the available memory that it will take; beyond 1 it does not fit."""
        return self.peak.total / self.available if self.available else None

    def __str__(self) -> str:
        peak = self.peak
        parts = ", ".join(
            f"{readable(size)} {what}"
            for size, what in (
                (peak.arguments, "arguments"),
                (peak.outputs, "outputs"),
                (peak.temporaries, f"in between, most in {peak.operation}"),
            )
        )
        text = f"about {readable(peak.total)} ({parts})"
        if self.share is None or self.available is None:
            return text
        return f"{text}: {self.share:.2%} of {readable(self.available)} free on {self.device}"


def peak_bytes(fn: Callable[..., Any], *args: Any, on_cpu: bool = True) -> PeakBytes:
    r"""Estimates the most memory that a function takes, without compiling or running it.

    The function is traced, and an array counts from the operation that makes it to the last one
    that reads it:

    .. math:: \max_t \sum_{a \,:\, \mathrm{made}(a) \le t \le \mathrm{read}(a)} \mathrm{bytes}(a)

    over the arrays that XLA stores; see :mod:`jaxntk.kernels.liveness` for which those are. It does
    not count the process itself, the executable, and what the runtime keeps. Inside ``shard_map``
    arrays count as large as one device holds them, outside as a whole. The rules for the CPU were
    measured; those for accelerators only against XLA's order of operations that saves memory.

    Args:
        fn: the function; it is assumed to be compiled as a whole, by ``jit``. If it is the result
            of ``jit``, calling it later does not trace it again.
        args: what it is called with: arrays, or ``jax.ShapeDtypeStruct`` in their place.
        on_cpu: whether the CPU runs it, else an accelerator.

    Returns:
        The estimate in bytes, in parts.

    Example:
        >>> x = jax.ShapeDtypeStruct((1000, 1000), "float32")
        >>> peak_bytes(lambda x: (x @ x + 1) @ x, x)
        PeakBytes(arguments=4000000, outputs=4000000, temporaries=4256000,
                  operation='dot_general/packing')
    """
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    peak = temporaries(jaxpr, on_cpu=on_cpu)
    return PeakBytes(
        arguments=constants(jaxpr) + sum(size_of(var.aval) for var in jaxpr.invars),
        outputs=sum(size_of(var.aval) for var in jaxpr.outvars),
        temporaries=peak.size,
        operation=peak.operation,
    )


def estimate_memory(fn: Callable[..., Any], *args: Any, device: Any = None) -> MemoryEstimate:
    """Estimates the most memory that a function takes and what part of a device's memory that is.

    The memory of an accelerator is what its runtime may use in all, that of the CPU what the system
    says is available now.

    Args:
        fn: the function; it is assumed to be compiled as a whole, by ``jit``.
        args: what it is called with: arrays, or ``jax.ShapeDtypeStruct`` in their place.
        device: where it will run; by default where JAX would run it.

    Returns:
        The estimate.

    Example:
        >>> x = jax.ShapeDtypeStruct((1024, 1024), "float32")
        >>> estimate = estimate_memory(lambda x: x + 1, x)
        >>> estimate.peak.total == 2 * 4 * 1024**2
        True
        >>> print(MemoryEstimate(estimate.peak, "cpu", 2**30))
        about 8 MiB (4 MiB arguments, 4 MiB outputs, 0 MiB in between, most in inputs):
        0.78% of 1 GiB free on cpu
    """
    device = device or jax.devices()[0]
    on_cpu = device.platform == "cpu"
    available = host_memory() if on_cpu else device_memory(device)
    return MemoryEstimate(peak_bytes(fn, *args, on_cpu=on_cpu), device.device_kind, available)


def device_memory(device: Any) -> int | None:
    """Returns the bytes that the runtime may still use on a device.

    Args:
        device: the device.

    Returns:
        The bytes; None where the runtime does not tell.
    """
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def executable_bytes(executable: Any) -> int | None:
    """Returns what a compiled function holds, as the compiler reports it.

    Args:
        executable: made by ``jit(f).lower(...).compile()``.

    Returns:
        Bytes of arguments, results and temporary arrays; None where the backend does not tell.
    """
    sizes = executable.memory_analysis()
    if sizes is None:
        return None
    return sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes


def host_memory() -> int | None:
    """Returns the bytes of main memory that are available now.

    Returns:
        What Linux calls available, within what a container or a batch system allows; elsewhere all
        there is, or None where the system does not tell.
    """
    free = _system_memory()
    try:
        limit, used = (
            int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):
        # No second version of control groups, or "max": no limit.
        return free
    return limit - used if free is None else min(free, limit - used)


def _system_memory() -> int | None:
    if MEMINFO.is_file():
        for line in MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def largest_tile(bytes_of_tile: Callable[[int], int], n: int, budget: int) -> int:
    """Returns the largest tile of n images that fits into memory.

    Tried are ``ceil(n / 1), ceil(n / 2), ...``, of which the last tile is nearly full, so little
    work is wasted on filling it. They are bisected: a larger tile is taken to need more memory.

    Args:
        bytes_of_tile: the memory that a tile of so many images needs, in bytes.
        n: images in all; a tile of n means that there are no tiles.
        budget: bytes that may be used.

    Returns:
        Images in a tile, 1 to n.

    Raises:
        InputError: n is not positive, or not even a tile of one image fits.

    Example:
        >>> largest_tile(lambda tile: 10 * tile, n=1000, budget=3000)
        250
    """
    if n < 1:
        raise InputError("n", n, "give at least one image")
    if (least := bytes_of_tile(1)) > budget:
        cure = f"a tile of one image needs {readable(least)}; give at least that"
        raise InputError("budget", readable(budget), cure)
    tiles = np.unique(-(-n // np.arange(1, n + 1))).tolist()
    fits, too_large = 0, len(tiles)
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if bytes_of_tile(tiles[middle]) <= budget:
            fits = middle
        else:
            too_large = middle
    return tiles[fits]


def readable(size: int) -> str:
    """Writes a number of bytes for people.

    Args:
        size: in bytes.

    Returns:
        Mebibytes or gibibytes with three digits.

    Example:
        >>> readable(1536 * 2**20)
        '1.5 GiB'
    """
    return f"{size / 2**20:.3g} MiB" if size < 2**30 else f"{size / 2**30:.3g} GiB"
