"""Convolution by patches against the library's, and which of them is taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.networks import convolution
from tests.networks import tiny


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(4, 4), (2, 2), (1, 1), (2, 7), (6, 3)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("sides", [((1, 1), (1, 1)), ((0, 2), (3, 1))])
def test_patches_give_what_the_library_gives(size, shape, stride, dilation, sides):
    if any(
        dilation * (side - 1) + 1 + sum(pad) < size for side, pad in zip(shape, sides, strict=True)
    ):
        pytest.skip("no window fits")
    x, kernel = tiny.images((3, *shape, 2)), tiny.images((size, size, 2, 4), seed=1)
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    wanted = convolution._by_library(x, kernel, stride, sides, dilation)
    out_shape = convolution._out_shape(x.shape, kernel.shape, stride, sides, dilation)
    got = convolution._by_patches(x, kernel, out_shape, stride, sides, dilation)
    tiny.assert_close(got, wanted, 1e-12)
    tiny.assert_close(
        convolution.cross_correlate(x, kernel, stride=stride, padding=sides, dilation=dilation),
        wanted,
        1e-12,
    )


@pytest.mark.parametrize(
    ("side", "stride", "library"), [(2, 1, False), (4, 2, False), (4, 1, True), (8, 2, True)]
)
def test_images_narrower_than_the_kernel_go_by_patches(side, stride, library):
    x, kernel = np.ones((1, side, side, 1), "float32"), np.ones((3, 3, 1, 1), "float32")
    program = jax.make_jaxpr(
        lambda x, kernel: convolution.cross_correlate(
            x, kernel, stride=stride, padding=((1, 1),) * 2
        )
    )(x, kernel)
    assert ("conv_general_dilated" in str(program)) == library, program


@pytest.mark.parametrize(
    ("size", "stride", "padding", "height", "width"),
    [(1, 2, 0, 5, 4), (3, 1, 1, 5, 6), (3, 2, 1, 7, 6), (3, 3, 2, 9, 5), (5, 3, 1, 9, 8)],
)
def test_its_gradients_are_those_of_the_library(size, stride, padding, height, width):
    x = jnp.asarray(tiny.images((3, height, width, 2)))
    kernel = jnp.asarray(tiny.images((size, size, 2, 4), seed=1))
    sides = ((padding, padding), (padding, padding))

    def by_library(x, kernel):
        return convolution._by_library(x, kernel, stride, sides, 1)

    out, pull_back = jax.vjp(lambda *at: convolution.convolve(*at, stride, padding), x, kernel)
    wanted, pull_back_wanted = jax.vjp(by_library, x, kernel)
    tiny.assert_close(out, wanted, 1e-12)
    ct = jnp.asarray(tiny.images(out.shape, seed=2))
    for got, other in zip(pull_back(ct), pull_back_wanted(ct), strict=True):
        tiny.assert_close(got, other, 1e-12)


def test_activations_may_be_wider_than_derivatives():
    x, kernel = jnp.ones((1, 4, 4, 1), "float64"), jnp.ones((3, 3, 1, 1), "float32")
    out, pull_back = jax.vjp(lambda *at: convolution.convolve(*at, 1, 1), x, kernel)
    assert out.dtype == "float64"
    assert [each.dtype.name for each in pull_back(out)] == ["float64", "float32"]
    program = str(jax.make_jaxpr(pull_back)(out))
    assert "f64" not in program.split("conv_general_dilated")[1].split("=")[-1], program
