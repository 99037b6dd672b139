"""The kernels of a population of architectures that share one initialisation, chunk by chunk.

The population is cut into chunks of one size, so one compilation serves all of them; a chunk is cut
into one part for each device. How a part is computed is a strategy
(:mod:`jaxntk.population.strategies`); which one is fastest depends on the device and on the
network, so by default it is measured.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.memory import MemoryEstimate, executable_bytes
from jaxntk.kernels.settings import ACTIVATIONS, PARAMETERS, KernelSettings, check_settings
from jaxntk.networks.model import Model
from jaxntk.population.devices import (
    Devices,
    distribute,
    gather,
    of_the_first,
    population_mesh,
    replicate,
)
from jaxntk.population.fit import (
    Fitted,
    check_compiled,
    fit,
    part_size,
    some_parts,
    those_that_fit,
)
from jaxntk.population.strategies import Plan, Strategy, applicable, plan
from jaxntk.spaces.genes import check_genes

# A chunk that takes less is timed twice: the first time some drivers still load the program.
_QUICK_SECONDS = 2.0

Progress = Callable[[int, int], None]


class Chunk(NamedTuple):
    """Kernels of some cells of a population.

    Args:
        index: which cells, by their position in the population.
        gram_KxNxN: their kernels, on the host.
    """

    index: Int[np.ndarray, " k"]
    gram_KxNxN: Float[np.ndarray, "k n n"]


class _Compiled(NamedTuple):
    """A plan and the program that computes one chunk of it."""

    plan: Plan
    run: Callable[[Any], jax.Array]
    seconds: float
    estimate: MemoryEstimate


@dataclass(frozen=True, eq=False)
class PopulationKernels:
    """Kernels of a population, computed while one iterates; made by :func:`population_kernels`.

    Cells come in an order of their own, each of them once. With several processes each of them
    iterates, in step, and gets the same numbers.

    Args:
        strategy: how the kernels are computed.
        rates: measured cells a second of each strategy that was tried, compilation excluded;
            empty if the strategy was given.
        compile_seconds: what compiling took, all strategies that were tried together.
        estimate: the memory that a chunk takes on one device, from shapes alone.
        num: cells in the population.
        chunk: cells in a chunk.
        devices: how many there are.
    """

    strategy: Strategy
    rates: dict[str, float]
    compile_seconds: float
    estimate: MemoryEstimate
    num: int
    chunk: int
    devices: int
    _compiled: _Compiled
    _progress: Progress | None

    def __iter__(self) -> Iterator[Chunk]:
        """Computes chunk after chunk; the next one runs while the last is being used."""
        index, work = self._compiled.plan.index, self._compiled.plan.work
        starts = range(0, len(index), self.devices)
        done = 0
        ahead = self._compiled.run(some_parts(work, 0, self.devices))
        for start in starts:
            grams = ahead
            if start + self.devices < len(index):
                ahead = self._compiled.run(some_parts(work, start + self.devices, self.devices))
            positions = index[start : start + self.devices].reshape(-1)
            gram_KxNxN = gather(grams).reshape(-1, *grams.shape[2:])
            real = positions < self.num
            done += int(real.sum())
            if self._progress is not None:
                self._progress(done, self.num)
            yield Chunk(positions[real], gram_KxNxN[real])

    def array(self) -> Float[np.ndarray, "num n n"]:
        """Computes all kernels.

        Returns:
            The kernels in the order of the population, on the host.
        """
        chunks = list(self)
        order = np.argsort(np.concatenate([chunk.index for chunk in chunks]))
        return np.concatenate([chunk.gram_KxNxN for chunk in chunks])[order]


def population_kernels(
    model: Model,
    settings: KernelSettings,
    x: Float[np.ndarray, "n h w c"],
    archs: Int[np.ndarray, "num genes"],
    *,
    strategy: str = "auto",
    chunk: int | None = None,
    init_seed: int = 0,
    devices: Devices | None = None,
    progress: Progress | None = None,
) -> PopulationKernels:
    """Prepares the kernels of a population at one initialisation: plans and compiles.

    ``auto`` compiles each strategy that applies, times it on one chunk, and keeps the fastest. It
    leaves out ``vmap`` where ``routed`` applies: both compute all cells at once, and ``vmap``
    computes what no cell chose as well.

    Args:
        model: the network, which needs one program for all architectures.
        settings: the kernel wanted.
        x: standardised images, the same for all architectures and in every process.
        archs: the encodings.
        strategy: ``map``, ``vmap``, ``routed``, or ``auto``.
        chunk: architectures computed together, a multiple of the number of devices; None for 8 on
            each CPU and 50 on each other device, or as many as fit into its memory. Memory grows
            with it, but for ``map``.
        init_seed: seed of the initialisation, shared by all.
        devices: by default all there are, those of other processes included.
        progress: called as ``progress(done, num)`` after each chunk.

    Returns:
        The kernels, to iterate over.

    Raises:
        InputError: no cell, a wrong chunk or one that does not fit into memory, a strategy that is
            unknown or does not apply, or float64 without ``jax_enable_x64``.

    Example:
        >>> from jaxntk.networks.nasbench201 import NasBench201
        >>> from jaxntk.networks.nasbench201_model import cell_model
        >>> tiny = cell_model(NasBench201(3, 2, 1))
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
        >>> cells = np.array([[3, 1, 0, 2, 0, 1], [1, 1, 1, 1, 1, 1]])
        >>> settings = KernelSettings(batch_norm="frozen")
        >>> kernels = population_kernels(tiny, settings, x, cells, strategy="routed", chunk=2)
        >>> kernels.array().shape
        (2, 4, 4)
    """
    model, archs = _one_program(model, archs)
    mesh = population_mesh(devices)
    size = part_size(chunk, mesh, len(archs))
    check_settings(model, settings, x.shape)
    check_choice("strategy", strategy, ("auto", *get_args(Strategy)))
    images = np.asarray(x, ACTIVATIONS[settings.dtype])
    variables = model.draw(init_seed, images.shape[1:], jnp.dtype(PARAMETERS[settings.dtype]))
    inputs = replicate(mesh, variables), replicate(mesh, images)

    def planned(name: str, cells: int) -> Plan:
        return plan(name, model, settings, x.shape, archs, cells, multiple=mesh.size)

    fitted = those_that_fit(
        partial(fit, mesh, partial(planned, name), size, inputs, chunk)
        for name in _tried(strategy, model, settings, len(images))
    )
    candidates = those_that_fit(partial(_compile, mesh, each, inputs) for each in fitted)
    rates: dict[str, float] = {}
    if len(candidates) > 1:
        rates = {each.plan.strategy: _rate(each, mesh.size, len(archs)) for each in candidates}
    fastest = np.argmax([rates.get(each.plan.strategy, 0.0) for each in candidates])
    best = candidates[of_the_first(int(fastest))]
    return PopulationKernels(
        strategy=best.plan.strategy,
        rates=rates,
        compile_seconds=sum(each.seconds for each in candidates),
        estimate=best.estimate,
        num=len(archs),
        chunk=best.plan.index.shape[1] * mesh.size,
        devices=mesh.size,
        _compiled=best,
        _progress=progress,
    )


def _one_program(
    model: Model, archs: Int[np.ndarray, "num genes"]
) -> tuple[Model, Int[np.ndarray, "num genes"]]:
    """Returns the network that computes a population, or refuses what one program cannot."""
    if model.options is None:
        raise InputError("model", model.choice, "give one whose architectures are vectors of genes")
    found = check_genes(archs, model.options, "archs")
    if not len(found):
        raise InputError("archs", "none", "give at least one")
    programs = {each.network: each for each in (model.program(model, arch) for arch in found)}
    if len(programs) > 1:
        got = f"architectures of {len(programs)} programs"
        raise InputError("archs", got, "give those of one, or score them one at a time")
    return next(iter(programs.values())), found


def _tried(strategy: str, model: Model, settings: KernelSettings, n: int) -> tuple[str, ...]:
    """Names the strategies among which the fastest is taken."""
    if strategy != "auto":
        return (strategy,)
    possible = applicable(model, settings, n)
    return ("map", "routed") if "routed" in possible else possible


def _compile(mesh: Mesh, fitted: Fitted, inputs: tuple[Any, Any]) -> _Compiled:
    def put(work: Any) -> Any:
        return distribute(mesh, work)

    start = time.perf_counter()
    first = put(some_parts(fitted.plan.work, 0, mesh.size))
    compiled = fitted.fn.lower(*inputs, first).compile()
    seconds = time.perf_counter() - start
    check_compiled(mesh, fitted, executable_bytes(compiled))
    return _Compiled(
        fitted.plan, lambda work: compiled(*inputs, put(work)), seconds, fitted.estimate
    )


def _rate(compiled: _Compiled, parts: int, num: int) -> float:
    """Measures cells a second on the first chunk."""
    work = some_parts(compiled.plan.work, 0, parts)
    cells = int((compiled.plan.index[:parts] < num).sum())
    seconds = _time(compiled.run, work)
    if seconds < _QUICK_SECONDS:
        seconds = min(seconds, _time(compiled.run, work))
    return cells / seconds


def _time(run: Callable[[Any], Array], work: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run(work))
    return time.perf_counter() - start
