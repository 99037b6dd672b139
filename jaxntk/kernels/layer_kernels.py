"""Kernels of single parameters, their sum, and their assembly from tiles."""

from collections.abc import Callable
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxntk.kernels.parameters import Path, Places

LayerKernels = dict[Path, Float[Array, "*cells rows columns"]]


def zero_kernels(places: Places, shape: tuple[int, int], dtype: jnp.dtype) -> LayerKernels:
    """Returns a kernel of zeros for every parameter.

    Args:
        places: the parameters that enter, with their leading axes.
        shape: rows and columns of one kernel.
        dtype: of the kernels.

    Returns:
        For each path an array ``(*leading axes, rows, columns)``.
    """
    return {path: jnp.zeros((*lead, *shape), dtype) for path, lead in places.leading.items()}


def total(kernels: LayerKernels) -> Float[Array, "rows columns"]:
    """Sums the kernels of all parameters: the kernel of the network.

    Args:
        kernels: at least one.

    Returns:
        One matrix.
    """
    summed = [kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0) for kernel in kernels.values()]
    return sum(summed[1:], start=summed[0])


def assemble(
    block: Callable[[Int[Array, ""], Int[Array, ""]], LayerKernels],
    n: int,
    tile: int,
    places: Places,
    dtype: jnp.dtype,
) -> LayerKernels:
    """Builds symmetric kernels from their blocks on and above the diagonal, one after another.

    Args:
        block: ``(row tile, column tile) -> kernels (*leading axes, tile, tile)``; the last tile may
            reach beyond n, with any content.
        n: rows of the whole kernel.
        tile: rows of a block.
        places: the parameters that enter.
        dtype: of the kernels.

    Returns:
        For each path an array ``(*leading axes, n, n)``.
    """
    count = -(-n // tile)
    pairs = jnp.asarray(list(combinations_with_replacement(range(count), 2)), jnp.int32)

    def add_block(kernels: LayerKernels, pair: Array) -> tuple[LayerKernels, None]:
        row, column = pair * tile

        def put(kernel: Array, part: Array) -> Array:
            origin = [jnp.zeros_like(row)] * (kernel.ndim - 2)
            kernel = lax.dynamic_update_slice(kernel, part, [*origin, row, column])
            return lax.dynamic_update_slice(kernel, part.mT, [*origin, column, row])

        return jax.tree.map(put, kernels, block(pair[0], pair[1])), None

    whole = zero_kernels(places, (count * tile, count * tile), dtype)
    kernels = lax.scan(add_block, whole, pairs)[0]
    return {path: kernel[..., :n, :n] for path, kernel in kernels.items()}
