"""The two sides of the benchmark: what they compute, how long a cell takes them, what they hold."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from benchmarks.naive_kernel import naive_kernel
from jaxntk.kernels.memory import executable_bytes
from jaxntk.kernels.program import CompiledKernel, compile_kernel
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.spaces import nasbench201
from jaxntk.studies.rank import peak_rss_bytes

Side = Literal["fast", "naive"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    cells: int = 50
    """Random cells."""
    seed: int = 0
    """Seed of cells and images."""
    channels: int = 16
    """Channels of the first stage."""
    cells_per_stage: int = 5
    """Cells a stage."""
    num_images: int = 64
    """Images the kernel is computed on."""
    image_size: int = 32
    """Height and width of an image."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of parameters, activations and kernel."""
    cores: int = 2
    """CPU cores to use."""


def draw_cells(settings: Settings) -> Int[np.ndarray, "num 6"]:
    """Draws the cells.

    Args:
        settings: the settings.

    Returns:
        Random cells, no cell twice.
    """
    return nasbench201.sample(jax.random.key(settings.seed), settings.cells)


def draw_images(settings: Settings) -> Float[np.ndarray, "n h w 3"]:
    """Draws noise in place of standardised images.

    Args:
        settings: the settings.

    Returns:
        The images.
    """
    shape = (settings.num_images, settings.image_size, settings.image_size, 3)
    return np.random.default_rng(settings.seed).normal(size=shape).astype(settings.dtype)


def make_network(settings: Settings) -> NasBench201:
    """Returns the network of all cells.

    Args:
        settings: the settings.

    Returns:
        The network, for ten classes.
    """
    return NasBench201(
        num_classes=10,
        channels=settings.channels,
        cells_per_stage=settings.cells_per_stage,
        batch_norm=BatchNormMode.FROZEN,
    )


def compile_fast(settings: Settings) -> tuple[CompiledKernel, float]:
    """Compiles the kernel of all cells.

    Args:
        settings: the settings.

    Returns:
        The kernel, and the seconds until it was there, tracing included.
    """
    network, images = make_network(settings), draw_images(settings)
    wanted = KernelSettings(batch_norm="frozen", dtype=settings.dtype)
    start = time.perf_counter()
    kernel = compile_kernel(cell_model(network), wanted, images)
    return kernel, time.perf_counter() - start


def compile_naive(
    params: Any,
    x: Float[Array, "n h w c"],
    arch: Int[np.ndarray, "6"],
) -> tuple[Any, float]:
    """Compiles the kernel of one cell by per-example gradients.

    Args:
        params: the parameters.
        x: the images.
        arch: the cell.

    Returns:
        The executable, a function of parameters and images, and the seconds until it was there.
    """
    ops = tuple(int(op) for op in arch)
    start = time.perf_counter()
    executable = jax.jit(lambda params, x: naive_kernel(params, x, ops)).lower(params, x).compile()
    return executable, time.perf_counter() - start


def time_cell(
    fast: CompiledKernel, arch: Int[np.ndarray, "6"], *, naive_first: bool
) -> dict[str, Any]:
    """Times both kernels of one cell, to the matrix on the host, and compares them.

    Args:
        fast: the kernel of all cells.
        arch: the cell.
        naive_first: which goes first.

    Returns:
        The row of the cell; times in seconds.
    """

    def run_fast() -> tuple[np.ndarray, dict[str, Any]]:
        start = time.perf_counter()
        gram_NxN = fast(arch)
        return gram_NxN, {"fast_seconds": time.perf_counter() - start}

    def run_naive() -> tuple[np.ndarray, dict[str, Any]]:
        params = fast.variables(0)["params"]
        executable, compile_seconds = compile_naive(params, fast.x, arch)
        start = time.perf_counter()
        gram_NxN = np.asarray(executable(params, fast.x))
        seconds = time.perf_counter() - start
        return gram_NxN, {
            "naive_compile_seconds": compile_seconds,
            "naive_seconds": seconds,
            "naive_executable_bytes": executable_bytes(executable),
        }

    if naive_first:
        (naive_NxN, naive_row), (fast_NxN, fast_row) = run_naive(), run_fast()
    else:
        (fast_NxN, fast_row), (naive_NxN, naive_row) = run_fast(), run_naive()
    error = relative_error(fast_NxN, naive_NxN)
    ops = nasbench201.format_ops(arch)
    return {"ops": ops, **fast_row, **naive_row, "relative_error": error}


def relative_error(fast_NxN: np.ndarray, naive_NxN: np.ndarray) -> float:
    """Compares two kernels.

    Args:
        fast_NxN: one.
        naive_NxN: the other.

    Returns:
        The largest difference over the largest entry of the second, which is NaN if a kernel holds
        one. Where the second is zero: 0 if the first is too, else infinity.
    """
    scale = np.abs(naive_NxN).max()
    difference = np.abs(fast_NxN - naive_NxN).max()
    if scale == 0:
        return 0.0 if difference == 0 else float("inf")
    return float(difference / scale)


def peak_memory(settings: Settings, side: Side, arch: Int[np.ndarray, "6"]) -> dict[str, Any]:
    """Computes the kernel of one cell and says what this process held at most.

    Args:
        settings: the settings.
        side: which kernel.
        arch: the cell.

    Returns:
        ``cell``, ``peak_rss_bytes``, ``peak_rss_before_bytes`` (before compiling) and
        ``executable_bytes`` (what the executable holds at once, as the compiler reports it).
    """
    images = draw_images(settings)
    network, dtype = make_network(settings), jnp.dtype(settings.dtype)
    params = init_variables(network, jax.random.key(0), images.shape[1:], dtype)["params"]
    before = peak_rss_bytes()
    if side == "fast":
        kernel, _ = compile_fast(settings)
        kernel(arch)
        size = kernel.memory_bytes
    else:
        x = jnp.asarray(images)
        executable, _ = compile_naive(params, x, arch)
        jax.block_until_ready(executable(params, x))
        size = executable_bytes(executable)
    return {
        "cell": nasbench201.format_ops(arch),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_rss_before_bytes": before,
        "executable_bytes": size,
    }
