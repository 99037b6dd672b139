"""Weight gradients of convolutions, of a batch and of each example, from shifted slices.

The gradient of one example at kernel offset k is a matrix product over output positions t,

    G_i[k] = sum_t  x_i[stride * t + dilation * k - padding]  ct_i[t]^T

so a convolution is, for each offset, a dense layer over a shifted slice of its input. Where windows
do not overlap, it is one dense layer over patches.
"""

import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.networks.precision import matmul_precision

SLICES_IN_CACHE = 2**21
"""Bytes of shifted slices multiplied at once on a CPU, for each mapped cell.

One example at a time can leave cores without work, and whole batches do not stay in the cache.
"""


class ConvWindow(NamedTuple):
    """Where a convolution looks, along each spatial axis.

    Args:
        size: of the kernel.
        stride: of the window.
        padding: zeros before and after.
        dilation: distance between the taps of the kernel.
        groups: input and output channels fall into as many blocks that do not mix.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @classmethod
    def square(cls, size: int, stride: int, padding: int) -> "ConvWindow":
        """Returns the window of an image convolution that is alike along both axes.

        Args:
            size: of the kernel.
            stride: of the window.
            padding: zeros on each of the four sides.

        Returns:
            The window.
        """
        return cls((size,) * 2, (stride,) * 2, ((padding, padding),) * 2, (1, 1))

    def extended(self) -> "ConvWindow":
        """Returns the window with one more axis at the end, along which the kernel is one long.

        Returns:
            The window.
        """
        return ConvWindow(
            (*self.size, 1),
            (*self.stride, 1),
            (*self.padding, (0, 0)),
            (*self.dilation, 1),
            self.groups,
        )

    @property
    def is_patches(self) -> bool:
        """Whether windows lie side by side, all channels together."""
        return self.size == self.stride and set(self.dilation) == {1} and self.groups == 1


def conv_weight_grad(
    x: Float[Array, "n *in_shape"], ct: Float[Array, "n *out_shape"], window: ConvWindow
) -> Float[Array, "*kernel"]:
    """Returns the gradient of the whole batch with respect to the kernel.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        window: of the convolution.

    Returns:
        ``(*size, input channels / groups, output channels)``.
    """
    kernel = (*window.size, x.shape[-1] // window.groups, ct.shape[-1])
    if window.groups != 1:
        grads = [
            jnp.einsum("ntgi,ntgo->igo", tokens, flat_ct, precision=matmul_precision())
            for tokens, flat_ct in _slices(x, ct, window)
        ]
        return jnp.stack(grads).reshape(kernel)
    # One product over all offsets: a product for each of them is too small to run at a good rate.
    if window.stride[0] == 1:
        left, right = _shifted_both_ways(x, ct, window)
        grads = jnp.einsum("nti,nto->io", left, right, precision=matmul_precision())
        inner = window.size[1:]
        split = grads.reshape(*inner, x.shape[-1], window.size[0], ct.shape[-1])
        return jnp.moveaxis(split, -2, 0)
    pairs = _slices(x, ct, window)
    left = jnp.concatenate([tokens[:, :, 0] for tokens, _ in pairs], axis=-1)
    grads = jnp.einsum("nti,nto->io", left, pairs[0][1][:, :, 0], precision=matmul_precision())
    return grads.reshape(kernel)


def conv_example_grads(
    x: Float[Array, "n *in_shape"], ct: Float[Array, "n *out_shape"], window: ConvWindow
) -> Float[Array, "n p"]:
    """Returns the gradient of every example with respect to the kernel, one row an example.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        window: of the convolution.

    Returns:
        The gradients, their columns in an order of their own.
    """
    if window.stride[0] != 1 or window.groups != 1:
        grads = [
            jnp.einsum("ntgi,ntgo->ngio", tokens, flat_ct, precision=matmul_precision())
            for tokens, flat_ct in _slices(x, ct, window)
        ]
        return jnp.concatenate([grad.reshape(len(x), -1) for grad in grads], axis=1)

    def one_product(x: Array, ct: Array) -> Array:
        left, right = _shifted_both_ways(x, ct, window)
        return jnp.einsum("nti,nto->nio", left, right, precision=matmul_precision())

    def few_by_few(x: Array, ct: Array) -> Array:
        at_once = _examples_in_cache(x, ct, window)
        pairs = [part.reshape(-1, at_once, *part.shape[1:]) for part in (x, ct)]
        grads = lax.map(lambda pair: one_product(*pair), tuple(pairs))
        return grads.reshape(len(x), *grads.shape[2:])

    # Few examples' slices stay in the cache of a CPU; accelerators want the whole batch at once.
    grads = lax.platform_dependent(x, ct, cpu=few_by_few, default=one_product)
    return grads.reshape(len(x), -1)


def ordered_example_grads(
    x: Float[Array, "n *in_shape"], ct: Float[Array, "n *out_shape"], window: ConvWindow
) -> Float[Array, "n *kernel"]:
    """Returns the gradient of every example with respect to the kernel, in the kernel's shape.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        window: of the convolution.

    Returns:
        ``(n, *size, input channels / groups, output channels)``.
    """
    grads, n = conv_example_grads(x, ct, window), len(x)
    size, inputs, outputs = window.size, x.shape[-1] // window.groups, ct.shape[-1]
    if window.stride[0] != 1 or window.groups != 1:
        apart = grads.reshape(n, math.prod(size), window.groups, inputs, -1)
        return apart.transpose(0, 1, 3, 2, 4).reshape(n, *size, inputs, outputs)
    apart = grads.reshape(n, *size[1:], inputs, size[0], outputs)
    return jnp.moveaxis(apart, -2, 1)


def conv_patches(
    x: Float[Array, "n *in_shape"], ct: Float[Array, "n *out_shape"], window: ConvWindow
) -> tuple[Float[Array, "n g t i"], Float[Array, "n g t o"]]:
    """Returns what any convolution is a dense layer of: the patch under each window.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        window: of the convolution.

    Returns:
        For each group of channels the patches, a token a window (offsets first, then channels),
        and the cotangents of their outputs.
    """
    if window.is_patches:
        left, right = patches(x, ct, window)
        return left[:, None], right[:, None]
    pairs = _slices(x, ct, window)
    left = jnp.concatenate([tokens for tokens, _ in pairs], axis=-1)
    return left.transpose(0, 2, 1, 3), pairs[0][1].transpose(0, 2, 1, 3)


def patches(
    x: Float[Array, "n *in_shape"], ct: Float[Array, "n *out_shape"], window: ConvWindow
) -> tuple[Float[Array, "n t i"], Float[Array, "n t o"]]:
    """Returns what a convolution whose windows lie side by side is a dense layer of.

    Args:
        x: what the convolution received, channels last.
        ct: the cotangent of what it gave.
        window: of the convolution, with ``is_patches``.

    Returns:
        The patches, a token a window, and the cotangents of their outputs.
    """
    n, counts = len(x), ct.shape[1:-1]
    padded = _padded(x, window)
    covered = [count * size for count, size in zip(counts, window.size, strict=True)]
    seen = lax.slice(padded, (0,) * x.ndim, (n, *covered, x.shape[-1]))
    split = [part for pair in zip(counts, window.size, strict=True) for part in pair]
    spatial = len(counts)
    windows_first = (
        0,
        *range(1, 2 * spatial, 2),
        *range(2, 2 * spatial + 1, 2),
        2 * spatial + 1,
    )
    apart = seen.reshape(n, *split, x.shape[-1]).transpose(windows_first)
    return apart.reshape(n, math.prod(counts), -1), ct.reshape(n, math.prod(counts), -1)


def _examples_in_cache(x: Array, ct: Array, window: ConvWindow) -> int:
    """Returns how many examples' shifted slices take up to ``SLICES_IN_CACHE``; it divides n."""
    columns = math.prod(window.size[1:]) * x.shape[-1] + window.size[0] * ct.shape[-1]
    bytes_each = x.shape[1] * math.prod(ct.shape[2:-1]) * columns * x.dtype.itemsize
    most = max(1, SLICES_IN_CACHE // bytes_each)
    return max(few for few in range(1, len(x) + 1) if len(x) % few == 0 and few <= most)


def _shifted_both_ways(x: Array, ct: Array, window: ConvWindow) -> tuple[Array, Array]:
    """Returns factors (n, tokens, a), (n, tokens, b) whose product holds every kernel offset.

    A shift of the input against the cotangent along the first spatial axis may be given to the
    cotangent instead, if the stride is 1. One product then has the offsets of that axis in its
    columns and the others in its rows, and is large enough to run at a good rate.
    """
    n, height, channels = len(x), x.shape[1], x.shape[-1]
    out_shape, reach = ct.shape[1:-1], window.dilation[0] * (window.size[0] - 1)
    low = window.padding[0][0]
    sides = [(reach - low, height - out_shape[0] + low), *[(0, 0)] * (len(out_shape) - 1)]
    zero = jnp.zeros((), ct.dtype)
    # Negative padding cuts off rows that meet no row of the input.
    moved = lax.pad(ct, zero, [(0, 0, 0), *[(lo, hi, 0) for lo, hi in sides], (0, 0, 0)])
    right = [
        lax.slice_in_dim(moved, reach - window.dilation[0] * at, None, axis=1)[:, :height]
        for at in range(window.size[0])
    ]
    across = ConvWindow(
        (1, *window.size[1:]),
        window.stride,
        ((0, 0), *window.padding[1:]),
        window.dilation,
    )
    inner = jnp.zeros((n, height, *out_shape[1:], 1), ct.dtype)
    left = [tokens.reshape(n, -1, channels) for tokens, _ in _slices(x, inner, across)]
    columns = jnp.concatenate(right, axis=-1)
    return jnp.concatenate(left, axis=-1), columns.reshape(n, -1, columns.shape[-1])


def _padded(x: Array, window: ConvWindow) -> Array:
    """The input with zeros around it; negative padding cuts off rows."""
    around = [(low, high, 0) for low, high in window.padding]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def _slices(x: Array, ct: Array, window: ConvWindow) -> list[tuple[Array, Array]]:
    """Input and cotangent as (n, tokens, groups, channels), one pair for each kernel offset."""
    n, channels, groups = len(x), x.shape[-1], window.groups
    out_shape = ct.shape[1:-1]
    padded = _padded(x, window)
    flat_ct = ct.reshape(n, math.prod(out_shape), groups, ct.shape[-1] // groups)
    pairs = []
    for offset in itertools.product(*(range(size) for size in window.size)):
        start = [step * at for step, at in zip(window.dilation, offset, strict=True)]
        stop = [
            first + stride * (length - 1) + 1
            for first, stride, length in zip(start, window.stride, out_shape, strict=True)
        ]
        part = lax.slice(padded, (0, *start, 0), (n, *stop, channels), (1, *window.stride, 1))
        pairs.append((part.reshape(n, -1, groups, channels // groups), flat_ct))
    return pairs
