"""Operations of a routed population that tell their kernel (:mod:`.nasbench201_routed`).

Every operation takes, beside its input and its weight, a *place*: zeros that do not change its
output, and whose cotangent is *defined* to be the operation's own neural tangent kernel,

    place_bar[i, j] = <G_i, G_j>,    G_i = d(sum of what is pulled back) / d(weight), example i,

built from the operation's input and the incoming cotangent. One place threaded through all
operations so collects the sum of their kernels, as cotangents add up. It is exact when the examples
of a batch do not interact; the weights are constants. Other networks need none of this: their
program is traced and read (:mod:`jaxntk.kernels.traced`), but that sees a weight that all cells
share as one, and here each cell has its kernel.

The shape of a place says which block is wanted, for a batch of n examples:

* ``(n, n)``: the kernel of the batch with itself;
* ``(a, b)`` with ``a + b == n``: the block of the first ``a`` examples against the last ``b``.

A place of ``None`` means that the weight does not enter. Kernels have the dtype of their place.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxntk.networks import layers
from jaxntk.networks.conv_grads import ConvWindow, conv_example_grads, patches
from jaxntk.networks.convolution import convolve
from jaxntk.networks.gram_block import Gram, gram_block, split_block
from jaxntk.networks.precision import matmul_precision

Place = Float[Array, "rows columns"]
Reader = Callable[[Array, Array, tuple[int, ...]], Gram]
"""``(input, cotangent of the output, shape of the place) -> kernel``."""


def add_bias(
    x: Float[Array, "n *shape"], bias: Float[Array, "*trailing"], place: Place | None
) -> Float[Array, "n *shape"]:
    """Adds a bias over the last axis, or over as many of the last axes as it has.

    Args:
        x: the input.
        bias: one value a channel, or, say, one a token and channel.
        place: where the kernel of the bias is read off, or None.

    Returns:
        ``x + bias``.
    """

    def kernel(x: Array, ct: Array, shape: tuple[int, ...]) -> Gram:
        return gram_block(sum_to_trailing(ct, bias.shape), shape)

    return _read(layers.add_bias(x, bias), x, place, kernel)


def multiply_scale(
    x: Float[Array, "n *spatial c"], scale: Float[Array, " c"], place: Place | None
) -> Float[Array, "n *spatial c"]:
    """Multiplies by a scale over the last axis.

    Args:
        x: the input.
        scale: one value a channel.
        place: where the kernel of the scale is read off, or None.

    Returns:
        ``x * scale``.
    """

    def kernel(x: Array, ct: Array, shape: tuple[int, ...]) -> Gram:
        return gram_block(sum_to_trailing(ct * x, scale.shape), shape)

    return _read(x * layers.over_last(scale, x), x, place, kernel)


def dense(
    x: Float[Array, "n t i"], kernel: Float[Array, "i o"], place: Place | None
) -> Float[Array, "n t o"]:
    """Multiplies every token of every example by one matrix.

    Args:
        x: the input.
        kernel: the matrix.
        place: where the matrix's own tangent kernel is read off, or None.

    Returns:
        ``x @ kernel``.
    """
    return _read(layers.dense(x, kernel), x, place, outer_gram)


def conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    place: Place | None,
    stride: int,
    padding: int,
) -> Float[Array, "n h2 w2 o"]:
    """Convolves images with a square kernel, padded alike on every side as PyTorch does.

    Args:
        x: images, channels last.
        kernel: height, width, input channels, output channels.
        place: where the kernel's own tangent kernel is read off, or None.
        stride: the same along both axes.
        padding: zeros added on each of the four sides.

    Returns:
        The cross-correlation of images and kernel.
    """
    window = ConvWindow.square(kernel.shape[0], stride, padding)
    return _read(convolve(x, kernel, stride, padding), x, place, partial(conv_gram, window=window))


def _read(out: Array, x: Array, place: Place | None, kernel: Reader) -> Array:
    """Returns an output unchanged, with a place whose cotangent is the kernel."""
    if place is None:
        return out

    @jax.custom_vjp
    def behind(out: Array, x: Array, place: Place) -> Array:
        return out

    def backward(saved: tuple[Array, Place], ct: Array) -> tuple[Array, None, Gram]:
        x, place = saved
        return ct, None, kernel(x.astype(place.dtype), ct.astype(place.dtype), place.shape)

    behind.defvjp(lambda out, x, place: (out, (x, place)), backward)
    return behind(out, x, place)


def outer_gram(
    a_NxTxI: Float[Array, "n t i"], b_NxTxO: Float[Array, "n t o"], shape: tuple[int, ...]
) -> Gram:
    r"""Returns the Gram matrix of the gradients :math:`G_i = \sum_t a_{it} b_{it}^T`.

    Two exact ways, and the cheaper by its floating-point operations is taken (shapes are static):
    form every ``G_i`` (``n t i o + n^2 i o``), or use
    :math:`\langle G_i, G_j\rangle = \sum_{ts} (a_{it}\cdot a_{js})(b_{it}\cdot b_{js})`
    (``n^2 t^2 (i + o)``).

    Args:
        a_NxTxI: what the layer received, for each example and token.
        b_NxTxO: the cotangent of what it gave.
        shape: the block wanted, as in :func:`gram_block`.

    Returns:
        The block, of that shape.

    Raises:
        ValueError: ``shape`` is no block of the batch.
    """
    n, t, i = a_NxTxI.shape
    o = b_NxTxO.shape[-1]
    rows, columns = shape
    if n * t * i * o + rows * columns * i * o <= rows * columns * t * t * (i + o):
        grad = jnp.einsum("nti,nto->nio", a_NxTxI, b_NxTxO, precision=matmul_precision())
        return gram_block(grad.reshape(n, i * o), shape)
    a_left, a_right = split_block(a_NxTxI, shape)
    b_left, b_right = split_block(b_NxTxO, shape)
    a_dots = jnp.einsum("nti,msi->nmts", a_left, a_right, precision=matmul_precision())
    b_dots = jnp.einsum("nto,mso->nmts", b_left, b_right, precision=matmul_precision())
    return jnp.sum(a_dots * b_dots, axis=(2, 3))


def conv_gram(
    x: Float[Array, "n *in_shape"],
    ct: Float[Array, "n *out_shape"],
    shape: tuple[int, ...],
    window: ConvWindow,
) -> Gram:
    """Returns the Gram matrix of the gradients of a convolution's kernel.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        shape: the block wanted, as in :func:`gram_block`.
        window: of the convolution.

    Returns:
        The block, of that shape.

    Raises:
        ValueError: ``shape`` is no block of the batch.
    """
    if window.is_patches:
        return outer_gram(*patches(x, ct, window), shape)
    return gram_block(conv_example_grads(x, ct, window), shape)


def sum_to_trailing(
    per_element: Float[Array, "n *shape"], trailing: tuple[int, ...]
) -> Float[Array, "n p"]:
    """Sums what belongs to one entry of a parameter that was broadcast over leading axes.

    Args:
        per_element: one number for each element of a layer's output.
        trailing: shape of the parameter, the last axes of the output.

    Returns:
        One row an example, one column an entry of the parameter.
    """
    n, size = per_element.shape[0], math.prod(trailing)
    return per_element.reshape(n, -1, size).sum(axis=1)
