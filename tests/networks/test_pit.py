"""The network of a shape class against each architecture built plainly at its own size."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.networks.pit import PiT, class_params, logits
from jaxntk.networks.pit_classes import ShapeClass, class_of, shape_classes
from jaxntk.networks.vit_layers import patches
from jaxntk.networks.vit_plain import plain_pit_logits
from jaxntk.spaces import pit
from tests.networks import tiny

# The grids are 3, 2 and 1 tokens wide.
SHAPE, CLASSES, N = (32, 32, 1), 3, 3
TEXTS = ("16:1x2,4x2,2x2:2", "24:2x2,4x2,2x4:4", "16:1x2,6x4,2x4:2")
CLASS = ShapeClass(
    (48, 64, 96),
    (192, 192, 384),
    (((32, 2), (48, 2)), ((32, 2), (48, 2), (64, 4)), ((32, 2), (64, 4), (96, 4))),
)


def own_class(sizes):
    hidden = tuple(sizes.mlp_ratio * width for width in sizes.widths)
    shapes = tuple(
        ((width, heads),) for width, heads in zip(sizes.widths, sizes.heads, strict=True)
    )
    return ShapeClass(sizes.widths, hidden, shapes)


@cache
def drawn():
    """Parameters of the class, far from zero, those too that begin there."""

    @jax.jit
    def draw(key):
        params = PiT(CLASSES, CLASS).init(key, jnp.zeros((1, *SHAPE)), jnp.zeros(6, jnp.int32))
        leaves, tree = jax.tree.flatten(params["params"])
        keys = jax.random.split(key, len(leaves))
        noise = [0.2 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, noise, strict=True)])

    return draw(jax.random.key(0))


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, *SHAPE)))


def plain(text):
    """Returns the logits as a function of the architecture's own parameters, and these."""
    sizes = pit.decode(pit.from_string(text))

    def own_logits(own):
        with jax.numpy_rank_promotion("allow"):
            return plain_pit_logits(own, images(), sizes)

    return own_logits, class_params(drawn(), PiT(CLASSES, own_class(sizes)), SHAPE)


def test_logits_are_those_of_the_plain_networks():
    apply = jax.jit(partial(logits, PiT(CLASSES, CLASS)))
    for text in TEXTS:
        got = apply(drawn(), images(), jnp.asarray(pit.from_string(text)))
        assert got.dtype == np.float64
        own_logits, own = plain(text)
        tiny.assert_close(got, jax.jit(own_logits)(own), 1e-12)
    assert apply._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_kernels_are_those_of_the_plain_networks():
    @jax.jit
    def masked(params, x, arch):
        def apply(params, x):
            return logits(PiT(CLASSES, CLASS), params, x, arch)

        return empirical_ntk(apply, params, x, outputs="sum", method="gram")

    for text in TEXTS[1:]:
        own_logits, own = plain(text)
        jac = jax.jit(jax.jacrev(lambda own, f=own_logits: f(own).sum(axis=1)))(own)
        rows = jnp.concatenate([leaf.reshape(N, -1) for leaf in jax.tree.leaves(jac)], axis=1)
        kernel = masked(drawn(), images(), jnp.asarray(pit.from_string(text)))
        tiny.assert_close(kernel, rows @ rows.T, 1e-10)


@pytest.mark.parametrize("num", [1, 3, 8])
def test_every_architecture_fits_its_class(num):
    classes, labels, overhead = shape_classes(num)
    assert len(classes) == num
    assert set(np.unique(labels)) == set(range(num))
    assert overhead >= 1
    for arch in pit.enumerate_space()[::7]:
        sizes, found = pit.decode(arch), class_of(arch, num)
        assert found == classes[labels[arch[0], arch[4], arch[5]]]
        own = own_class(sizes)
        assert np.all(np.array(own.widths) <= found.widths)
        assert np.all(np.array(own.hidden) <= found.hidden)
        assert all(mine[0] in there for mine, there in zip(own.shapes, found.shapes, strict=True))


def test_more_classes_waste_less():
    overheads = [shape_classes(num)[2] for num in (1, 2, 4, 8, 16, 160)]
    assert overheads == sorted(overheads, reverse=True)
    assert overheads[-1] == pytest.approx(1)
    assert shape_classes(160)[0][0].shapes[0] in {((32, 2),), ((48, 2),), ((64, 2),), ((80, 2),)}


@pytest.mark.parametrize("num", [0, 161])
def test_an_impossible_number_of_classes_is_refused(num):
    with pytest.raises(InputError, match=f"num: got {num}"):
        shape_classes(num)


def test_overlapping_patches_are_those_of_a_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 14, 10, 3))
    kernel = jax.random.normal(jax.random.key(1), (4, 4, 3, 5))
    wanted = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    got = patches(x, 4, 2) @ kernel.reshape(1, -1, 5)
    tiny.assert_close(got, wanted.reshape(2, -1, 5), 1e-12)
