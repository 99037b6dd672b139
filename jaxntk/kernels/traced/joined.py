r"""Kernels of a weight that is used more than once, from the factors of all of its uses at once.

With uses u (a tied embedding and its output layer, the steps of a recurrent cell), each of which
gives :math:`G_i^u = \sum_t a^u_{it} \otimes b^u_{it}`, the gradient is their sum, and

.. math:: \langle G_i, G_j \rangle
    = \sum_{u, v} \sum_{t, s} (a^u_{it} \cdot a^v_{js}) (b^u_{it} \cdot b^v_{js}),

cross terms included: the uses are tokens side by side. Each tap gives its factors back instead of a
gradient; they are contracted once, at the end, by the cheaper of the two routes of
:mod:`.contraction`. It suits matrices in products and tables in look-ups, where the factors are not
larger than the gradients; of other shared weights the gradients are added up.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jaxntk.kernels.traced.contraction import (
    Halves,
    Route,
    choose,
    factorised_gram,
    outer_products,
)
from jaxntk.kernels.traced.operations import Factors, Gradients, OneHot
from jaxntk.kernels.traced.taps import Site
from jaxntk.networks.gram_block import Gram, gram_block


class FactorShape(NamedTuple):
    """What the factors of a matrix look like at one of its uses, for one example.

    Args:
        left: (tokens, rows), or (tokens,) where rows are looked up by their number.
        right: (tokens, columns).
        length: rows of the table that is looked up in; None for a product.
        swapped: whether the rows are the second axis of the parameter.
    """

    left: tuple[int, ...]
    right: tuple[int, int]
    length: int | None
    swapped: bool

    @property
    def numbers(self) -> int:
        """How many numbers they are."""
        return math.prod(self.left) + math.prod(self.right)


def factor_shape(site: Site, gradients: Gradients | None) -> FactorShape | None:
    """Returns the shape of the factors of a site's only weight, if they may be joined with others.

    Args:
        site: the use.
        gradients: the weight's, for a batch of one example.

    Returns:
        The shape; None unless the weight is a whole matrix, as it is or transposed.
    """
    axis = None if gradients is None else _row_axis(site)
    if gradients is None or axis is None or len(site.shapes[0]) != 2 or site.scales:
        return None
    turned = _turned(site)
    if turned is None or gradients.size[2] != 1:
        return None
    rows, columns, _ = gradients.size
    if rows * columns != math.prod(site.shapes[0]):
        return None
    looked_up = site.eqn.primitive.name == "gather"
    left = (gradients.tokens,) if looked_up else (gradients.tokens, rows)
    swapped = (axis + turned) % 2 == 1
    return FactorShape(left, (gradients.tokens, columns), rows if looked_up else None, swapped)


def _row_axis(site: Site) -> int | None:
    """Returns the axis of the weight that the rows of the factors are."""
    name = site.eqn.primitive.name
    if name == "gather":
        return 0
    if name != "dot_general":
        return None
    params = site.eqn.params
    which = next(at for at, (kind, _) in enumerate(site.kinds) if kind == "node")
    contracting, batch = params["dimension_numbers"]
    one = len(contracting[which]) == 1 and not batch[which]
    return contracting[which][0] if one and site.eqn.invars[which].aval.ndim == 2 else None


def _turned(site: Site) -> int | None:
    """Returns how often the matrix was transposed before; None where more was done to it."""
    assert site.layout is not None
    steps = [step.args[:2] for step in site.layout.steps]  # pyright: ignore
    if any(primitive.name != "transpose" for primitive, _ in steps):
        return None
    return sum(tuple(params["permutation"]) == (1, 0) for _, params in steps)


def _unpacked(shape: FactorShape, pair: tuple[Array, ...]) -> Factors:
    left, right = (_one_axis(each, size) for each, size in zip(pair, shape[:2], strict=True))
    if shape.length is None:
        return Factors(left, right, _same)
    return Factors(OneHot(left.astype(jnp.int32), shape.length), right, _same)


def _one_axis(array: Array, shape: tuple[int, ...]) -> Array:
    """(n, *steps, tokens, ..) -> (n, 1, steps * tokens, ..)."""
    return array.reshape(len(array), 1, -1, *shape[1:])


def _same(grads: Array) -> Array:
    return grads


def joined_gram(
    uses: Sequence[tuple[FactorShape, tuple[Array, ...]]],
    n: int,
    shape: tuple[int, int],
    route: Route | str,
    dtype: jnp.dtype,
) -> Gram:
    """Returns the inner products of the gradients of a weight that has several uses.

    Args:
        uses: for each, the shape of its factors, and these for all examples: left and right, each
            (n, *steps of loops, *shape of an example).
        n: examples.
        shape: of the block, as for :func:`~.contraction.gram_of`.
        route: how they are contracted.
        dtype: of the kernel.

    Returns:
        The block.
    """
    factors = [_unpacked(*use) for use in uses]
    if joined_route(uses, n, shape, route) == "materialised":
        grads = [
            jnp.swapaxes(outer_products(each), 2, 3) if use.swapped else outer_products(each)
            for (use, _), each in zip(uses, factors, strict=True)
        ]
        return gram_block(sum(grads[1:], start=grads[0]).reshape(n, -1).astype(dtype), shape)
    # First the rows of the parameter, then its columns.
    ordered: list[Halves] = [
        (each.right, each.left) if use.swapped else (each.left, each.right)
        for (use, _), each in zip(uses, factors, strict=True)
    ]
    parts = [factorised_gram(a, n, shape, b) for a in ordered for b in ordered]
    return sum(parts[1:], start=parts[0]).astype(dtype)


def joined_route(
    uses: Sequence[tuple[FactorShape, tuple[Any, ...]]],
    n: int,
    shape: tuple[int, int],
    route: Route | str,
) -> str:
    """Returns the route that the uses of a weight are contracted by.

    Args:
        uses: the shape of the factors of each, and these or their shapes.
        n: examples.
        shape: of the block.
        route: ``auto``, or one that is wanted.

    Returns:
        ``factorised`` or ``materialised``.
    """
    tokens = sum(math.prod(pair[1].shape[1:-1]) for _, pair in uses)
    first, (left, _) = uses[0]
    rows = first.length or left.shape[-1]
    whole = Gradients(_no_factors, tokens, (rows, first.right[1], 1))
    return choose(whole, n, shape, route)


def _no_factors() -> Factors:
    raise NotImplementedError("asked for its cost only")
