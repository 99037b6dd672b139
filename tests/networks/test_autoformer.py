"""The masked network of a whole space against each architecture built plainly at its own size."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.networks.autoformer import AutoFormer, block_sizes, logits
from jaxntk.networks.vit import init_params
from jaxntk.networks.vit_layers import attention, draw_weights, patches
from jaxntk.networks.vit_plain import own_params, plain_logits
from jaxntk.spaces.autoformer import Choices, Sizes, decode, encode, from_string
from tests.networks import tiny

OWN = Choices((6, 12), (1, 2, 3), (2, 3), (2.0, 3.5), head_dim=None)
FIXED = Choices((5, 8), (1, 3), (1, 2, 3), (1.0, 2.0), head_dim=4)
CASES = {
    "own head size, narrow, shallow": (OWN, "6:2x2"),
    "own head size, narrow, deep": (OWN, "6:3x3.5,2x2,3x2"),
    "own head size, wide, mixed": (OWN, "12:2x3.5,3x2"),
    "own head size, widest": (OWN, "12:3x3.5,3x3.5,3x3.5"),
    "heads of 4, narrow": (FIXED, "5:1x1"),
    "heads of 4, mixed": (FIXED, "8:3x1,1x2,2x1"),
}
PATCH, CLASSES, SHAPE = 4, 3, (8, 12, 2)
N = 4


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request):
    return request.param


@pytest.fixture(params=["mean", "class_token"])
def pooling(request):
    return request.param


def network(space, pooling="mean"):
    return AutoFormer(space, CLASSES, PATCH, pooling)


@cache
def drawn(space):
    """Parameters far from zero, those too that begin there."""

    def draw(key):
        params = init_params(network(space), key, SHAPE, jnp.dtype("float64"))
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        noise = [0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
        return jax.tree.map(jnp.add, params, jax.tree.unflatten(tree, noise))

    return draw(jax.random.key(0))


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, *SHAPE)))


@cache
def masked_logits(space, pooling):
    return jax.jit(partial(logits, network(space, pooling)))


@cache
def masked_kernel(space, outputs):
    """Compiled once for all architectures."""

    def kernel(params, x, arch):
        def apply(params, x):
            return logits(network(space), params, x, arch)

        return empirical_ntk(apply, params, x, outputs=outputs, method="gram")

    return jax.jit(kernel)


def plain(space, text, pooling="mean"):
    """Returns the logits as a function of the architecture's own parameters, and these."""
    sizes = decode(from_string(text, space), space)

    def own_logits(own):
        with jax.numpy_rank_promotion("allow"):
            return plain_logits(own, images(), sizes.heads, patch_size=PATCH, pooling=pooling)

    return own_logits, own_params(drawn(space), sizes, space)


def test_logits_are_those_of_the_plain_network(case, pooling):
    space, text = case
    arch = jnp.asarray(from_string(text, space))
    got = masked_logits(space, pooling)(drawn(space), images(), arch)
    assert got.dtype == np.float64
    own_logits, own = plain(space, text, pooling)
    tiny.assert_close(got, jax.jit(own_logits)(own), 1e-12)


def test_kernels_are_those_of_the_plain_network(case):
    """Of all parameters, the plain one from a Jacobian of its own parameters."""
    space, text = case
    own_logits, own = plain(space, text)
    leaves = jax.tree.leaves(jax.jit(jax.jacrev(own_logits))(own))
    jac = jnp.concatenate([leaf.reshape(N, CLASSES, -1) for leaf in leaves], axis=-1)
    for outputs in ("sum", "trace"):
        arch = jnp.asarray(from_string(text, space))
        kernel = masked_kernel(space, outputs)(drawn(space), images(), arch)
        taken = jac.sum(axis=1, keepdims=True) if outputs == "sum" else jac
        tiny.assert_close(kernel, jnp.einsum("icp,jcp->ij", taken, taken), 1e-10)


def test_gram_rules_agree_with_neural_tangents():
    space, text = CASES["own head size, wide, mixed"]
    arch = jnp.asarray(from_string(text, space))

    def apply(params, x):
        return logits(network(space), params, x, arch)

    theirs = empirical_ntk(
        apply, drawn(space), images(), outputs="trace", method="jacobian_contraction"
    )
    tiny.assert_close(masked_kernel(space, "trace")(drawn(space), images(), arch), theirs, 1e-10)


def test_one_compilation_serves_all_architectures():
    apply = masked_logits(OWN, "mean")
    texts = [text for space, text in CASES.values() if space is OWN]
    archs = [jnp.asarray(from_string(text, OWN)) for text in texts]
    outs = [np.asarray(apply(drawn(OWN), images(), arch)) for arch in archs]
    assert apply._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    for index, one in enumerate(outs):
        for other in outs[index + 1 :]:
            assert not np.allclose(one, other, rtol=1e-3)


def test_dormant_genes_change_nothing():
    arch = from_string("6:2x2", OWN)
    other = arch.copy()
    other[[3, 4, 6, 7]] = 1
    apply = masked_logits(OWN, "mean")
    one, same = (apply(drawn(OWN), images(), jnp.asarray(each)) for each in (arch, other))
    np.testing.assert_array_equal(one, same)


def test_sizes_of_blocks():
    sizes = block_sizes(jnp.asarray(encode(Sizes(8, (3, 1, 2), (1.0, 2.0, 1.0)), FIXED)), FIXED)
    assert sizes.awake.tolist() == [True, True, True]
    assert sizes.hidden.tolist() == [8, 16, 8]


def test_patches_run_row_by_row():
    x = jnp.arange(2.0 * 4 * 6).reshape(1, 4, 6, 2)
    cut = patches(x, 2)
    assert cut.shape == (1, 6, 8)
    np.testing.assert_array_equal(cut[0, 4], np.asarray(x)[0, 2:4, 2:4].reshape(-1))


def test_attention_to_one_token_returns_its_value():
    qkv = jax.random.normal(jax.random.key(0), (2, 1, 3, 6))
    np.testing.assert_allclose(attention(qkv, 2), qkv[:, :, 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("net", "shape", "words"),
    [
        (network(OWN), (10, 8), "x: got images of 10 x 8; give sides that are multiples of"),
        (network(OWN), (0, 8), "x: got images of 0 x 8"),
        (AutoFormer(OWN, 3, 4, "cls"), (8, 8), "pooling: got 'cls'"),
    ],
)
def test_what_does_not_fit_is_refused(net, shape, words):
    arch = jnp.zeros(len(OWN.sizes), jnp.int32)
    with pytest.raises(InputError, match=words):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *shape, 2)), arch)


def test_patches_of_an_impossible_stride_are_refused():
    with pytest.raises(InputError, match="stride: got 3; give a divisor of the patch size 4"):
        patches(jnp.zeros((1, 8, 8, 1)), 4, 3)


def test_weights_have_the_published_spread():
    drawn = draw_weights(jax.random.key(0), (300, 300))
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.02)


def test_architectures_can_be_mapped_over():
    archs = jnp.stack([jnp.asarray(from_string(text, OWN)) for text in ("6:2x2", "12:2x3.5,3x2")])
    apply = masked_logits(OWN, "mean")
    both = jax.jit(jax.vmap(apply, in_axes=(None, None, 0)))(drawn(OWN), images(), archs)
    for got, arch in zip(both, archs, strict=True):
        tiny.assert_close(got, apply(drawn(OWN), images(), arch), 1e-12)
