"""Any convolution, with a gradient of its input that is fast inside loops and branches on CPUs.

JAX writes the gradient of a convolution's input as a convolution whose kernel is described in
another order of axes. Inside ``scan``, ``cond`` and ``switch`` XLA's CPU backend runs that form
several times slower than outside (``benchmarks/convolution_rate.py``). Here the kernel is flipped
and transposed first, which is the same sum.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def fast_convolution(params: Mapping[str, Any]) -> Callable[[Array, Array], Array]:
    """Returns ``(images, kernel) -> images``, a convolution with the fast gradient.

    Args:
        params: those of the operation ``conv_general_dilated``; ``batch_group_count`` is 1.

    Returns:
        The convolution. Its kernel has the gradient that JAX has for it.
    """
    convolve = partial(_convolve, params)
    rule = jax.custom_vjp(convolve)

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolve(x, kernel), (x, kernel)

    def backward(saved: tuple[Array, Array], ct: Array) -> tuple[Array, Array]:
        x, kernel = saved
        (kernel_ct,) = jax.linear_transpose(partial(convolve, x), kernel)(ct)
        return _input_gradient(params, x.shape, kernel, ct).astype(x.dtype), kernel_ct

    rule.defvjp(forward, backward)
    return rule


def _convolve(params: Mapping[str, Any], x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        params["dimension_numbers"],
        params["feature_group_count"],
        params["batch_group_count"],
        params["precision"],
        params["preferred_element_type"],
    )


def _input_gradient(
    params: Mapping[str, Any], shape: tuple[int, ...], kernel: Array, ct: Array
) -> Array:
    lhs, rhs, out = params["dimension_numbers"]
    groups, spatial = params["feature_group_count"], len(lhs) - 2
    padding = _gradient_padding(params, shape, kernel.shape, ct.shape)
    # Height, width, .., input, output channels; then flipped, and the channels of groups exchanged.
    plain = kernel.transpose(*rhs[2:], rhs[1], rhs[0])
    *size, inputs, outputs = plain.shape
    apart = plain.reshape(*size, inputs, groups, outputs // groups)
    swapped = jnp.moveaxis(apart, -1, -3).swapaxes(-1, -2)
    flipped = jnp.flip(swapped, range(spatial)).reshape(*size, outputs // groups, groups * inputs)
    letters = (
        "DHW"[3 - spatial :] if spatial <= 3 else "".join(chr(97 + at) for at in range(spatial))
    )
    moved = ct.transpose(out[0], *out[2:], out[1])
    names = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    grad = lax.conv_general_dilated(
        moved,
        flipped.astype(ct.dtype),
        params["lhs_dilation"],
        padding,
        params["window_strides"],
        params["rhs_dilation"],
        names,
        groups,
        precision=params["precision"],
    )
    order = (lhs[0], *lhs[2:], lhs[1])
    return grad.transpose(*(order.index(axis) for axis in range(len(order))))


def _gradient_padding(
    params: Mapping[str, Any],
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
) -> list[tuple[int, int]]:
    """Returns how the cotangent is padded, so that each pixel meets what it was seen by."""
    lhs, rhs, out = params["dimension_numbers"]
    sides = []
    for at, (low, _) in enumerate(params["padding"]):
        length = params["lhs_dilation"][at] * (x_shape[lhs[2 + at]] - 1) + 1
        span = params["rhs_dilation"][at] * (kernel_shape[rhs[2 + at]] - 1) + 1
        reach = params["window_strides"][at] * (out_shape[out[2 + at]] - 1) + 1
        before = span - 1 - low
        sides.append((before, length + span - 1 - reach - before))
    return sides
