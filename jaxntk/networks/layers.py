"""Layers with Gram rules: each parameter may carry, beside its value, a place for its kernel.

A layer's parameters live in the Flax collection ``params``. A parameter takes part in the kernel
if, at apply time, the same collection holds a second leaf beside it, its *place*: ``kernel@gram``
beside ``kernel``. Because places are leaves of ``params``, whatever lifts parameters (``nn.scan``,
``nn.remat``, ``nn.switch``) lifts them too. See :mod:`jaxntk.networks.gram_rules` for what is read
off there.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxntk.networks import gram_rules

BATCH_NORM_EPSILON = 1e-5

PLACE_SUFFIX = "@gram"
"""Ends the name of the leaf where a parameter's kernel is read off."""


class Parameter(NamedTuple):
    """A parameter's value and the place for its kernel (None: it does not enter the kernel)."""

    value: Array
    gram: Array | None


class Normalizer(StrEnum):
    """Where one batch-normalisation layer takes its mean and variance from.

    ``BATCH``: from the batch, differentiated through (examples interact). ``FROZEN``: from the
    batch, held constant under differentiation (examples do not interact). ``STORED``: from the
    collection ``batch_stats`` (examples do not interact).
    """

    BATCH = "batch"
    FROZEN = "frozen"
    STORED = "stored"


def parameter(
    module: nn.Module,
    name: str,
    init: nn.initializers.Initializer,
    shape: Sequence[int],
    like: Array,
) -> Parameter:
    """Declares a parameter of ``module`` and finds the place for its kernel.

    Args:
        module: the layer, inside its compact method.
        name: of the parameter.
        init: initialiser ``(key, shape, dtype) -> array``.
        shape: of the parameter.
        like: an array whose dtype the parameter takes.

    Returns:
        The value, and the place if ``apply`` was given one.
    """
    value = module.param(name, init, tuple(shape), like.dtype)
    return Parameter(value, place(module, name))


def place(module: nn.Module, name: str) -> Array | None:
    """Returns where the kernel of a module's parameter is to be read off.

    Args:
        module: a layer inside ``apply``.
        name: of the parameter.

    Returns:
        The leaf beside it in ``params``, or None if the parameter does not enter the kernel.
    """
    key = name + PLACE_SUFFIX
    return module.get_variable("params", key) if module.has_variable("params", key) else None


class ConvParameters(nn.Module):
    """Declares a convolution's kernel and, on request, its bias, without applying them.

    A switch between operations needs the parameters of all of them outside its branches.
    """

    features: int
    size: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> tuple[Parameter, Parameter | None]:
        """Returns kernel and bias for an input like ``x``."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape, x)
        if self.bias_init is None:
            return kernel, None
        return kernel, parameter(self, "bias", self.bias_init, (self.features,), x)


def apply_conv(
    x: Float[Array, "n h w i"],
    parameters: tuple[Parameter, Parameter | None],
    *,
    stride: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Convolves with "same" padding the PyTorch way: (k - 1) / 2 zeros on every side.

    Args:
        x: images, channels last.
        parameters: what :class:`ConvParameters` declared.
        stride: the same along both axes.

    Returns:
        The convolved images, plus the bias if there is one.
    """
    kernel, bias = parameters
    size = kernel.value.shape[0]
    if size == 1 and stride == 1:
        n, h, w, channels = x.shape
        tokens = x.reshape(n, h * w, channels)
        out = gram_rules.dense(tokens, kernel.value[0, 0], kernel.gram).reshape(n, h, w, -1)
    else:
        out: Array = gram_rules.conv(x, kernel.value, kernel.gram, stride, (size - 1) // 2)
    return out if bias is None else gram_rules.add_bias(out, bias.value, bias.gram)


class Dense(nn.Module):
    """An affine map of vectors, ``x @ kernel + bias``."""

    features: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        """Applies the map."""
        shape = (x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape, x)
        bias = parameter(self, "bias", self.bias_init, (self.features,), x)
        out = gram_rules.dense(x[:, None, :], kernel.value, kernel.gram)[:, 0, :]
        return gram_rules.add_bias(out, bias.value, bias.gram)


def normalize(
    x: Float[Array, "n h w c"],
    normalizer: Normalizer,
    stored: tuple[Float[Array, " c"], Float[Array, " c"]] | None = None,
) -> tuple[Float[Array, "n h w c"], tuple[Float[Array, " c"], Float[Array, " c"]]]:
    """Standardises each channel: ``(x - mean) / sqrt(var + 1e-5)``, with the biased variance.

    Args:
        x: images, channels last.
        normalizer: where mean and variance come from.
        stored: mean and variance, for ``Normalizer.STORED``.

    Returns:
        The standardised images, and the mean and variance that were used.
    """
    if normalizer is Normalizer.STORED:
        assert stored is not None
        mean, var = stored
    else:
        mean = jnp.mean(x, axis=(0, 1, 2))
        var = jnp.mean(jnp.square(x - mean.reshape(1, 1, 1, -1)), axis=(0, 1, 2))
        if normalizer is Normalizer.FROZEN:
            mean, var = lax.stop_gradient((mean, var))
    scale = lax.rsqrt(var + jnp.asarray(BATCH_NORM_EPSILON, x.dtype))
    out = (x - mean.reshape(1, 1, 1, -1)) * scale.reshape(1, 1, 1, -1)
    return out, (mean, var)


class BatchNorm(nn.Module):
    """Batch normalisation with scale, bias and stored statistics (0 and 1 at initialisation).

    The statistics used are written to ``batch_stats`` when that collection is mutable.
    """

    normalizer: Normalizer

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises, scales and shifts."""
        shape = (x.shape[-1],)
        scale = parameter(self, "scale", nn.initializers.ones, shape, x)
        bias = parameter(self, "bias", nn.initializers.zeros, shape, x)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, x.dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, x.dtype)
        out, used = normalize(
            x, self.normalizer, (mean.value.astype(x.dtype), var.value.astype(x.dtype))
        )
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mean.value, var.value = used
        out = gram_rules.multiply_scale(out, scale.value, scale.gram)
        return gram_rules.add_bias(out, bias.value, bias.gram)


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
