"""The kernel from per-example gradients: ``vmap(grad)``, then one product a parameter.

Needs nothing but automatic differentiation, so it is exact for any function whose examples do not
interact, and it holds two Jacobians of ``tile`` rows: ``2 * tile * P`` numbers for P parameters.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.kernels.layer_kernels import assemble, tiles_of
from jaxntk.kernels.outputs import Combinations
from jaxntk.kernels.parameters import Places
from jaxntk.networks.precision import matmul_precision

OneExample = Callable[[Sequence[Any], Sequence[Any]], Float[Array, " c"]]
"""``(leaves that enter, leaves of one example) -> outputs``."""


def per_example_kernel(
    one: OneExample,
    entering: Sequence[Any],
    x1: Sequence[Array],
    x2: Sequence[Array] | None,
    basis: Combinations,
    *,
    full: bool,
    dtype: jnp.dtype,
    tile: int | None = None,
) -> Float[Array, "rows columns"]:
    """Returns the kernel of all parameters that enter, from explicit per-example gradients.

    Args:
        one: the function of one example.
        entering: the parameters.
        x1: the leaves of the inputs that give the rows.
        x2: of those that give the columns; None for ``x1``.
        basis: the combinations of outputs whose kernels are added up.
        full: not added up: every example gives C neighbouring rows or columns.
        dtype: of the kernel.
        tile: examples whose gradients are held at once, twice; None for all.

    Returns:
        The kernel.
    """
    each = basis.count if full else 1
    gradients = partial(_gradients, one, entering, dtype=dtype)

    def products(left: Sequence[Array], right: Sequence[Array] | None, weights: Array) -> Array:
        down = gradients(left, weights)
        across = down if right is None else gradients(right, weights)
        precision = matmul_precision()
        return sum(
            (jnp.matmul(a, b.T, precision=precision) for a, b in zip(down, across, strict=True)),
            start=jnp.zeros((len(down[0]), len(across[0])), dtype),
        )

    def block(left: Sequence[Array], right: Sequence[Array] | None) -> Array:
        if full:
            return products(left, right, basis.all())

        def add(kernel: Array, number: Array) -> tuple[Array, None]:
            return kernel + products(left, right, basis.at(number)[None, :]), None

        shape = (len(left[0]), len((left if right is None else right)[0]))
        numbers = jnp.arange(basis.count, dtype=jnp.int32)
        return lax.scan(add, jnp.zeros(shape, dtype), numbers)[0]

    if tile is None or tile >= max(len(x1[0]), 0 if x2 is None else len(x2[0])):
        return block(x1, x2)
    left = [tiles_of(leaf, tile) for leaf in x1]
    right = left if x2 is None else [tiles_of(leaf, tile) for leaf in x2]
    kernels = assemble(
        lambda row, column: {0: block([a[row] for a in left], [b[column] for b in right])},
        (len(x1[0]) * each, None if x2 is None else len(x2[0]) * each),
        tile * each,
        Places({0: ()}),
        dtype,
    )
    return kernels[0]


def _gradients(
    one: OneExample,
    entering: Sequence[Any],
    x: Sequence[Array],
    weights: Float[Array, "k c"],
    *,
    dtype: jnp.dtype,
) -> list[Float[Array, "rows size"]]:
    """Returns the gradient of each parameter for every example and combination of outputs."""

    def scalar(entering: Sequence[Any], example: Any, weights: Array) -> Array:
        out = one(entering, example)
        return jnp.sum(out * weights.astype(out.dtype))

    over_outputs = jax.vmap(jax.grad(scalar), in_axes=(None, None, 0))
    jac = jax.vmap(over_outputs, in_axes=(None, 0, None))(list(entering), list(x), weights)
    size = len(x[0]) * len(weights)
    return [leaf.reshape(size, -1).astype(dtype) for leaf in jac]
