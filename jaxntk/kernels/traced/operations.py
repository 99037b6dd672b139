r"""How the gradient of an operation's weight is formed, for the operations that have a factor form.

For every example, the gradient of the weight w of :math:`y = op(data, w)` is

.. math:: G_i = \sum_t a_{it} \otimes b_{it}

with ``a`` from the data and ``b`` from the cotangent of y, in groups that do not mix. An operation
here says which tokens t those are; :mod:`.contraction` then chooses how to contract them.

=========================  ====================================  ==================
operation                  a                                     b
=========================  ====================================  ==================
``dot_general``            data, contracted axes                 cotangent
``conv_general_dilated``   patches of the data                   cotangent
``gather`` (embedding)     one-hot rows                          cotangent
=========================  ====================================  ==================
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxntk.networks.conv_grads import (
    ConvWindow,
    conv_example_grads,
    conv_patches,
    ordered_example_grads,
)


@partial(jax.tree_util.register_dataclass, data_fields=["ids"], meta_fields=["length"])
@dataclass(frozen=True)
class OneHot:
    """Rows of an identity matrix, by their numbers.

    Args:
        ids: (n, groups, tokens), the number of the row; a negative one for a row of zeros.
        length: of a row.
    """

    ids: Array
    length: int


class Factors(NamedTuple):
    """The gradients of a weight for all examples, as sums of outer products.

    Args:
        left: (n, groups, tokens, rows).
        right: (n, groups, tokens, columns).
        arrange: from (n, groups, rows, columns) to (n, *shape of the weight).
    """

    left: Array | OneHot
    right: Array
    arrange: Callable[[Array], Array]


class Gradients(NamedTuple):
    """The ways to the gradients of a weight, and what they cost.

    Args:
        factors: makes the factor form.
        tokens: of it.
        size: rows, columns and groups of it.
        flat: the gradients as (n, entries), in any order; None to multiply the factors.
        arranged: the gradients as (n, *shape of the weight); None to multiply the factors.
    """

    factors: Callable[[], Factors]
    tokens: int
    size: tuple[int, int, int]
    flat: Callable[[], Array] | None = None
    arranged: Callable[[], Array] | None = None


GradientRule = Callable[[Any, int, Array, Array], Gradients | None]
"""``(equation, which operand is the weight, data (n, ...), cotangent (n, ...)) -> gradients``."""


def dot_general_gradients(eqn: Any, which: int, data: Array, ct: Array) -> Gradients:
    """A product: the weight's contracted axes meet the data, its free ones the cotangent."""
    data = _in_dtype(data, ct)
    contracting, batch = eqn.params["dimension_numbers"]
    own_c, own_b = contracting[which], batch[which]
    data_c, data_b = contracting[1 - which], batch[1 - which]
    weight = eqn.invars[which].aval
    free = [axis for axis in range(weight.ndim) if axis not in (*own_c, *own_b)]
    data_free = [a for a in range(data.ndim - 1) if a not in (*data_c, *data_b)]
    n, groups = len(data), math.prod(weight.shape[a] for a in own_b)
    rows = math.prod(weight.shape[a] for a in own_c)
    columns = math.prod(weight.shape[a] for a in free)
    tokens = math.prod(data.shape[a + 1] for a in data_free)

    def factors() -> Factors:
        left = data.transpose(0, *(a + 1 for a in (*data_b, *data_free, *data_c)))
        # The result has batch axes, then the free axes of the left operand, then of the right.
        order = list(range(ct.ndim))
        split = 1 + len(own_b)
        first, second = (free, data_free) if which == 0 else (data_free, free)
        left_axes, right_axes = order[split : split + len(first)], order[split + len(first) :]
        own, other = (left_axes, right_axes) if which == 0 else (right_axes, left_axes)
        assert len(second) == len(right_axes)
        right = ct.transpose(*order[:split], *other, *own)

        def arrange(grads: Array) -> Array:
            axes = (*own_b, *own_c, *free)
            apart = grads.reshape(n, *(weight.shape[a] for a in axes))
            return apart.transpose(0, *(1 + axes.index(a) for a in range(weight.ndim)))

        return Factors(
            left.reshape(n, groups, tokens, rows),
            right.reshape(n, groups, tokens, columns),
            arrange,
        )

    return Gradients(factors, tokens, (rows, columns, groups))


