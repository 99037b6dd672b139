"""Convolutions with fast gradients against JAX's own, and Flax's layer with them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.networks import Conv
from jaxntk.networks.fast_convolution import conv_general_dilated
from jaxntk.networks.forward_mode import forward_mode
from tests.networks.tiny import assert_close

LAST = ("NHWC", "HWIO", "NHWC")
CASES = {
    "plain": ((3, 6, 5, 2), (3, 3, 2, 4), {}),
    "strides": ((3, 7, 6, 2), (3, 2, 2, 4), {"window_strides": (2, 3), "padding": "VALID"}),
    "one stride": ((3, 7, 6, 2), (3, 3, 2, 4), {"window_strides": (1, 2)}),
    "dilation": ((2, 8, 7, 2), (3, 2, 2, 3), {"rhs_dilation": (2, 3)}),
    "groups": ((2, 5, 5, 4), (3, 3, 2, 6), {"feature_group_count": 2}),
    "of each channel": ((2, 5, 5, 4), (3, 3, 1, 4), {"feature_group_count": 4}),
    "transposed": (
        (2, 4, 3, 2),
        (3, 3, 2, 3),
        {"lhs_dilation": (2, 3), "padding": ((2, 1), (1, 2))},
    ),
    "cropped": ((2, 6, 6, 2), (2, 3, 2, 3), {"padding": ((-1, 2), (1, -1))}),
    "patches": ((2, 6, 6, 2), (3, 3, 2, 3), {"window_strides": (3, 3), "padding": "VALID"}),
    "channels first": ((2, 2, 6, 5), (4, 2, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}),
    "odd order": ((6, 2, 5, 2), (2, 3, 4, 3), {"dimension_numbers": ("HNWC", "IHOW", "WCHN")}),
    "sequences": ((3, 9, 2), (4, 2, 3), {"dimension_numbers": ("NWC", "WIO", "NWC")}),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def _case(name):
    x_shape, kernel_shape, options = CASES[name]
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape)) for shape in (x_shape, kernel_shape))
    whole = {"window_strides": (1,) * (x.ndim - 2), "padding": "SAME", "dimension_numbers": LAST}
    return x, kernel, whole | options


def _both(convolve, x, kernel, options):
    """Returns the outputs and, for fixed cotangents, both gradients."""
    out, pull_back = jax.vjp(lambda x, kernel: convolve(x, kernel, **options), x, kernel)
    return out, *pull_back(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_jax(name):
    x, kernel, options = _case(name)
    wanted = _both(lax.conv_general_dilated, x, kernel, options)
    for got, right in zip(_both(conv_general_dilated, x, kernel, options), wanted, strict=True):
        assert_close(got, right, 1e-13)


def test_each_of_many_has_gradients_of_its_own():
    x, kernel, options = _case("strides")
    many = jnp.stack([x, 2 * x, x**2]), jnp.stack([kernel, kernel + 1, -kernel])
    got = jax.vmap(lambda *at: _both(conv_general_dilated, *at, options))(*many)
    for index in range(3):
        wanted = _both(lax.conv_general_dilated, many[0][index], many[1][index], options)
        for each, right in zip(got, wanted, strict=True):
            assert_close(each[index], right, 1e-13)


def test_products_without_space_and_forward_mode_are_left_to_jax():
    x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
    out = conv_general_dilated(x, kernel, (), (), dimension_numbers=("NC", "IO", "NC"))
    assert_close(out, x @ kernel, 0)
    x, kernel, options = _case("plain")
    with forward_mode():
        _, moved = jax.jvp(lambda k: conv_general_dilated(x, k, **options), (kernel,), (kernel,))
    assert_close(moved, lax.conv_general_dilated(x, kernel, **options), 1e-13)


class Cell(nn.Module):
    """A choice between two convolutions."""

    conv: type

    @nn.compact
    def __call__(self, x, which):
        convs = [self.conv(4, (size, size), param_dtype=x.dtype) for size in (1, 3)]
        if self.is_initializing():
            _ = [conv(x) for conv in convs]
        calls = [lambda _, x, conv=conv: jnp.tanh(conv(x)) for conv in convs]
        return nn.switch(which, calls, self, x).mean(axis=(1, 2))


@pytest.mark.parametrize("which", [0, 1])
def test_the_layer_is_flaxs_with_its_gradients_and_kernel(which):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 5, 2)))
    params = Cell(nn.Conv).init(jax.random.key(0), x, which)["params"]
    renamed = {name.replace("Conv", Conv.__name__): leaf for name, leaf in params.items()}

    def applied(conv):
        return lambda p, x: Cell(conv).apply({"params": p}, x, jnp.int32(which))

    def loss(conv):
        return lambda p, x: jnp.sum(applied(conv)(p, x) ** 2)

    assert_close(applied(Conv)(renamed, x), applied(nn.Conv)(params, x), 1e-13)
    got, wanted = (
        jax.grad(loss(conv), argnums=(0, 1))(p, x)
        for conv, p in ((Conv, renamed), (nn.Conv, params))
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert_close(a, b, 1e-12)
    kernels = [
        empirical_ntk(applied(conv), p, x, outputs="trace")
        for conv, p in ((Conv, renamed), (nn.Conv, params))
    ]
    assert_close(*kernels, 1e-12)
