r"""From the gradients of a weight to their inner products, by the cheaper of two exact routes.

For :math:`G_i = \sum_t a_{it} b_{it}^T` with t tokens, r rows and c columns in g groups, and a
block of R by C examples (n in all):

=================  =========================================================  ===================
route              multiplications                                            holds
=================  =========================================================  ===================
``materialised``   :math:`g\,r\,c\,(n\,t + R\,C)`: every G, then G G^T        n g r c numbers
``factorised``     :math:`g\,t^2 R\,C\,(r + c)`: the sum over t, s of         2 g t^2 R C numbers
                   :math:`(a_{it}\cdot a_{js})(b_{it}\cdot b_{js})`
=================  =========================================================  ===================

``auto`` takes the route with fewer multiplications, each number held counted as
:data:`HELD_NUMBER` more of them. What the factorised route holds is bounded by working on a few
rows at a time. ``benchmarks/routes.py`` pins both routes and ``auto`` beside them.

Source: the factorised route is Rochette et al., "Efficient per-example gradient computations in
convolutional neural networks", arXiv 1912.06015, after Goodfellow, arXiv 1510.01799, for norms.
"""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxntk.errors import check_choice
from jaxntk.kernels.traced.operations import Factors, Gradients, OneHot
from jaxntk.networks.gram_block import Gram, gram_block
from jaxntk.networks.precision import matmul_precision

Halves = tuple[Array | OneHot, ...]
"""Left and right of :class:`~.operations.Factors`, (n, groups, tokens, ..) each."""

Route = Literal["auto", "factorised", "materialised"]

HELD_NUMBER = 8
"""Multiplications that take as long as writing and reading one number, about."""

NUMBERS_AT_ONCE = 2**24
"""Of the products of tokens that the factorised route holds at once."""


def check_route(route: str) -> None:
    """Raises where a route is none of those there are."""
    check_choice("route", route, get_args(Route))


def costs(gradients: Gradients, n: int, shape: tuple[int, int]) -> dict[str, float]:
    """Returns what each route costs, in multiplications.

    Args:
        gradients: of a weight.
        n: examples.
        shape: of the block wanted.

    Returns:
        ``{"materialised": .., "factorised": ..}``.
    """
    (r, c, g), t, pairs = gradients.size, gradients.tokens, shape[0] * shape[1]
    return {
        "materialised": float(g * r * c * (n * t + pairs + HELD_NUMBER * n)),
        "factorised": float(g * t * t * pairs * (r + c + 2 * HELD_NUMBER)),
    }


def choose(gradients: Gradients, n: int, shape: tuple[int, int], route: Route | str) -> str:
    """Returns the route that will be taken.

    Args:
        gradients: of a weight.
        n: examples.
        shape: of the block wanted.
        route: ``auto``, or one that is wanted.

    Returns:
        ``factorised`` or ``materialised``.
    """
    if route != "auto":
        return route
    cost = costs(gradients, n, shape)
    return min(cost, key=cost.__getitem__)


def gram_of(
    gradients: Gradients, n: int, shape: tuple[int, int], route: Route | str, dtype: jnp.dtype
) -> Gram:
    """Returns the inner products of the gradients of a weight.

    Args:
        gradients: of the weight.
        n: examples.
        shape: ``(n, n)``, or ``(a, b)`` with ``a + b == n`` for the first a against the last b.
        route: see the module.
        dtype: of the kernel.

    Returns:
        The block.
    """
    if choose(gradients, n, shape, route) == "factorised":
        return factorised_gram(gradients.factors()[:2], n, shape).astype(dtype)
    if gradients.flat is not None:
        return gram_block(gradients.flat().astype(dtype), shape)
    return gram_block(outer_products(gradients.factors()).reshape(n, -1).astype(dtype), shape)


