"""Differentiation rules that turn the gradient with respect to a zero matrix into a Gram matrix.

Every linear operation here takes an extra input ``gram`` that does not change its output. Its
cotangent is *defined* to be the operation's own neural tangent kernel,

    gram_bar[i, j] = <G_i, G_j>,    G_i = d(sum of what is pulled back) / d(parameter), example i,

built from the operation's inputs and the incoming cotangents. Differentiating the sum of a
network's outputs with respect to all ``gram`` inputs therefore returns the kernel of every layer
from one forward and one backward pass, without an n x P Jacobian. The result is exact when the
examples of a batch do not interact (batch normalisation with statistics held constant,
layer normalisation).

The shape of ``gram`` says which block is wanted, for a batch of n examples:

* ``(n, n)``: the kernel of the batch with itself;
* ``(a, b)`` with ``a + b == n``: the block of the first ``a`` examples against the last ``b``.

A ``gram`` of ``None`` means that no kernel is wanted for that parameter.

Outputs have the dtype of the input, derivatives that of the parameter, and Gram matrices that of
``gram``, usually the parameter's too. Activations in float64 over parameters in float32 thus give
float32 kernels of exactly the right activation pattern: in float32 alone a few inputs of a ReLU
change sign by rounding.

The input gradient of a convolution is written as a plain convolution with the flipped kernel and
its weight gradient as contractions over shifted slices: XLA's CPU backend runs automatic
differentiation's own convolution gradients far slower inside ``scan`` and ``switch`` than outside.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from jaxntk.networks.conv_grads import (
    ConvWindow,
    conv_example_grads,
    conv_weight_grad,
    patches,
)
from jaxntk.networks.convolution import convolve
from jaxntk.networks.forward_mode import in_forward_mode
from jaxntk.networks.precision import matmul_precision

Gram = Float[Array, "rows columns"]
GRAM_RULE = "jaxntk_gram_rule"
"""Name in the traced program of what one of our rules gives; others give no kernel."""
Place = Float[Array, "..."]
"""Zeros of the shape of the kernel wanted. Without differentiation any shape will do."""


def _with_rule(
    primal: Callable[..., Array],
    fwd: Callable[..., Any],
    bwd: Callable[..., Any],
    nondiff_argnums: tuple[int, ...] = (),
) -> Callable[..., Array]:
    @wraps(primal)
    def named(*arguments: Any) -> Array:
        return name_rule(primal(*arguments))

    rule = jax.custom_vjp(named, nondiff_argnums=nondiff_argnums)
    rule.defvjp(fwd, bwd)

    @wraps(primal)
    def operation(*arguments: Any) -> Array:
        return primal(*arguments) if in_forward_mode() else rule(*arguments)

    return operation


def wide(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the dtype in which many numbers are added up.

    Args:
        dtype: of the numbers.

    Returns:
        The same, but float32 where it is shorter: a sum in bfloat16 stops growing at 256 times
        what is added.

    Example:
        >>> wide(jnp.dtype("bfloat16")).name, wide(jnp.dtype("float64")).name
        ('float32', 'float64')
    """
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")


