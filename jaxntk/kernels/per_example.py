"""The kernel from per-example gradients: ``vmap(grad)``, then one product a parameter.

Needs nothing but automatic differentiation, so it is exact for any function whose examples do not
interact, and it holds two Jacobians of ``tile`` rows: ``2 * tile * P`` numbers for P parameters.
"""

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import InputError
from jaxntk.kernels.gram import Params, kernel_dtype
from jaxntk.kernels.layer_kernels import (
    LayerKernels,
    Rows,
    assemble,
    inner_products,
    tiles_of,
    zero_kernels,
)
from jaxntk.kernels.outputs import ApplyFn, Outputs, flat_outputs, output_basis, output_count
from jaxntk.kernels.parameters import Path, Places, by_path


def per_example_kernels(
    apply_fn: ApplyFn,
    params: Params,
    x1: Shaped[Array, "n1 ..."],
    x2: Shaped[Array, "n2 ..."] | None,
    places: Places,
    *,
    outputs: Outputs,
    tile: int | None = None,
) -> LayerKernels:
    """Returns the kernel of every chosen parameter from explicit per-example gradients.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``; each example is passed as a batch of one.
        params: the parameters.
        x1: the inputs that give the rows.
        x2: those that give the columns; None for ``x1``.
        places: the parameters that enter.
        outputs: see :mod:`jaxntk.kernels.outputs`.
        tile: examples whose gradients are held at once, twice; None for all.

    Returns:
        For each path an array ``(*leading axes, rows, columns)``, in the dtype that
        :func:`~jaxntk.kernels.gram.kernel_dtype` gives;
        for ``full`` every example gives C neighbouring rows or columns.

    Raises:
        InputError: an unknown ``outputs``, or a function that takes no batch of one.
    """
    _refuse_one_size(apply_fn, params, x1)
    flat = by_path(params)
    chosen = {path: flat[path] for path in places.leading}
    dtype = kernel_dtype(params)
    count = output_count(apply_fn, params, x1)
    basis = output_basis(outputs, count, dtype)
    each = count if outputs == "full" else 1

    def rows(x: Array, combinations: Float[Array, "k c"]) -> Rows:
        def scalar(chosen: dict[Path, Array], example: Array, combination: Array) -> Array:
            tree = traverse_util.unflatten_dict({**flat, **chosen})
            out = flat_outputs(apply_fn)(tree, example[None])[0]
            return jnp.sum(out * combination.astype(out.dtype))

        over_outputs = jax.vmap(jax.grad(scalar), in_axes=(None, None, 0))
        jac = jax.vmap(over_outputs, in_axes=(None, 0, None))(chosen, x, combinations)
        return {
            path: leaf.reshape(-1, *flat[path].shape).astype(dtype) for path, leaf in jac.items()
        }

    def block(left: Array, right: Array | None) -> LayerKernels:
        def one(combinations: Array) -> LayerKernels:
            jac = rows(left, combinations)
            return inner_products(jac, jac if right is None else rows(right, combinations), places)

        if outputs == "full" or len(basis) == 1:
            return one(basis)

        def add_output(kernels: LayerKernels, combination: Array) -> tuple[LayerKernels, None]:
            return jax.tree.map(jnp.add, kernels, one(combination[None, :])), None

        shape = (len(left), len(left if right is None else right))
        return lax.scan(add_output, zero_kernels(places, shape, dtype), basis)[0]

    if tile is None or tile >= max(len(x1), 0 if x2 is None else len(x2)):
        return block(x1, x2)
    left = tiles_of(x1, tile)
    right = left if x2 is None else tiles_of(x2, tile)
    return assemble(
        lambda row, column: block(left[row], right[column]),
        (len(x1) * each, None if x2 is None else len(x2) * each),
        tile * each,
        places,
        dtype,
    )


def _refuse_one_size(apply_fn: ApplyFn, params: Params, x: Array) -> None:
    """Raises where a function takes batches of one size only."""
    try:
        output_count(apply_fn, params, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        cure = (
            "let it take any number of examples, which per-example gradients pass one by one; or "
            "give examples='coupled'"
        )
        got = f"a function that takes batches of {len(x)}, but not of 1"
        raise InputError("apply_fn", got, cure) from error
