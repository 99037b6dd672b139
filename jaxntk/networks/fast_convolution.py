"""Any convolution, with gradients that are fast inside loops and branches on CPUs.

JAX writes the gradient of a convolution's input as a convolution whose kernel is described in
another order of axes, and that of its kernel as one whose window is as large as the images. Inside
``scan``, ``cond`` and ``switch`` XLA's CPU backend runs these forms many times slower than outside
(``benchmarks/switched_convolution.py``). Here the kernel is flipped and transposed first, and its
gradient made of products over shifted slices of the images, which are the same sums.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxntk.networks.conv_grads import ConvWindow, conv_weight_grad
from jaxntk.networks.forward_mode import in_forward_mode
from jaxntk.networks.own_rules import mark


def fast_convolution(params: Mapping[str, Any]) -> Callable[[Array, Array], Array]:
    """Returns ``(images, kernel) -> images``, a convolution with the fast gradient.

    Args:
        params: those of the operation ``conv_general_dilated``, of a kind that :func:`is_fast`.

    Returns:
        The convolution.
    """

    def convolve(x: Array, kernel: Array) -> Array:
        # The derivative is that of the convolution, so that kernels may look inside.
        return mark(_convolve(params, x, kernel))

    rule = jax.custom_vjp(convolve)

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolve(x, kernel), (x, kernel)

    def backward(saved: tuple[Array, Array], ct: Array) -> tuple[Array, Array]:
        x, kernel = saved

        def by_library(x: Array, ct: Array) -> Array:
            (kernel_ct,) = jax.linear_transpose(partial(_convolve, params, x), kernel)(ct)
            return kernel_ct

        by_slices = partial(_kernel_gradient, params, kernel.shape)
        kernel_ct = lax.platform_dependent(x, ct, cpu=by_slices, default=by_library)
        return (
            _input_gradient(params, x.shape, kernel, ct).astype(x.dtype),
            kernel_ct.astype(kernel.dtype),
        )

    rule.defvjp(forward, backward)
    return rule


def is_fast(params: Mapping[str, Any]) -> bool:
    """Tells whether a convolution is of a kind that :func:`fast_convolution` knows."""
    return params["batch_group_count"] == 1 and len(params["window_strides"]) > 0


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """``jax.lax.conv_general_dilated``, with a gradient that is fast inside loops and branches.

    Args:
        lhs: images.
        rhs: kernel.
        window_strides: as there, like all that follow.
        padding: as there.
        lhs_dilation: as there.
        rhs_dilation: as there.
        dimension_numbers: as there.
        feature_group_count: as there.
        batch_group_count: as there.
        precision: as there.
        preferred_element_type: as there.

    Returns:
        Images. JAX has no forward mode through it outside of
        :func:`jaxntk.networks.forward_mode.forward_mode`.

    Example:
        >>> x, kernel = jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1))
        >>> numbers = ("NHWC", "HWIO", "NHWC")
        >>> conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)[0, :, :, 0]
        Array([[4., 4.],
               [4., 4.]], dtype=float32)
    """
    options = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "preferred_element_type": preferred_element_type,
    }
    if in_forward_mode() or not is_fast(options):
        return lax.conv_general_dilated(lhs, rhs, **options)
    # JAX itself puts the options into the form that the operation has.
    program = jax.make_jaxpr(partial(lax.conv_general_dilated, **options))(lhs, rhs)
    (eqn,) = program.eqns
    return fast_convolution(eqn.params)(lhs, rhs)


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


def _kernel_gradient(
    params: Mapping[str, Any], shape: tuple[int, ...], x: Array, ct: Array
) -> Array:
    """Returns the kernel's gradient as products over shifted slices of the images."""
    lhs, rhs, out = params["dimension_numbers"]
    images = x.transpose(lhs[0], *lhs[2:], lhs[1])
    if set(params["lhs_dilation"]) - {1}:
        gaps = [(0, 0, 0), *((0, 0, step - 1) for step in params["lhs_dilation"]), (0, 0, 0)]
        images = lax.pad(images, jnp.zeros((), x.dtype), gaps)
    outs = ct.transpose(out[0], *out[2:], out[1])
    window = ConvWindow(
        tuple(shape[axis] for axis in rhs[2:]),
        tuple(params["window_strides"]),
        tuple(map(tuple, params["padding"])),
        tuple(params["rhs_dilation"]),
        params["feature_group_count"],
    )
    grad = conv_weight_grad(images, outs, window)
    order = (*rhs[2:], rhs[1], rhs[0])
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
