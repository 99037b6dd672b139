"""The network of a shape class against each architecture built plainly at its own size."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.networks.pit import PiT, class_params, contains, logits, widest
from jaxntk.networks.pit_classes import ShapeClass, class_of, shape_classes
from jaxntk.networks.vit import init_params
from jaxntk.networks.vit_layers import patches
from jaxntk.networks.vit_plain import plain_pit_logits
from jaxntk.spaces import pit
from tests.networks import tiny

# The grids are 3, 2 and 1 tokens wide.
SHAPE, CLASSES, N = (32, 32, 1), 3, 3
TEXTS = ("16:1x2,4x2,2x2:2", "24:2x2,4x2,2x4:4", "16:1x2,4x8,2x8:2")
CLASS = ShapeClass(
    (48, 128, 128),
    (192, 256, 384),
    (((32, 2), (48, 2)), ((32, 2), (48, 2), (128, 8)), ((32, 2), (96, 4), (128, 8))),
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

    def draw(key):
        params = init_params(PiT(CLASSES, CLASS), key, SHAPE, jnp.dtype("float64"))
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        noise = [0.2 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, noise, strict=True)])

    return draw(jax.random.key(0))


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, *SHAPE)))


@cache
def masked_logits():
    return jax.jit(partial(logits, PiT(CLASSES, CLASS)))


def plain(text):
    """Returns the logits as a function of the architecture's own parameters, and these."""
    sizes = pit.decode(pit.from_string(text))

    def own_logits(own):
        with jax.numpy_rank_promotion("allow"):
            return plain_pit_logits(own, images(), sizes)

    return own_logits, class_params(drawn(), PiT(CLASSES, own_class(sizes)), SHAPE)


def test_logits_are_those_of_the_plain_networks():
    apply = masked_logits()
    for text in TEXTS:
        got = apply(drawn(), images(), jnp.asarray(pit.from_string(text)))
        assert got.dtype == np.float64
        own_logits, own = plain(text)
        tiny.assert_close(got, jax.jit(own_logits)(own), 1e-12)
    assert apply._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


@cache
def kernel_fn(method):
    """Compiled once for all architectures of the class."""

    def kernel(params, x, arch):
        def apply(params, x):
            return logits(PiT(CLASSES, CLASS), params, x, arch)

        return empirical_ntk(apply, params, x, outputs="sum", method=method)

    return jax.jit(kernel)


@pytest.mark.slow
def test_kernels_are_those_of_the_plain_networks():
    for text in TEXTS[1:]:
        own_logits, own = plain(text)
        jac = jax.jit(jax.jacrev(lambda own, f=own_logits: f(own).sum(axis=1)))(own)
        rows = jnp.concatenate([leaf.reshape(N, -1) for leaf in jax.tree.leaves(jac)], axis=1)
        kernel = kernel_fn("gram")(drawn(), images(), jnp.asarray(pit.from_string(text)))
        tiny.assert_close(kernel, rows @ rows.T, 1e-10)


def test_gram_rules_agree_with_neural_tangents():
    at = drawn(), images(), jnp.asarray(pit.from_string(TEXTS[0]))
    tiny.assert_close(kernel_fn("gram")(*at), kernel_fn("jacobian_contraction")(*at), 1e-10)


def test_an_architecture_of_another_class_is_told():
    other, net = jnp.asarray(pit.from_string("40:1x2,4x2,2x8:8")), PiT(CLASSES, CLASS)
    with pytest.raises(InputError, match="arch: got 40:1x2,4x2,2x8:8 for a class without it"):
        logits(net, drawn(), images(), other)
    assert not contains(CLASS, other)
    for text in TEXTS:
        assert contains(CLASS, jnp.asarray(pit.from_string(text)))
    wide_mlp = jnp.asarray(pit.from_string("24:2x2,4x2,2x4:8"))
    assert not contains(CLASS, wide_mlp)
    assert jnp.isnan(masked_logits()(drawn(), images(), wide_mlp)).all()


@pytest.mark.parametrize(
    ("shape", "words"), [((32, 40), "give square ones"), ((15, 15), "at least 16 pixels")]
)
def test_images_that_do_not_fit_are_refused(shape, words):
    arch = jnp.asarray(pit.from_string(TEXTS[0]))
    with pytest.raises(InputError, match=f"x: got images of .*{words}"):
        jax.eval_shape(PiT(CLASSES, CLASS).init, jax.random.key(0), jnp.zeros((1, *shape, 1)), arch)


def test_one_draw_serves_all_classes():
    """What is cut for a class, and from that for an architecture, is what is cut for it at once."""

    rng, init = np.random.default_rng(0), PiT(CLASSES, widest()).init
    shapes = jax.eval_shape(
        init, jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros(6, jnp.int32)
    )["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape)), shapes)
    for text in TEXTS:
        arch = pit.from_string(text)
        own = PiT(CLASSES, own_class(pit.decode(arch)))
        between = class_params(params, PiT(CLASSES, class_of(arch)), SHAPE)
        jax.tree.map(
            np.testing.assert_array_equal,
            class_params(between, own, SHAPE),
            class_params(params, own, SHAPE),
        )


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
