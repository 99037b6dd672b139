r"""Products of the kernel with vectors, without the kernel.

.. math:: \Theta(x, x') v = J(x) \, (J(x')^T v)

A pull-back and a push-forward cost a few forward passes and the memory of one, whatever the number
of outputs; the kernel of n examples with C outputs would hold (n C)^2 numbers. This is what a
Krylov method (conjugate gradients, Lanczos) asks for.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import tiles_of
from jaxntk.kernels.outputs import ApplyFn, flat_outputs, output_count
from jaxntk.kernels.parameters import split_real
from jaxntk.networks.forward_mode import forward_mode
from jaxntk.networks.precision import at_precision


def ntk_vector_product(
    apply_fn: ApplyFn,
    params: Any,
    x1: Shaped[Array, "n1 ..."],
    x2: Shaped[Array, "n2 ..."] | None,
    v: Float[Array, "n2 c"],
    *,
    tile: int | None = None,
    matmul_precision: str = "highest",
) -> Float[Array, "n1 c"]:
    r"""Returns the product of the full kernel with a vector that has a number for every output.

    .. math:: (\Theta v)_{ic} = \sum_{jd} \langle \partial_\theta f_c(x_i),
        \partial_\theta f_d(x'_j) \rangle v_{jd}

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, flattened to (n, C).
        params: the parameters; all that are floating-point enter, others are held constant.
        x1: inputs of the rows.
        x2: inputs of the columns; None for ``x1``.
        v: the vector; it is taken in the dtype of the outputs.
        tile: examples that are held at once, None for all. With tiles the outputs of an example
            must not depend on the other examples.
        matmul_precision: of matrix products, see ``jax.default_matmul_precision``.

    Returns:
        The product, in the dtype of the outputs.

    Raises:
        InputError: a ``v`` that does not fit the outputs, a ``tile`` below 1, complex parameters,
            or a function that does not return a row an example.

    Source:
        Novak, Sohl-Dickstein, Schoenholz, "Fast finite width neural tangent kernel", ICML 2022,
        arXiv 2206.08720.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
        >>> v = jnp.array([[1.0], [2.0]])
        >>> print(ntk_vector_product(lambda w, x: x @ w, jnp.zeros((2, 1)), x, None, v))
        [[3.]
         [5.]]
    """
    x2 = x1 if x2 is None else x2
    wanted = (len(x2), output_count(apply_fn, params, x2))
    if v.shape != wanted:
        raise InputError("v", f"shape {v.shape}", f"give one number an output, shape {wanted}")
    if tile is not None and tile < 1:
        raise InputError("tile", tile, "give at least 1, or None for all examples at once")
    output_count(apply_fn, params, x1)
    flat = flat_outputs(apply_fn)
    real, joined = split_real(params)

    def of_real(real: list[Array], x: Array) -> Array:
        return flat(joined(real), x)

    with at_precision(matmul_precision):
        return _push_forward(of_real, real, x1, _pull_back(of_real, real, x2, v, tile), tile)


def ntk_operator(
    apply_fn: ApplyFn,
    params: Any,
    x: Shaped[Array, "n ..."],
    *,
    tile: int | None = None,
    matmul_precision: str = "highest",
) -> Callable[[Float[Array, "n c"]], Float[Array, "n c"]]:
    """Returns the full kernel of a set of inputs as a linear function, compiled once.

    The function is symmetric and positive semi-definite up to rounding, so
    ``jax.scipy.sparse.linalg.cg`` takes it as it is.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, flattened to (n, C).
        params: the parameters; all that are floating-point enter, others are held constant.
        x: the inputs.
        tile: as in :func:`ntk_vector_product`.
        matmul_precision: as in :func:`ntk_vector_product`.

    Returns:
        ``v (n, C) -> K v (n, C)``; it raises what :func:`ntk_vector_product` raises.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
        >>> product = ntk_operator(lambda w, x: x @ w, jnp.zeros((2, 1)), x)
        >>> print(product(jnp.array([[1.0], [0.0]])))
        [[1.]
         [1.]]
    """

    # Parameters and inputs are arguments: as constants they would be copied into the program.
    @jax.jit
    def product(params: Any, x: Array, v: Array) -> Array:
        return ntk_vector_product(
            apply_fn, params, x, None, v, tile=tile, matmul_precision=matmul_precision
        )

    return lambda v: product(params, x, v)


def _pull_back(flat: ApplyFn, params: Any, x: Array, v: Array, tile: int | None) -> Any:
    """Returns J(x)^T v, a tree like the parameters."""

    def of_tile(x: Array, v: Array) -> Any:
        out, pull_back = jax.vjp(lambda params: flat(params, x), params)
        return pull_back(v.astype(out.dtype))[0]

    if tile is None or tile >= len(x):
        return of_tile(x, v)

    def add(total: Any, part: tuple[Array, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_tile(*part)), None

    # What fills the last tile up gets the weight zero.
    padded = jnp.pad(v, ((0, -len(x) % tile), (0, 0)))
    parts = (tiles_of(x, tile), padded.reshape(-1, tile, v.shape[1]))
    return lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)[0]


def _push_forward(flat: ApplyFn, params: Any, x: Array, tangent: Any, tile: int | None) -> Array:
    """Returns J(x) u for a tree u like the parameters."""

    def of_tile(x: Array) -> Array:
        with forward_mode():
            return jax.jvp(lambda params: flat(params, x), (params,), (tangent,))[1]

    if tile is None or tile >= len(x):
        return of_tile(x)
    out = lax.map(of_tile, tiles_of(x, tile))
    return out.reshape(-1, out.shape[-1])[: len(x)]
