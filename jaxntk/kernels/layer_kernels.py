"""Kernels of single parameters, their sum, and their assembly from tiles."""

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from jaxntk.kernels.parameters import Path, Places
from jaxntk.networks.precision import matmul_precision

LayerKernels = dict[Any, Float[Array, "*cells rows columns"]]
Rows = dict[Path, Float[Array, "_ ..."]]
"""Rows of a Jacobian: for each path an array ``(rows, *parameter)``."""


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


def inner_products(left: Rows, right: Rows, places: Places) -> LayerKernels:
    """Multiplies rows of a Jacobian with each other, one parameter at a time.

    Args:
        left: the rows that give the rows of the kernel.
        right: those that give its columns.
        places: the parameters that enter.

    Returns:
        For each path an array ``(*leading axes, rows, columns)``.
    """

    def gram(path: Path, leading: tuple[int, ...]) -> Array:
        # (rows, *leading, *parameter) -> (*leading, rows, size of the parameter)
        flat = [
            jnp.moveaxis(jac.reshape(len(jac), *leading, -1), 0, -2)
            for jac in (left[path], right[path])
        ]
        return jnp.matmul(flat[0], flat[1].mT, precision=matmul_precision())

    return {path: gram(path, leading) for path, leading in places.leading.items()}


def tiles_of(x: Shaped[Array, "n ..."], tile: int) -> Shaped[Array, "tiles tile ..."]:
    """Cuts a batch into tiles of one size.

    Args:
        x: the inputs.
        tile: examples in a tile.

    Returns:
        The tiles; repeated examples fill the last one.
    """
    count = -(-len(x) // tile)
    return jnp.resize(x, (count * tile, *x.shape[1:])).reshape(count, tile, *x.shape[1:])


def assemble(
    block: Callable[[Int[Array, ""], Int[Array, ""]], LayerKernels],
    shape: tuple[int, int | None],
    tile: int,
    places: Places,
    dtype: jnp.dtype,
) -> LayerKernels:
    """Builds kernels from their blocks, one after another.

    Args:
        block: ``(row tile, column tile) -> kernels (*leading axes, tile, tile)``; the last tile may
            reach beyond the kernel, with any content.
        shape: rows and columns of the whole kernel. Columns of None stand for a symmetric kernel,
            of which only the blocks on and above the diagonal are computed.
        tile: rows of a block.
        places: the parameters that enter.
        dtype: of the kernels.

    Returns:
        For each path an array ``(*leading axes, rows, columns)``.
    """
    rows, columns = shape[0], shape[0] if shape[1] is None else shape[1]
    down, across = -(-rows // tile), -(-columns // tile)
    symmetric = shape[1] is None
    cells = combinations_with_replacement(range(down), 2) if symmetric else np.ndindex(down, across)
    pairs = jnp.asarray(list(cells), jnp.int32)

    def add_block(kernels: LayerKernels, pair: Array) -> tuple[LayerKernels, None]:
        row, column = pair * tile

        def put(kernel: Array, part: Array) -> Array:
            origin = [jnp.zeros_like(row)] * (kernel.ndim - 2)
            kernel = lax.dynamic_update_slice(kernel, part, [*origin, row, column])
            if not symmetric:
                return kernel
            return lax.dynamic_update_slice(kernel, part.mT, [*origin, column, row])

        return jax.tree.map(put, kernels, block(pair[0], pair[1])), None

    whole = zero_kernels(places, (down * tile, across * tile), dtype)
    kernels = lax.scan(add_block, whole, pairs)[0]
    return {path: kernel[..., :rows, :columns] for path, kernel in kernels.items()}
