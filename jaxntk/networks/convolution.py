"""Convolution of images: by the library, or as a product over patches where images are tiny.

Its derivative is written by hand (:mod:`.own_rules`): the gradient of the input is a convolution
with the flipped kernel, that of the kernel a product over shifted slices. Outputs have the dtype of
the input, derivatives are computed in that of the kernel.

Where images are narrower than the kernel, as at the end of small networks, most of what a CPU's
convolution looks at is padding; patches of them are one small product. Patches of larger images do
not stay in the cache, and these are left to the library.
"""

import itertools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.networks.conv_grads import ConvWindow, conv_weight_grad
from jaxntk.networks.own_rules import own_rule
from jaxntk.networks.precision import matmul_precision


def convolve(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int, padding: int
) -> Float[Array, "n h2 w2 o"]:
    """Convolves images with a square kernel, padded alike on every side as PyTorch does.

    Args:
        x: images, channels last.
        kernel: height, width, input channels, output channels.
        stride: the same along both axes.
        padding: zeros added on each of the four sides.

    Returns:
        The cross-correlation of images and kernel.
    """
    sides = ((padding, padding), (padding, padding))
    return cross_correlate(x, kernel.astype(x.dtype), stride=stride, padding=sides)


def _convolve_forward(
    x: Array, kernel: Array, stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel, stride, padding), (x.astype(kernel.dtype), kernel)


def _convolve_backward(
    stride: int, padding: int, saved: tuple[Array, Array], ct: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    narrow = ct.astype(kernel.dtype)
    weight_grad = conv_weight_grad(x, narrow, ConvWindow.square(kernel.shape[0], stride, padding))
    return input_grad(narrow, kernel, x.shape, stride, padding).astype(ct.dtype), weight_grad


def input_grad(
    ct: Float[Array, "n h2 w2 o"],
    kernel: Float[Array, "k k i o"],
    x_shape: tuple[int, ...],
    stride: int,
    padding: int,
) -> Float[Array, "n h w i"]:
    """Returns the gradient of a convolution's input.

    Args:
        ct: the cotangent of what it gave.
        kernel: of the convolution.
        x_shape: of its input.
        stride: of the convolution.
        padding: of the convolution.

    Returns:
        The gradient.
    """
    flipped = jnp.flip(kernel, axis=(0, 1)).transpose(0, 1, 3, 2)
    low = kernel.shape[0] - 1 - padding
    # What the forward windows left untouched at the far edge when the stride does not divide.
    high = [low + (x_shape[axis] + 2 * padding - kernel.shape[0]) % stride for axis in (1, 2)]
    sides = ((low, high[0]), (low, high[1]))
    return cross_correlate(ct, flipped, stride=1, padding=sides, dilation=stride)


convolve = own_rule(convolve, _convolve_forward, _convolve_backward, nondiff_argnums=(2, 3))


def cross_correlate(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    *,
    stride: int,
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Returns the cross-correlation of images and kernel.

    Args:
        x: images, channels last.
        kernel: height, width, input channels, output channels.
        stride: the same along both axes.
        padding: zeros before and after, along each axis.
        dilation: distance that the pixels of the images are moved apart, zeros coming in between.

    Returns:
        Images.
    """
    shape = _out_shape(x.shape, kernel.shape, stride, padding, dilation)
    if min(*x.shape[1:3], *shape[1:3]) < kernel.shape[0]:
        return _by_patches(x, kernel, shape, stride, padding, dilation)
    return _by_library(x, kernel, stride, padding, dilation)


def _out_shape(
    x: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: int,
    padding: tuple[tuple[int, int], ...],
    dilation: int,
) -> tuple[int, ...]:
    sides = [
        (dilation * (length - 1) + 1 + before + after - size) // stride + 1
        for length, size, (before, after) in zip(x[1:3], kernel[:2], padding, strict=True)
    ]
    return (x[0], *sides, kernel[3])


def _by_library(
    x: Array, kernel: Array, stride: int, padding: tuple[tuple[int, int], ...], dilation: int
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=matmul_precision(),
    )


def _by_patches(
    x: Array,
    kernel: Array,
    shape: tuple[int, ...],
    stride: int,
    padding: tuple[tuple[int, int], ...],
    dilation: int,
) -> Array:
    n, height, width, _ = shape
    gaps = [(before, after, dilation - 1) for before, after in padding]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *gaps, (0, 0, 0)])
    reach = (stride * (height - 1) + 1, stride * (width - 1) + 1)
    slices = [
        lax.slice(
            padded,
            (0, row, column, 0),
            (n, row + reach[0], column + reach[1], x.shape[3]),
            (1, stride, stride, 1),
        )
        for row, column in itertools.product(range(kernel.shape[0]), range(kernel.shape[1]))
    ]
    patches = jnp.concatenate(slices, axis=-1).reshape(n * height * width, -1)
    out = jnp.matmul(patches, kernel.reshape(-1, shape[3]), precision=matmul_precision())
    return out.reshape(shape)
