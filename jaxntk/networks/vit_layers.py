"""Layers of vision transformers, at the largest size with the rest masked.

An architecture narrower than the largest is the largest with zeros in the channels it lacks: what
is masked is 0 on the way forward and receives no cotangent on the way back, so that outputs and
kernels are those of the narrow network. Means and variances are taken over its own channels.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxntk.errors import InputError
from jaxntk.networks.initializers import initialization, normal
from jaxntk.networks.layers import add_bias, dense, over_last
from jaxntk.networks.precision import matmul_precision

LAYER_NORM_EPSILON = 1e-6
SPREAD = 0.02
"""Standard deviation that weights, tokens and positions are drawn with (DeiT, AutoFormer)."""

# The published draws are cut off at 100 standard deviations, which is nowhere.
draw_weights = normal(SPREAD)


class Affine(NamedTuple):
    """A matrix and the shift after it, or the scale and shift of a layer norm."""

    weight: Array
    bias: Array


class AffineParameters(nn.Module):
    """Declares the parameters of an affine map without applying it.

    A network that skips blocks needs their parameters outside what is skipped.
    """

    inputs: int
    features: int

    @nn.compact
    def __call__(self, like: Float[Array, "..."]) -> Affine:
        """Returns kernel and bias in the dtype of ``like``."""
        kernel = self.param("kernel", draw_weights, (self.inputs, self.features), like.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), like.dtype)
        return Affine(kernel, bias)


class NormParameters(nn.Module):
    """Declares scale and shift of a layer norm without applying it."""

    features: int

    @nn.compact
    def __call__(self, like: Float[Array, "..."]) -> Affine:
        """Returns scale and bias in the dtype of ``like``."""
        shape = (self.features,)
        return Affine(
            self.param("scale", nn.initializers.ones, shape, like.dtype),
            self.param("bias", nn.initializers.zeros, shape, like.dtype),
        )


def affine(x: Float[Array, "n t i"], parameters: Affine) -> Float[Array, "n t o"]:
    """Multiplies every token by one matrix and shifts it.

    Args:
        x: tokens.
        parameters: what :class:`AffineParameters` declared.

    Returns:
        ``x @ kernel + bias``.
    """
    kernel, bias = parameters
    return add_bias(dense(x, kernel), bias)


def layer_norm(
    x: Float[Array, "n t c"], parameters: Affine, active: Bool[Array, " c"]
) -> Float[Array, "n t c"]:
    """Standardises every token over its active channels, scales and shifts them.

    Args:
        x: tokens, 0 in the other channels.
        parameters: what :class:`NormParameters` declared.
        active: the channels that there are.

    Returns:
        Tokens, 0 in the other channels.
    """
    scale, bias = parameters
    mask = active.astype(x.dtype).reshape(1, 1, -1)
    count = mask.sum()
    centred = (x - x.sum(axis=-1, keepdims=True) / count) * mask
    variance = jnp.square(centred).sum(axis=-1, keepdims=True) / count
    out = centred * lax.rsqrt(variance + jnp.asarray(LAYER_NORM_EPSILON, x.dtype))
    return add_bias(out * over_last(scale, out), bias) * mask


def attention(qkv: Float[Array, "n t 3 d"], heads: int) -> Float[Array, "n t d"]:
    """Mixes tokens: ``softmax(q k^T / sqrt(d / heads)) v`` in every head (Vaswani et al. 2017).

    Args:
        qkv: queries, keys and values, the heads one after the other.
        heads: that divide d.

    Returns:
        What the heads give, one after the other.
    """
    n, t, _, d = qkv.shape
    query, key, value = (qkv[:, :, part].reshape(n, t, heads, d // heads) for part in range(3))
    precision = matmul_precision()
    dots = jnp.einsum("nthd,nshd->nhts", query, key, precision=precision)
    weights = jax.nn.softmax(dots / jnp.asarray(d // heads, qkv.dtype) ** 0.5, axis=-1)
    return jnp.einsum("nhts,nshd->nthd", weights, value, precision=precision).reshape(n, t, d)


def patches(
    x: Float[Array, "n h w c"], size: int, stride: int | None = None
) -> Float[Array, "n t p"]:
    """Cuts images into squares; what is left at the right and at the bottom is dropped.

    Args:
        x: images, channels last.
        size: of a square.
        stride: from one to the next, which divides the size; None for the size itself.

    Returns:
        A row of ``size * size * c`` numbers a square: rows, columns, channels; squares row by row.

    Raises:
        InputError: an image smaller than a square, or a stride that does not divide the size.
    """
    n, h, w, c = x.shape
    stride = stride or size
    if min(h, w) < size:
        raise InputError(
            "x", f"images of {h} x {w}", f"give at least {size} pixels a side, a patch"
        )
    if size % stride:
        raise InputError("stride", stride, f"give a divisor of the patch size {size}")
    rows, columns, steps = (h - size) // stride + 1, (w - size) // stride + 1, size // stride
    height, width = rows + steps - 1, columns + steps - 1
    x = x[:, : height * stride, : width * stride]
    cells = x.reshape(n, height, stride, width, stride, c)
    down = jnp.stack([cells[:, step : step + rows] for step in range(steps)], axis=2)
    both = jnp.stack([down[:, :, :, :, step : step + columns] for step in range(steps)], axis=5)
    # (n, rows, step down, stride, columns, step right, stride, c)
    squares = both.transpose(0, 1, 4, 2, 3, 5, 6, 7)
    return squares.reshape(n, rows * columns, size * size * c)


class PatchEmbedding(nn.Module):
    """Makes tokens of images: an affine map of every patch, drawn as PyTorch draws convolutions."""

    features: int
    size: int
    stride: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n t f"]:
        """Applies the map."""
        cut = patches(x, self.size, self.stride)
        draw = initialization("pytorch")
        shape = (cut.shape[-1], self.features)
        kernel = self.param("kernel", draw.kernel, shape, x.dtype)
        bias = self.param("bias", draw.bias(shape[0]), shape[1:], x.dtype)
        return affine(cut, Affine(kernel, bias))


class Positions(nn.Module):
    """Puts a class token before the others and adds a table of positions to all of them."""

    @nn.compact
    def __call__(self, tokens: Float[Array, "n t c"]) -> Float[Array, "n t+1 c"]:
        """Returns one token more."""
        n, t, c = tokens.shape
        first = self.param("class_token", draw_weights, (c,), tokens.dtype)
        table = self.param("table", draw_weights, (t + 1, c), tokens.dtype)
        first = add_bias(jnp.zeros((n, 1, c), tokens.dtype), first)
        return add_bias(jnp.concatenate([first, tokens], axis=1), table)
