"""The functions whose memory is estimated and measured, and one measurement of one of them."""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.networks import Mlp, VisionTransformer
from jaxntk.errors import InputError
from jaxntk.kernels.arguments import Method
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.memory import executable_bytes, peak_bytes
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model

Case = Literal["nasbench201_gram", "vit_gram", "vit_jacobian", "mlp_gram", "mlp_jacobian"]
CASES: tuple[Case, ...] = get_args(Case)
LOADING_MATTERS_BELOW = 2**29
"""Bytes. The first call also loads some ten megabytes of code; a smaller case is called twice."""
CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    images: tuple[int, ...] = (16, 64, 256)
    """Images of each case."""
    large_images: int = 1024
    """Images of nasbench201_gram, measured with and without tiles; 0 leaves both out."""
    large_tile: int = 256
    """Images in a tile."""
    cases: tuple[Case, ...] = CASES
    """Which functions."""
    channels: int = 16
    """Channels of the first stage of NAS-Bench-201."""
    cells_per_stage: int = 5
    """Its cells a stage."""
    image_size: int = 32
    """Height and width of an image."""
    mlp_width: int = 256
    """Width of the four hidden layers of the MLP."""
    vit_width: int = 64
    """Width of the transformer: four blocks, two heads, patches of 4 x 4 pixels."""
    cores: int = 2
    """CPU cores to use."""


Function = tuple[Callable[..., jax.Array], tuple[Any, ...]]
"""A function and the shapes it is called with."""


def make(case: Case, settings: Settings, images: int, tile: int | None) -> Function:
    """Returns one of the functions.

    Args:
        case: which.
        settings: sizes of the networks.
        images: how many.
        tile: images in a tile; None for no tiles.

    Returns:
        The function, and the shapes it is called with.
    """
    side = settings.image_size
    x = jax.ShapeDtypeStruct((images, side, side, 3), jnp.float32)
    name, way = case.split("_")
    if name == "nasbench201":
        return _nasbench201(settings, x, tile)
    method: Method = "gram" if way == "gram" else "per_example_gradients"
    if name == "mlp":
        x = jax.ShapeDtypeStruct((images, side * side * 3), jnp.float32)
        network = Mlp(width=settings.mlp_width, depth=4, outputs=10)
    else:
        network = VisionTransformer(patch=4, width=settings.vit_width, depth=4, heads=2)
    params = jax.eval_shape(network.init, jax.random.key(0), x)

    def kernel(params: Any, x: jax.Array) -> jax.Array:
        return empirical_ntk(network.apply, params, x, outputs="sum", method=method, tile=tile)  # pyright: ignore[reportArgumentType]

    return kernel, (params, x)


def _nasbench201(settings: Settings, x: Any, tile: int | None) -> Function:
    network = NasBench201(10, settings.channels, settings.cells_per_stage, BatchNormMode.FROZEN)
    kernels = layer_kernel_fn(
        cell_model(network), KernelSettings(batch_norm="frozen", tile=tile), x.shape[1:]
    )
    dtype = jnp.dtype(jnp.float32)
    draw = partial(init_variables, network, image_shape=x.shape[1:], dtype=dtype)
    variables = jax.eval_shape(draw, jax.random.key(0))
    arch = jax.ShapeDtypeStruct((6,), jnp.int32)

    def kernel(variables: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        return total(kernels(variables, x, arch))

    return kernel, (variables, x, arch)


def measure(case: Case, settings: Settings, images: int, tile: int | None) -> dict[str, Any]:
    """Estimates the memory of a function, then runs it and measures how much this process took.

    Args:
        case: which function.
        settings: sizes of the networks.
        images: how many.
        tile: images in a tile; None for no tiles.

    Returns:
        The row of the record. ``measured_bytes`` are the arguments and what the process held at
        most beyond what it held before the call; ``process_bytes`` is the peak of the process as a
        whole, compilation included.
    """
    function, shapes = make(case, settings, images, tile)
    start = time.perf_counter()
    compiled = jax.jit(function)
    estimate = peak_bytes(compiled, *shapes)
    estimate_seconds = time.perf_counter() - start
    start = time.perf_counter()
    executable = compiled.lower(*shapes).compile()
    compile_seconds = time.perf_counter() - start
    sizes: Any = executable.memory_analysis()
    arguments = jax.block_until_ready(jax.tree.map(_draw, shapes))
    if estimate.total < LOADING_MATTERS_BELOW:
        jax.block_until_ready(executable(*arguments))
    peak_before = _memory("VmHWM")
    held = _start_of_peak()
    start = time.perf_counter()
    kernel_NxN = np.asarray(executable(*arguments))
    seconds = time.perf_counter() - start
    peak = _memory("VmHWM")
    assert np.isfinite(kernel_NxN).all()
    measured = sizes.argument_size_in_bytes + peak - held
    return {
        "case": case,
        "images": images,
        "tile": tile,
        "estimate": asdict(estimate),
        "estimate_bytes": estimate.total,
        "measured_bytes": measured,
        "estimate_over_measured": estimate.total / measured,
        "compiler_bytes": executable_bytes(executable),
        "process_bytes": max(peak, peak_before),
        "estimate_seconds": estimate_seconds,
        "compile_seconds": compile_seconds,
        "run_seconds": seconds,
    }


def _draw(shape: Any) -> jax.Array:
    """Draws noise, small enough that no network overflows; the cell has every operation."""
    if shape.dtype == jnp.int32:
        return jnp.array([3, 2, 4, 1, 3, 2], jnp.int32)
    values = np.random.default_rng(0).normal(size=shape.shape, scale=0.05)
    return jnp.asarray(values, shape.dtype)


def _start_of_peak() -> int:
    """Gives back what is free, restarts the system's count of the peak; returns what is held."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        # 5 resets the peak (the manual page proc_pid_clear_refs of Linux).
        CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError as error:
        cure = "run on Linux, where a process may reset the peak of its memory"
        raise InputError("machine", str(error), cure) from error
    return _memory("VmRSS")


def _memory(name: str) -> int:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise InputError("machine", f"no {name} in {STATUS}", "run on Linux")
