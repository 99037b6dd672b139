"""Inner products of per-example gradients, or a block of them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxntk.networks.precision import matmul_precision

Gram = Float[Array, "rows columns"]


def gram_block(grad_NxP: Float[Array, "n p"], shape: tuple[int, ...]) -> Gram:
    """Returns the inner products of per-example gradients, as the block that ``shape`` names.

    Args:
        grad_NxP: gradients of one parameter, a row an example.
        shape: ``(n, n)`` or ``(a, b)`` with ``a + b == n``.

    Returns:
        ``grad @ grad.T``, or its block of the first ``a`` rows against the last ``b``.

    Raises:
        ValueError: ``shape`` is neither.
    """
    left, right = split_block(grad_NxP, shape)
    return jnp.matmul(left, right.T, precision=matmul_precision())


def split_block(array: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns the examples that give the rows of a block, and those that give its columns.

    Args:
        array: an example a row, n in all.
        shape: the block wanted, as in :func:`gram_block`.

    Returns:
        Both parts; twice the whole for ``(n, n)``.

    Raises:
        ValueError: ``shape`` is no block of the batch.
    """
    n = array.shape[0]
    rows, columns = shape
    if rows == columns == n:
        return array, array
    if rows + columns == n:
        return array[:rows], array[rows:]
    raise ValueError(
        f"gram: got shape {shape} for a batch of {n}; give (n, n) or (a, b), a + b = n"
    )
