"""The exact kernel of a network whose examples interact through batch statistics.

With batch normalisation in training mode the output of image i depends on every image of the
batch, and J_i = dS_i/dtheta is one row of the Jacobian of the *batched* forward pass:

    K[i, j] = <J_i, J_j>,    J_i = pull-back of e_i through  theta -> S(theta; x_1 .. x_n)

This takes n backward passes over the whole batch and is what the official LGA code computes (Mok
et al., CVPR 2022). See :mod:`jaxntk.kernels.outputs` for other outputs than the
sum.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.kernels.function import kernel_dtype
from jaxntk.kernels.layer_kernels import LayerKernels, Rows, assemble, inner_products, zero_kernels
from jaxntk.kernels.outputs import ApplyFn, Outputs, combinations, flat_outputs
from jaxntk.kernels.parameters import Path, Places, by_path, with_leaves

# Cotangents pulled back together: more of them gain little on CPU and multiply the activations.
ROWS_AT_ONCE = 4


def coupled_kernels(
    apply_fn: ApplyFn,
    params: Any,
    x: Any,
    places: Places,
    *,
    outputs: Outputs,
    tile: int | None = None,
) -> LayerKernels:
    """Returns the exact kernel of every chosen parameter, whether or not examples interact.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters.
        x: the inputs, an array or a tree.
        places: the parameters that enter.
        outputs: see :mod:`jaxntk.kernels.outputs`; all but ``sum`` are C times dearer.
        tile: rows of the Jacobian held at once, twice; None holds all n once. Tiles recompute rows.

    Returns:
        For each path an array ``(*leading axes, n, n)``, in the dtype that
        :func:`~jaxntk.kernels.function.kernel_dtype` gives; for ``full`` every example
        gives C neighbouring rows and columns.

    Raises:
        InputError: an unknown ``outputs``.
    """
    flat, n = by_path(params), len(jax.tree.leaves(x)[0])

    def out(chosen: dict[Path, Array]) -> Array:
        return flat_outputs(apply_fn)(with_leaves(params, chosen), x)

    primal, pull_back = jax.vjp(out, {path: flat[path] for path in places.leading})
    dtype = kernel_dtype(params)
    basis = combinations(outputs, primal.shape[1], primal.dtype)

    def kernels(weights: Float[Array, "k c"]) -> LayerKernels:
        each = len(weights)

        def row(index: Array) -> dict[Path, Array]:
            one_hot = jnp.arange(n, dtype=jnp.int32) == index // each
            combination = weights[index % each]
            return pull_back(one_hot.astype(primal.dtype)[:, None] * combination[None, :])[0]

        return _from_rows(row, n * each, (tile or n) * each, places, dtype)

    if outputs == "full" or basis.count == 1:
        return kernels(basis.all())

    def add_output(sums: LayerKernels, number: Array) -> tuple[LayerKernels, None]:
        return jax.tree.map(jnp.add, sums, kernels(basis.at(number)[None, :])), None

    zeros = zero_kernels(places, (n, n), dtype)
    return lax.scan(add_output, zeros, jnp.arange(basis.count, dtype=jnp.int32))[0]


def _from_rows(
    row: Callable[[Array], dict[Path, Array]], n: int, tile: int, places: Places, dtype: jnp.dtype
) -> LayerKernels:
    def rows(examples: Array) -> Rows:
        jac = lax.map(row, examples, batch_size=min(ROWS_AT_ONCE, len(examples)))
        return {path: leaf.astype(dtype) for path, leaf in jac.items()}

    if tile >= n:
        jac = rows(jnp.arange(n, dtype=jnp.int32))
        return inner_products(jac, jac, places)

    def block(row_tile: Array, column_tile: Array) -> LayerKernels:
        # A last tile that reaches beyond n repeats the last example; that is cut off again.
        left, right = (
            rows(jnp.minimum(index * tile + jnp.arange(tile, dtype=jnp.int32), n - 1))
            for index in (row_tile, column_tile)
        )
        return inner_products(left, right, places)

    return assemble(block, (n, None), tile, places, dtype)
