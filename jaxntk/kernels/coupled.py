"""The exact kernel of a network whose examples interact through batch statistics.

With batch normalisation in training mode the output of image i depends on every image of the
batch, and J_i = dS_i/dtheta is one row of the Jacobian of the *batched* forward pass:

    K[i, j] = <J_i, J_j>,    J_i = pull-back of e_i through  theta -> S(theta; x_1 .. x_n)

This takes n backward passes over the whole batch and is what the official LGA code computes (Mok
et al., CVPR 2022). See :mod:`jaxntk.kernels.gram` for the meaning of ``outputs``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float

from jaxntk.kernels.gram import ApplyFn, Outputs, Variables, check_outputs, parameter_dtype
from jaxntk.kernels.layer_kernels import LayerKernels, assemble, zero_kernels
from jaxntk.kernels.parameters import Path, Places

# Cotangents pulled back together: more of them gain little on CPU and multiply the activations.
ROWS_AT_ONCE = 4

Rows = dict[Path, Float[Array, "rows ..."]]


def coupled_kernels(
    apply_fn: ApplyFn,
    variables: Variables,
    x: Float[Array, "n h w c"],
    places: Places,
    *,
    outputs: Outputs,
    tile: int | None = None,
) -> LayerKernels:
    """Returns the exact kernel of every chosen parameter, whether or not examples interact.

    Args:
        apply_fn: ``(variables, x) -> logits (n, classes)``.
        variables: the Flax collections, without ``gram``.
        x: the images.
        places: the parameters that enter.
        outputs: ``"sum"`` or ``"trace"`` (``classes`` times dearer).
        tile: rows of the Jacobian held at once, twice; None holds all n once. Tiles recompute rows.

    Returns:
        For each path an array ``(*leading axes, n, n)`` in the dtype of the parameters.

    Raises:
        InputError: ``outputs`` is neither.
    """
    check_outputs(outputs)
    params = traverse_util.flatten_dict(dict(variables["params"]))

    def logits(chosen: dict[Path, Array]) -> Array:
        merged = traverse_util.unflatten_dict({**params, **chosen})
        return apply_fn({**variables, "params": merged}, x)

    out, pull_back = jax.vjp(logits, {path: params[path] for path in places.leading})
    dtype = parameter_dtype(variables)

    def kernels(weights: Array) -> LayerKernels:
        def row(example: Array) -> dict[Path, Array]:
            one_hot = jnp.arange(len(x), dtype=jnp.int32) == example
            return pull_back(one_hot.astype(out.dtype)[:, None] * weights[None, :])[0]

        return _from_rows(row, len(x), tile or len(x), places, dtype)

    classes = out.shape[1]
    if outputs == "sum":
        return kernels(jnp.ones(classes, out.dtype))

    def add_class(sums: LayerKernels, weights: Array) -> tuple[LayerKernels, None]:
        return jax.tree.map(jnp.add, sums, kernels(weights)), None

    zeros = zero_kernels(places, (len(x), len(x)), dtype)
    return lax.scan(add_class, zeros, jnp.eye(classes, dtype=out.dtype))[0]


def _from_rows(
    row: Callable[[Array], dict[Path, Array]], n: int, tile: int, places: Places, dtype: jnp.dtype
) -> LayerKernels:
    def rows(examples: Array) -> Rows:
        return lax.map(row, examples, batch_size=min(ROWS_AT_ONCE, len(examples)))

    if tile >= n:
        jac = rows(jnp.arange(n, dtype=jnp.int32))
        return _inner_products(jac, jac, places)

    def block(row_tile: Array, column_tile: Array) -> LayerKernels:
        # A last tile that reaches beyond n repeats the last example; that is cut off again.
        left, right = (
            rows(jnp.minimum(index * tile + jnp.arange(tile, dtype=jnp.int32), n - 1))
            for index in (row_tile, column_tile)
        )
        return _inner_products(left, right, places)

    return assemble(block, n, tile, places, dtype)


def _inner_products(left: Rows, right: Rows, places: Places) -> LayerKernels:
    def gram(path: Path, leading: tuple[int, ...]) -> Array:
        # (rows, *leading, *parameter) -> (*leading, rows, size of the parameter)
        flat = [
            jnp.moveaxis(jac.reshape(len(jac), *leading, -1), 0, -2)
            for jac in (left[path], right[path])
        ]
        return jnp.matmul(flat[0], flat[1].mT, precision=lax.Precision.HIGHEST)

    return {path: gram(path, leading) for path, leading in places.leading.items()}