def square_norms(gradients: Gradients, n: int, route: Route | str, dtype: jnp.dtype) -> Array:
    """Returns the squared norm of every example's gradient of a weight, (n,).

    Args:
        gradients: of the weight.
        n: examples.
        route: see the module.
        dtype: of the norms.

    Returns:
        The diagonal of :func:`gram_of`, at 1 / n of its cost.
    """
    # As many pairs as examples: each with itself.
    if choose(gradients, n, (n, 1), route) == "materialised":
        flat = outer_products(gradients.factors()) if gradients.flat is None else gradients.flat()
        return jnp.square(flat.reshape(n, -1).astype(dtype)).sum(axis=1)
    factors = gradients.factors()

    def one(left: Array | OneHot, right: Array) -> Array:
        single = jax.tree.map(lambda part: part[None], (left, right))
        a, b = dots(single[0], single[0]), dots(single[1], single[1])
        return jnp.sum(a.astype(b.dtype) * b)

    each = factors.right.shape[1] * factors.right.shape[2] ** 2
    at_once = max(1, min(n, NUMBERS_AT_ONCE // max(each, 1)))
    pairs = (factors.left, factors.right)
    return lax.map(lambda pair: one(*pair), pairs, batch_size=at_once).astype(dtype)


def arranged(gradients: Gradients) -> Array:
    """Returns the gradients of a weight, (n, *shape of the weight)."""
    if gradients.arranged is not None:
        return gradients.arranged()
    factors = gradients.factors()
    return factors.arrange(outer_products(factors))


def outer_products(factors: Factors) -> Array:
    """Returns the gradients (n, groups, rows, columns) that factors stand for."""
    left, right = factors.left, factors.right
    if isinstance(left, OneHot):
        n, groups, _, columns = right.shape
        zeros = jnp.zeros((n, groups, left.length, columns), right.dtype)
        at = (
            jnp.arange(n, dtype=left.ids.dtype).reshape(-1, 1, 1),
            jnp.arange(groups, dtype=left.ids.dtype).reshape(1, -1, 1),
            # Beyond the table, where it is dropped: a negative number would count from the end.
            jnp.where(left.ids < 0, left.length, left.ids),
        )
        return zeros.at[at].add(right, mode="drop")
    return jnp.einsum("ngtr,ngtc->ngrc", left, right, precision=matmul_precision())


def factorised_gram(
    factors: Halves, n: int, shape: tuple[int, int], other: Halves | None = None
) -> Gram:
    """Returns the inner products without forming a gradient, a few rows at a time.

    Args:
        factors: left and right, in either order, of the rows.
        n: examples.
        shape: of the block, as for :func:`gram_of`.
        other: of the columns, in the same order; None for the same.

    Returns:
        The block.
    """
    rows, columns = shape
    first, last = (0, 0) if rows == columns == n else (0, rows)
    left = _part(factors if other is None else other, last, columns)
    right = _part(factors, first, rows)
    dense = _dense(right)
    (groups, tokens), dtype = dense.shape[1:3], dense.dtype
    each = columns * groups * tokens * _dense(left).shape[2]
    at_once = _divisor(rows, max(1, NUMBERS_AT_ONCE // max(each, 1)))

    def few(some: Halves) -> Array:
        a_dots, b_dots = dots(some[0], left[0]), dots(some[1], left[1])
        return jnp.sum(a_dots.astype(dtype) * b_dots.astype(dtype), axis=(2, 3, 4))

    if at_once == rows:
        return few(right)
    split = tuple(_split(part, at_once) for part in right)
    return lax.map(few, split).reshape(rows, columns)


def dots(left: Array | OneHot, right: Array | OneHot) -> Array:
    """Returns the inner products of all tokens, (n, m, groups, tokens, tokens)."""
    if isinstance(left, OneHot) and isinstance(right, OneHot):
        a, b = left.ids[:, None, :, :, None], right.ids[None, :, :, None, :]
        return ((a == b) & (a >= 0)).astype(jnp.float32)
    if isinstance(left, OneHot):
        return jnp.swapaxes(dots(right, left), 0, 1).swapaxes(3, 4)
    if isinstance(right, OneHot):
        # Entry ids of each token of the left: (n, groups, t, m, s)
        m, groups, s = right.ids.shape
        ids = jnp.where(right.ids < 0, left.shape[3], right.ids)
        picked = [
            jnp.take(left[:, g], ids[:, g].reshape(-1), axis=2, mode="fill", fill_value=0)
            for g in range(groups)
        ]
        apart = jnp.stack(picked, axis=1).reshape(*left.shape[:3], m, s)
        return apart.transpose(0, 3, 1, 2, 4)
    return jnp.einsum("ngtr,mgsr->nmgts", left, right, precision=matmul_precision())


def _part(factors: Halves, start: int, length: int) -> Halves:
    return tuple(
        OneHot(half.ids[start : start + length], half.length)
        if isinstance(half, OneHot)
        else half[start : start + length]
        for half in factors
    )


def _dense(part: Halves) -> Array:
    """Returns a half that is an array."""
    return next(half for half in part if not isinstance(half, OneHot))


def _split(part: Array | OneHot, at_once: int) -> Array | OneHot:
    if isinstance(part, OneHot):
        return OneHot(_split(part.ids, at_once), part.length)  # pyright: ignore
    return part.reshape(-1, at_once, *part.shape[1:])


def _divisor(count: int, most: int) -> int:
    """Returns the largest divisor of a number that is not larger than another."""
    return max(few for few in range(1, count + 1) if count % few == 0 and few <= most)


def numbers_held(gradients: Gradients, n: int) -> int:
    """Returns how many numbers the materialised route holds."""
    return n * math.prod(gradients.size)
