"""What the benchmarks share: a confined process, compilation and run times, memory, a record."""

import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.one_compilation import machine
from jaxntk.errors import InputError
from jaxntk.kernels.memory import executable_bytes
from jaxntk.runs.rows import environment, write_json_atomic

ENOUGH_SECONDS = 3.0
"""Runs are repeated until they took this long together."""


@dataclass(frozen=True)
class Measured:
    """A compiled function and what it cost to make it.

    Args:
        call: without arguments; blocks until the result is there.
        compile_seconds: tracing and compiling.
        memory_bytes: arguments, results and temporary arrays, as the compiler reports them.
        executable: the program itself, for other arguments of the same shapes.
    """

    call: Callable[[], np.ndarray]
    compile_seconds: float
    memory_bytes: int | None
    executable: Callable[..., jax.Array]


def set_up(cores: int, platform: str | None = "cpu") -> None:
    """Confines the process to some cores and sets JAX up, before its first computation.

    Args:
        cores: how many.
        platform: of JAX; None for the best there is.

    Raises:
        InputError: there are fewer cores.
    """
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        if not 1 <= cores <= len(usable):
            raise InputError("cores", cores, f"give a number from 1 to {len(usable)}")
        os.sched_setaffinity(0, usable[:cores])
    if platform is not None:
        jax.config.update("jax_platforms", platform)
    # A compilation read from disk would not be one.
    jax.config.update("jax_enable_compilation_cache", False)


def compile_call(function: Callable[..., jax.Array], *arguments: Any) -> Measured:
    """Compiles a function for some arguments.

    Args:
        function: a pure function of arrays.
        arguments: on which it is going to be called.

    Returns:
        The call, ready to be timed.
    """
    start = time.perf_counter()
    executable = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    call = lambda: np.asarray(executable(*arguments))  # noqa: E731
    return Measured(call, seconds, executable_bytes(executable), executable)


def run_seconds(calls: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict[str, list[float]]:
    """Times calls in turns, so that a slow spell of the machine hits all of them.

    The order changes from turn to turn. Slow calls are timed after all others: they may give
    gigabytes back to the system, and what comes after them pays for getting these again.

    Args:
        calls: by name.
        repeats: of each; one for those that take more than ``ENOUGH_SECONDS``.

    Returns:
        The times of every call, the first one of each left out.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}

    def run(name: str) -> float:
        start = time.perf_counter()
        calls[name]()
        return time.perf_counter() - start

    slow = [name for name in calls if run(name) > ENOUGH_SECONDS]
    quick = [name for name in calls if name not in slow]
    if slow:
        for name in quick:
            run(name)
    rng = np.random.default_rng(0)
    for _ in range(repeats):
        for index in rng.permutation(len(quick)):
            times[quick[index]].append(run(quick[index]))
    for name in slow:
        times[name].append(run(name))
    return times


def command_line(program: str, options: Any) -> str:
    """Spells out the command that measures the same, wherever it writes to.

    Args:
        program: how the benchmark is started.
        options: its options, a dataclass; those that are not their defaults become flags.

    Returns:
        The command line, for a shell at the root of the repository.
    """
    words = shlex.split(program)
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name == "out" or value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{flag}", *map(str, values)]
    return shlex.join(words)


def write_record(path: Path, program: str, options: Any, **results: Any) -> dict:
    """Writes what a benchmark measured, with the command and the machine.

    Args:
        path: of the JSON file.
        program: how the benchmark is started.
        options: its options, a dataclass; ``out`` is not recorded.
        results: what was measured.

    Returns:
        The record.
    """
    devices = sorted({device.device_kind for device in jax.devices()})
    record = {
        "command": command_line(program, options),
        "settings": {key: value for key, value in asdict(options).items() if key != "out"},
        "machine": {
            **environment(),
            **machine(),
            "devices": devices,
            "load_after": os.getloadavg()[0],
        },
        **results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, record)
    return record
