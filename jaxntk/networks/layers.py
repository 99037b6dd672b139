"""Layers of convolutional networks: convolutions, normalisation with its modes, pooling."""

from enum import StrEnum
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.networks.convolution import convolve
from jaxntk.networks.precision import matmul_precision

BATCH_NORM_EPSILON = 1e-5


class Normalizer(StrEnum):
    """Where one batch-normalisation layer takes its mean and variance from.

    ``BATCH``: from the batch, differentiated through (examples interact). ``FROZEN``: from the
    batch, held constant under differentiation (examples do not interact). ``STORED``: from the
    collection ``batch_stats`` (examples do not interact).
    """

    BATCH = "batch"
    FROZEN = "frozen"
    STORED = "stored"


class Convolution(NamedTuple):
    """The parameters of a convolution.

    Args:
        kernel: height, width, input channels, output channels.
        bias: one value an output channel, or None.
    """

    kernel: Float[Array, "k k i o"]
    bias: Float[Array, " o"] | None


class ConvParameters(nn.Module):
    """Declares a convolution's kernel and, on request, its bias, without applying them.

    A switch between operations needs the parameters of all of them outside its branches.
    """

    features: int
    size: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Convolution:
        """Returns kernel and bias for an input like ``x``, in its dtype."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, x.dtype)
        if self.bias_init is None:
            return Convolution(kernel, None)
        return Convolution(kernel, self.param("bias", self.bias_init, (self.features,), x.dtype))


def apply_conv(
    x: Float[Array, "n h w i"],
    convolution: Convolution,
    *,
    stride: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Convolves with "same" padding the PyTorch way: (k - 1) / 2 zeros on every side.

    Args:
        x: images, channels last.
        convolution: what :class:`ConvParameters` declared.
        stride: the same along both axes.

    Returns:
        The convolved images, plus the bias if there is one.
    """
    kernel, bias = convolution
    size = kernel.shape[0]
    if size == 1 and stride == 1:
        n, h, w, channels = x.shape
        out = dense(x.reshape(n, h * w, channels), kernel[0, 0]).reshape(n, h, w, -1)
    else:
        out = convolve(x, kernel, stride, (size - 1) // 2)
    return out if bias is None else add_bias(out, bias)


def dense(
    x: Float[Array, "n *tokens i"], kernel: Float[Array, "i o"]
) -> Float[Array, "n *tokens o"]:
    """Returns ``x @ kernel``, in the dtype of x."""
    return jnp.einsum("...i,io->...o", x, kernel.astype(x.dtype), precision=matmul_precision())


def add_bias(x: Float[Array, "*shape"], bias: Float[Array, "*last"]) -> Float[Array, "*shape"]:
    """Adds a bias over the last axis, or over as many of the last axes as it has."""
    return x + over_last(bias, x)


def over_last(vector: Array, like: Array) -> Array:
    """Returns an array in the dtype of another, with leading axes of one until it has as many."""
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - vector.ndim) + vector.shape)


class Dense(nn.Module):
    """An affine map of vectors, ``x @ kernel + bias``."""

    features: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        """Applies the map."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), x.dtype)
        bias = self.param("bias", self.bias_init, (self.features,), x.dtype)
        return add_bias(dense(x, kernel), bias)


def normalize(
    x: Float[Array, "n h w c"],
    normalizer: Normalizer,
    stored: tuple[Float[Array, " c"], Float[Array, " c"]] | None = None,
    axis_name: str | None = None,
) -> tuple[Float[Array, "n h w c"], tuple[Float[Array, " c"], Float[Array, " c"]]]:
    """Standardises each channel: ``(x - mean) / sqrt(var + 1e-5)``, with the biased variance.

    Args:
        x: images, channels last.
        normalizer: where mean and variance come from.
        stored: mean and variance, for ``Normalizer.STORED``.
        axis_name: name of a ``jax.vmap`` axis that the rest of the batch is along, or None.

    Returns:
        The standardised images, and the mean and variance that were used.
    """
    if normalizer is Normalizer.STORED:
        assert stored is not None
        mean, var = stored
    else:
        mean = _mean(x, axis_name)
        var = _mean(jnp.square(x - mean.reshape(1, 1, 1, -1)), axis_name)
        if normalizer is Normalizer.FROZEN:
            mean, var = lax.stop_gradient((mean, var))
    scale = lax.rsqrt(var + jnp.asarray(BATCH_NORM_EPSILON, x.dtype))
    out = (x - mean.reshape(1, 1, 1, -1)) * scale.reshape(1, 1, 1, -1)
    return out, (mean, var)


def _mean(x: Float[Array, "n h w c"], axis_name: str | None) -> Float[Array, " c"]:
    """Returns the mean over all axes but the last, and over one of ``jax.vmap`` if it is named."""
    # Over examples first: along the axis that is stored last CPUs add up several times faster.
    x = x if axis_name is None else lax.pmean(x, axis_name)
    return jnp.mean(x, axis=(0, 1, 2))


class BatchNorm(nn.Module):
    """Batch normalisation with scale, bias and stored statistics (0 and 1 at initialisation).

    The statistics used are written to ``batch_stats`` when that collection is mutable.

    Args:
        normalizer: where mean and variance come from.
        axis_name: see :func:`normalize`.
    """

    normalizer: Normalizer
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises, scales and shifts."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, x.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, x.dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, x.dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, x.dtype)
        stored = (mean.value.astype(x.dtype), var.value.astype(x.dtype))
        out, used = normalize(x, self.normalizer, stored, self.axis_name)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mean.value, var.value = used
        return add_bias(out * over_last(scale, out), bias)


def avg_pool_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Averages 3x3 neighbourhoods with stride 1; pixels outside the image do not count.

    Args:
        x: images, channels last.

    Returns:
        The averages, of the same shape.
    """
    _, h, w, _ = x.shape
    counts = _window_count(h)[:, None] * _window_count(w)[None, :]
    total = _sum_of_three(_sum_of_three(x, axis=1), axis=2)
    return total / counts.astype(x.dtype).reshape(1, h, w, 1)


def _sum_of_three(x: Array, axis: int) -> Array:
    # Shifted sums instead of reduce_window: their transpose is again a sum XLA fuses.
    zero = jnp.zeros_like(lax.slice_in_dim(x, 0, 1, axis=axis))
    before = jnp.concatenate([zero, lax.slice_in_dim(x, 0, -1, axis=axis)], axis=axis)
    after = jnp.concatenate([lax.slice_in_dim(x, 1, None, axis=axis), zero], axis=axis)
    return before + x + after


def _window_count(length: int) -> Array:
    index = jnp.arange(length)
    return 1 + (index > 0).astype(jnp.int32) + (index < length - 1).astype(jnp.int32)


def avg_pool_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Averages disjoint 2x2 blocks; an odd last row or column is dropped, as in PyTorch.

    Args:
        x: images, channels last.

    Returns:
        The averages, half as high and wide.
    """
    n, h, w, c = x.shape
    even = x[:, : h - h % 2, : w - w % 2, :]
    return jnp.mean(even.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def relu(x: Array) -> Array:
    """Returns ``max(x, 0)`` with derivative 0 at 0."""
    return jax.nn.relu(x)
