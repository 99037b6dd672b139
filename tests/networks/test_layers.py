"""Pooling, normalisation and padding against other ways to compute them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.networks.layers import (
    BatchNorm,
    Convolution,
    ConvParameters,
    Dense,
    Normalizer,
    apply_conv,
    avg_pool_2x2,
    avg_pool_3x3,
    normalize,
    relu,
)
from tests.networks.tiny import assert_close, images

zeros_init = jax.nn.initializers.zeros
normal_init = jax.nn.initializers.normal(1.0)


def _window_mean(x, size, stride, padding):
    """The mean over a window, of the pixels that lie inside the image."""
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    window = ((1, size, size, 1), (1, stride, stride, 1), pads)
    total = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, *window)
    return total / lax.reduce_window(jnp.ones_like(x), np.zeros((), x.dtype), lax.add, *window)


POOLS = {
    "3x3": (avg_pool_3x3, lambda x: _window_mean(x, 3, 1, 1)),
    "2x2": (avg_pool_2x2, lambda x: _window_mean(x, 2, 2, 0)),
}


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 5, 7, 1), (1, 4, 3, 2), (3, 2, 2, 2)])
@pytest.mark.parametrize("pool", POOLS)
def test_pooling_and_its_gradient_are_those_of_reduce_window(pool, shape):
    ours, plain = POOLS[pool]
    x = jnp.asarray(images(shape))
    out, pull_back = jax.vjp(ours, x)
    wanted, plain_pull_back = jax.vjp(plain, x)
    assert_close(out, wanted, 1e-14)
    cotangent = jnp.asarray(images(out.shape, seed=1))
    assert_close(pull_back(cotangent)[0], plain_pull_back(cotangent)[0], 1e-14)


def test_pixels_outside_the_image_do_not_count():
    # A constant image stays constant only if the divisor leaves padding out.
    x = jnp.full((1, 5, 4, 1), 7.0)
    assert_close(avg_pool_3x3(x), x, 1e-15)


def test_one_pixel_is_its_own_average():
    x = jnp.asarray(images((2, 1, 1, 3)))
    assert_close(avg_pool_3x3(x), x, 0.0)


@pytest.mark.parametrize("normalizer", list(Normalizer))
def test_normalize_values(normalizer):
    x = images((4, 3, 5, 2)) * np.array([2.0, 0.5]) + np.array([1.0, -3.0])
    stored = jnp.array([0.3, -0.2]), jnp.array([2.0, 0.7])
    out, (mean, var) = normalize(jnp.asarray(x), normalizer, stored)
    if normalizer is Normalizer.STORED:
        wanted_mean, wanted_var = (np.asarray(moment) for moment in stored)
    else:
        wanted_mean, wanted_var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    assert_close(mean, wanted_mean, 1e-12)
    assert_close(var, wanted_var, 1e-12)
    assert_close(out, (x - wanted_mean) / np.sqrt(wanted_var + 1e-5), 1e-12)


@pytest.mark.parametrize("normalizer", list(Normalizer))
def test_normalize_gradients(normalizer):
    x = jnp.asarray(images((4, 3, 5, 2)))
    stored = jnp.array([0.3, -0.2]), jnp.array([2.0, 0.7])
    weights = jnp.asarray(images(x.shape, seed=1))
    grad = jax.grad(lambda x: jnp.sum(normalize(x, normalizer, stored)[0] * weights))(x)
    unit, (_, var) = normalize(x, normalizer, stored)
    unit, scale = np.asarray(unit), 1 / np.sqrt(np.asarray(var) + 1e-5)
    wanted = np.asarray(weights) * scale
    if normalizer is Normalizer.BATCH:
        # Ioffe & Szegedy 2015: what is left is orthogonal to 1 and to the normalised input.
        axes = (0, 1, 2)
        projection = unit * (np.asarray(weights) * unit).mean(axes) + np.asarray(weights).mean(axes)
        wanted = (np.asarray(weights) - projection) * scale
    assert_close(grad, wanted, 1e-10)


@pytest.mark.parametrize("mutable", [False, True])
@pytest.mark.parametrize("normalizer", list(Normalizer))
def test_batch_norm_scales_shifts_and_writes_statistics_on_request(normalizer, mutable):
    x = images((4, 3, 3, 2)) + 1.0
    variables = {
        "params": {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([-1.0, 0.5])},
        "batch_stats": {"mean": jnp.array([0.3, -0.2]), "var": jnp.array([2.0, 0.7])},
    }
    layer = BatchNorm(normalizer)
    updated = {}
    if mutable:
        out, updated = layer.apply(variables, jnp.asarray(x), mutable=["batch_stats"])
    else:
        out = layer.apply(variables, jnp.asarray(x))
    mean, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    if normalizer is Normalizer.STORED:
        mean, var = (np.asarray(variables["batch_stats"][name]) for name in ("mean", "var"))
    unit = (x - mean) / np.sqrt(var + 1e-5)
    assert_close(out, unit * np.array([2.0, 3.0]) + np.array([-1.0, 0.5]), 1e-12)
    if mutable:
        assert_close(updated["batch_stats"]["mean"], mean, 1e-12)
        assert_close(updated["batch_stats"]["var"], var, 1e-12)


@pytest.mark.parametrize("size", [4, 5, 8])
def test_stride_two_pads_one_zero_on_every_side(size):
    x, kernel = images((1, size, size, 2)), images((3, 3, 2, 1), seed=1)
    got = apply_conv(jnp.asarray(x), Convolution(jnp.asarray(kernel), None), stride=2)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    half = (size + 1) // 2
    wanted = np.zeros((1, half, half, 1))
    for row, column in np.ndindex(half, half):
        window = padded[0, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        wanted[0, row, column, 0] = np.sum(window * kernel[..., 0])
    assert_close(got, wanted, 1e-12)
    same = lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    # TensorFlow's "SAME" pads an even image at the far side only: another network.
    differs = not np.allclose(same, got)
    assert differs == (size % 2 == 0)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_apply_conv_is_a_convolution_with_bias(size, stride, with_bias):
    x = jnp.asarray(images((2, 6, 7, 3)))
    declared = ConvParameters(4, size, normal_init, normal_init if with_bias else None)
    variables = declared.init(jax.random.key(0), x)
    out = apply_conv(x, declared.apply(variables, x), stride=stride)
    pad = (size - 1) // 2
    wanted = lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    if with_bias:
        wanted = wanted + variables["params"]["bias"].reshape(1, 1, 1, 4)
    assert_close(out, wanted, 1e-12)


def test_dense_is_affine():
    x = jnp.asarray(images((4, 6)))
    layer = Dense(3, normal_init, normal_init)
    variables = layer.init(jax.random.key(0), x)
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    assert_close(layer.apply(variables, x), np.asarray(x) @ kernel + bias, 1e-13)


@pytest.mark.parametrize("normalizer", [Normalizer.BATCH, Normalizer.FROZEN])
def test_statistics_along_an_axis_are_those_of_the_batch(normalizer):
    x, stored = jnp.asarray(images((5, 4, 4, 3))), None

    def of_one(example):
        return normalize(example[None], normalizer, stored, "batch")

    out, (mean, var) = jax.vmap(of_one, axis_name="batch")(x)
    wanted, (wanted_mean, wanted_var) = normalize(x, normalizer)
    assert_close(out[:, 0], wanted, 1e-13)
    assert_close(mean[0], wanted_mean, 1e-13)
    assert_close(var[-1], wanted_var, 1e-13)


def test_relu_has_derivative_zero_at_zero():
    grad = jax.vmap(jax.grad(relu))(jnp.array([-1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(grad, [0.0, 0.0, 1.0])