def name_rule(out: Array) -> Array:
    """Marks what a function with a Gram rule returns, so that the rule is known as one of ours.

    Args:
        out: an array among its results.

    Returns:
        The same; nothing is computed.
    """
    return checkpoint_name(out, GRAM_RULE)


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
    window: ConvWindow,
    shape: tuple[int, ...],
) -> Gram:
    """Returns the Gram matrix of the gradients of a convolution's kernel.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        window: of the convolution.
        shape: the block wanted, as in :func:`gram_block`.

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


def add_bias(
    x: Float[Array, "n *shape"], bias: Float[Array, "*trailing"], gram: Place | None
) -> Float[Array, "n *shape"]:
    """Adds a bias over the last axis, or over as many of the last axes as it has.

    Args:
        x: the input.
        bias: one value a channel, or, say, one a token and channel.
        gram: where the kernel of the bias is read off, or None.

    Returns:
        ``x + bias``.
    """
    del gram
    return x + _over_last(bias, x)


def _add_bias_fwd(
    x: Array, bias: Array, gram: Gram | None
) -> tuple[Array, tuple[Array, Gram | None]]:
    return add_bias(x, bias, gram), (bias, gram)


def _add_bias_bwd(saved: tuple[Array, Gram | None], ct: Array) -> tuple[Array, Array, Gram | None]:
    bias, gram = saved
    grad = sum_to_trailing(ct.astype(wide(bias.dtype)), bias.shape)
    grad_gram = None if gram is None else gram_block(grad.astype(gram.dtype), gram.shape)
    return ct, grad.sum(axis=0).reshape(bias.shape).astype(bias.dtype), grad_gram


add_bias = _with_rule(add_bias, _add_bias_fwd, _add_bias_bwd)


def multiply_scale(
    x: Float[Array, "n *spatial c"], scale: Float[Array, " c"], gram: Place | None
) -> Float[Array, "n *spatial c"]:
    """Multiplies by a scale over the last axis.

    Args:
        x: the input.
        scale: one value a channel.
        gram: where the kernel of the scale is read off, or None.

    Returns:
        ``x * scale``.
    """
    del gram
    return x * _over_last(scale, x)


def _multiply_scale_fwd(
    x: Array, scale: Array, gram: Gram | None
) -> tuple[Array, tuple[Array, Array, Gram | None]]:
    return multiply_scale(x, scale, gram), (x, scale, gram)


def _multiply_scale_bwd(
    saved: tuple[Array, Array, Gram | None], ct: Array
) -> tuple[Array, Array, Gram | None]:
    x, scale, gram = saved
    grad = sum_to_trailing((ct * x).astype(wide(scale.dtype)), scale.shape)
    grad_gram = None if gram is None else gram_block(grad.astype(gram.dtype), gram.shape)
    return ct * _over_last(scale, ct), grad.sum(axis=0).astype(scale.dtype), grad_gram


multiply_scale = _with_rule(multiply_scale, _multiply_scale_fwd, _multiply_scale_bwd)


def dense(
    x: Float[Array, "n t i"], kernel: Float[Array, "i o"], gram: Place | None
) -> Float[Array, "n t o"]:
    """Multiplies every token of every example by one matrix.

    Args:
        x: the input.
        kernel: the matrix.
        gram: where the kernel's own tangent kernel is read off, or None.

    Returns:
        ``x @ kernel``.
    """
    del gram
    return jnp.einsum("nti,io->nto", x, kernel.astype(x.dtype), precision=matmul_precision())


def _dense_fwd(
    x: Array, kernel: Array, gram: Gram | None
) -> tuple[Array, tuple[Array, Array, Gram | None]]:
    return dense(x, kernel, gram), (x.astype(kernel.dtype), kernel, gram)


def _dense_bwd(
    saved: tuple[Array, Array, Gram | None], ct: Array
) -> tuple[Array, Array, Gram | None]:
    x, kernel, gram = saved
    narrow = ct.astype(kernel.dtype)
    return (
        jnp.einsum("nto,io->nti", narrow, kernel, precision=matmul_precision()).astype(ct.dtype),
        jnp.einsum("nti,nto->io", x, narrow, precision=matmul_precision()),
        None if gram is None else outer_gram(*_as_kernel(gram, x, narrow), gram.shape),
    )


dense = _with_rule(dense, _dense_fwd, _dense_bwd)


def conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    gram: Place | None,
    stride: int,
    padding: int,
) -> Float[Array, "n h2 w2 o"]:
    """Convolves images with a square kernel, padded alike on every side as PyTorch does.

    Args:
        x: images, channels last.
        kernel: height, width, input channels, output channels.
        gram: where the kernel's own tangent kernel is read off, or None.
        stride: the same along both axes.
        padding: zeros added on each of the four sides.

    Returns:
        The cross-correlation of images and kernel.
    """
    del gram
    sides = ((padding, padding), (padding, padding))
    return convolve(x, kernel.astype(x.dtype), stride=stride, padding=sides)


def _conv_fwd(
    x: Array, kernel: Array, gram: Gram | None, stride: int, padding: int
) -> tuple[Array, tuple[Array, Array, Gram | None]]:
    return conv(x, kernel, gram, stride, padding), (x.astype(kernel.dtype), kernel, gram)


def _conv_bwd(
    stride: int, padding: int, saved: tuple[Array, Array, Gram | None], ct: Array
) -> tuple[Array, Array, Gram | None]:
    x, kernel, gram = saved
    narrow = ct.astype(kernel.dtype)
    window = ConvWindow.square(kernel.shape[0], stride, padding)
    input_grad = _conv_input_grad(narrow, kernel, x.shape, stride, padding)
    weight_grad = conv_weight_grad(x, narrow, window)
    if gram is None:
        return input_grad.astype(ct.dtype), weight_grad, None
    pair = _as_kernel(gram, x, narrow)
    return input_grad.astype(ct.dtype), weight_grad, conv_gram(*pair, window, gram.shape)


def _conv_input_grad(
    ct: Array, kernel: Array, x_shape: tuple[int, ...], stride: int, padding: int
) -> Array:
    flipped = jnp.flip(kernel, axis=(0, 1)).transpose(0, 1, 3, 2)
    low = kernel.shape[0] - 1 - padding
    # What the forward windows left untouched at the far edge when the stride does not divide.
    high = [low + (x_shape[axis] + 2 * padding - kernel.shape[0]) % stride for axis in (1, 2)]
    return convolve(
        ct, flipped, stride=1, padding=((low, high[0]), (low, high[1])), dilation=stride
    )


conv = _with_rule(conv, _conv_fwd, _conv_bwd, nondiff_argnums=(3, 4))


def _as_kernel(gram: Gram, x: Array, ct: Array) -> tuple[Array, Array]:
    """Takes both factors of a kernel to its dtype."""
    return x.astype(gram.dtype), ct.astype(gram.dtype)


def _over_last(vector: Array, like: Array) -> Array:
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - vector.ndim) + vector.shape)