def conv_gradients(eqn: Any, which: int, data: Array, ct: Array) -> Gradients | None:
    """A convolution: for each window, the patch it sees meets the cotangent."""
    params = eqn.params
    if which != 1 or params["batch_group_count"] != 1:
        return None
    data = _in_dtype(data, ct)
    lhs, rhs, out = params["dimension_numbers"]
    weight = eqn.invars[1].aval
    x = _channels_last(data, lhs, params["lhs_dilation"])
    outs = _channels_last(ct, out, (1,) * (len(out) - 2))
    spatial, n = len(lhs) - 2, len(data)
    size = tuple(weight.shape[axis] for axis in rhs[2:])
    strides, padding = tuple(params["window_strides"]), tuple(map(tuple, params["padding"]))
    dilation, groups = tuple(params["rhs_dilation"]), params["feature_group_count"]
    window = ConvWindow(size, strides, padding, dilation, groups)
    if not spatial:
        # A product: images of one pixel.
        x, outs = jnp.expand_dims(x, -2), jnp.expand_dims(outs, -2)
        window = ConvWindow((1,), (1,), ((0, 0),), (1,), groups)
    if x.shape[1] != 1:
        # Images inside one example are one more axis, along which the kernel is one long.
        x, outs = jnp.moveaxis(x, 1, -2), jnp.moveaxis(outs, 1, -2)
        window = window.extended()
    else:
        x, outs = x[:, 0], outs[:, 0]
    per_group = weight.shape[rhs[1]]

    def arrange(grads: Array) -> Array:
        # (n, *size, input channels of a group, output channels) -> the weight's own order
        kernel = grads.reshape(n, *size, per_group, weight.shape[rhs[0]])
        places = {rhs[0]: spatial + 2, rhs[1]: spatial + 1}
        places |= {axis: 1 + at for at, axis in enumerate(rhs[2:])}
        return kernel.transpose(0, *(places[axis] for axis in range(weight.ndim)))

    def factors() -> Factors:
        left, right = conv_patches(x, outs, window)
        return Factors(left, right, lambda grads: arrange(_groups_last(grads, per_group)))

    def flat() -> Array:
        return conv_example_grads(x, outs, window).reshape(n, -1)

    tokens = math.prod(outs.shape[1:-1])
    columns = weight.shape[rhs[0]] // window.groups
    sizes = (math.prod(size) * per_group, columns, window.groups)
    if window.is_patches:
        return Gradients(factors, tokens, sizes)
    return Gradients(
        factors, tokens, sizes, flat, lambda: arrange(ordered_example_grads(x, outs, window))
    )


def _in_dtype(data: Array, ct: Array) -> Array:
    """Returns data of whole numbers or truth values as numbers that do not overflow."""
    return data if jnp.issubdtype(data.dtype, jnp.inexact) else data.astype(ct.dtype)


def _channels_last(images: Array, spec: Sequence[int], dilation: Sequence[int]) -> Array:
    """(n, batch, *spatial, channels), pixels moved apart by the dilation."""
    moved = images.transpose(0, spec[0] + 1, *(axis + 1 for axis in spec[2:]), spec[1] + 1)
    if set(dilation) <= {1}:
        return moved
    gaps = [(0, 0, 0), (0, 0, 0), *((0, 0, step - 1) for step in dilation), (0, 0, 0)]
    return lax.pad(moved, jnp.zeros((), moved.dtype), gaps)


def _groups_last(grads: Array, per_group: int) -> Array:
    """(n, groups, size * inputs, outputs) -> (n, size, inputs, groups * outputs)."""
    n, groups, rows, columns = grads.shape
    split = grads.reshape(n, groups, rows // per_group, per_group, columns)
    return split.transpose(0, 2, 3, 1, 4).reshape(n, -1, per_group, groups * columns)


def gather_gradients(eqn: Any, which: int, data: Array, ct: Array) -> Gradients | None:
    """A look-up of whole rows of a table, as an embedding does."""
    if which != 0:
        return None
    numbers, mode = eqn.params["dimension_numbers"], str(eqn.params["mode"])
    words, features = eqn.invars[0].aval.shape[:1], eqn.invars[0].aval.shape[1:]
    batch_ndim = data.ndim - 2
    whole_rows = (
        tuple(numbers.start_index_map) == (0,)
        and tuple(numbers.collapsed_slice_dims) == (0,)
        and not numbers.operand_batching_dims
        and tuple(eqn.params["slice_sizes"]) == (1, *features)
        and tuple(numbers.offset_dims) == tuple(range(batch_ndim, batch_ndim + len(features)))
    )
    if not whole_rows:
        return None
    n, (length,) = len(data), words
    ids = _signed(data[..., 0].reshape(n, 1, -1), length)
    if "CLIP" in mode:
        ids = jnp.clip(ids, 0, length - 1)
    ids = jnp.where((ids >= 0) & (ids < length), ids, -1)
    columns = math.prod(features)

    def factors() -> Factors:
        right = ct.reshape(n, 1, -1, columns)
        return Factors(
            OneHot(ids, length), right, lambda grads: grads.reshape(n, length, *features)
        )

    return Gradients(factors, ids.shape[-1], (length, columns, 1))


def _signed(ids: Array, length: int) -> Array:
    """Returns numbers in a type that holds every number of a row, and -1."""
    if jnp.issubdtype(ids.dtype, jnp.unsignedinteger):
        most = min(length, jnp.iinfo(ids.dtype).max)
        return jnp.minimum(ids, jnp.asarray(most, ids.dtype)).astype(jnp.int32)
    return ids.astype(jnp.int32) if ids.dtype.itemsize < 4 else ids


GRADIENT_RULES: dict[str, GradientRule] = {
    "conv_general_dilated": conv_gradients,
    "dot_general": dot_general_gradients,
    "gather": gather_gradients,
}
"""The operations with a factor form."""
