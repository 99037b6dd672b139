"""Kernels of vision transformers on images and on features, against the plain networks."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxntk.studies.vit_kernels import ViTKernels, ViTSettings

from jaxntk.errors import InputError
from jaxntk.kernels.fourier import FourierMap, fourier_images
from jaxntk.networks.pit import PiT, class_params
from jaxntk.networks.pit_classes import class_of, shape_classes
from jaxntk.networks.vit_plain import own_params, plain_logits, plain_pit_logits
from jaxntk.spaces import autoformer, pit
from jaxntk.spaces.autoformer import Choices
from jaxntk.spaces.registry import SPACES, autoformer_space
from jaxntk.spaces.space import sample
from jaxntk.studies import vit_kernels
from tests.networks import tiny
from tests.networks.tiny import quick_float64  # noqa: F401

SPACE = Choices((6, 12), (1, 2), (2, 3), (2.0,), head_dim=None)
with jax.enable_x64(True):
    SETTINGS = ViTSettings(
        num_classes=3, dtype="float64", space=SPACE, patch_size=4, feature_seed=5
    )
X = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32)
ARCH = autoformer.from_string("6:3x2,2x2", SPACE)
MAPS = {
    "images": None,
    "pixel_values": FourierMap(where="pixel_values", num_features=2, sigma=0.3),
    "patch_content": FourierMap(where="patch_content", num_features=3),
    "coordinates": FourierMap(where="coordinates", num_features=2),
    "bands": FourierMap(where="bands", num_bands=2),
}


@cache
def kernels():
    return ViTKernels(SETTINGS, X)


def explicit_kernel(out_fn, params):
    """The kernel of the sum of logits from a float64 Jacobian."""
    with jax.numpy_rank_promotion("allow"):
        jac = jax.jit(jax.jacrev(lambda own: out_fn(own).sum(axis=1)))(params)
    leaves = jax.tree.leaves(jac)
    rows = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
    return rows @ rows.T


@pytest.mark.parametrize("how", MAPS.values(), ids=list(MAPS))
def test_kernels_are_those_of_the_plain_network_on_what_it_sees(how):
    got = kernels()("autoformer", ARCH, how)
    x = jnp.asarray(X, jnp.float64)
    key = jax.random.key(SETTINGS.feature_seed)
    parts = x[None] if how is None else fourier_images(x, key, how, (4, 4))
    size = 1 if how is not None and how.where == "patch_content" else 4
    network = kernels()._network("autoformer", ARCH, how)
    params = kernels()._draw(network, parts.shape[2:])
    sizes = autoformer.decode(ARCH, SPACE)
    own = own_params(params, sizes, SPACE)
    wanted = [
        explicit_kernel(partial(plain_logits, x=part, heads=sizes.heads, patch_size=size), own)
        for part in parts
    ]
    tiny.assert_close(got, np.mean(wanted, axis=0), 1e-10)


def test_weights_are_shared_but_for_the_patch_embedding():
    """A network on features begins with the weights of the network on images."""
    drawn = {}
    for name in ("images", "pixel_values"):
        network = kernels()._network("autoformer", ARCH, MAPS[name])
        drawn[name] = kernels()._draw(network, kernels()._parts("autoformer", MAPS[name]).shape[2:])
    plain, features = drawn["images"], drawn["pixel_values"]
    for name in ("blocks", "positions", "norm", "classifier"):
        jax.tree.map(np.testing.assert_array_equal, plain[name], features[name])
    shapes = [each["patch_embedding"]["kernel"].shape for each in (plain, features)]
    assert shapes == [(4 * 4 * 2, 12), (4 * 4 * 4, 12)]


@pytest.mark.parametrize("where", ["pixel_values", "patch_content"])
def test_without_frequencies_the_kernel_tells_no_images_apart(where):
    """sigma = 0: every image is the same constant, and so is every entry of the kernel."""
    gram = kernels()("autoformer", ARCH, FourierMap(where=where, num_features=2, sigma=0.0))
    assert gram[0, 0] > 0
    np.testing.assert_allclose(gram, gram[0, 0], rtol=1e-10)


def test_small_frequencies_come_close_to_that():
    """K - K[0, 0] shrinks with sigma, as features move from a constant by O(sigma)."""
    spreads = []
    for sigma in (1e-2, 1e-3):
        how = FourierMap(where="pixel_values", num_features=2, sigma=sigma)
        gram = kernels()("autoformer", ARCH, how)
        spreads.append(np.ptp(gram) / gram[0, 0])
    assert spreads[1] < spreads[0] / 5, spreads
    assert spreads[1] > 0


def test_a_hundred_architectures_compile_twice_with_features():
    own = ViTKernels(SETTINGS, X)
    archs = sample(autoformer_space("made up", SPACE), jax.random.key(0), 12)
    archs = np.tile(archs, (9, 1))[:100]
    maps = [None, *(FourierMap(where="pixel_values", num_features=2, sigma=s) for s in (0.1, 1.0))]
    for arch in archs:
        for how in maps:
            assert own("autoformer", arch, how).shape == (4, 4)
    # Another sigma is other data, not another program.
    assert own.compilations == 2


def test_few_programs_are_kept_and_the_numbers_stay(monkeypatch):
    """What was dropped is compiled again where it is asked for again."""
    monkeypatch.setattr(vit_kernels, "MAX_PROGRAMS", 1)
    own = ViTKernels(SETTINGS, X)
    for name in ("images", "patch_content", "images"):
        wanted = kernels()("autoformer", ARCH, MAPS[name])
        tiny.assert_close(own("autoformer", ARCH, MAPS[name]), wanted, 1e-12)
    assert own.compilations == 3
    assert len(own._programs) == 1


def test_tiles_do_not_change_the_kernel():
    tiled = ViTKernels(ViTSettings(**(vars(SETTINGS) | {"tile": 3})), X)
    for name in ("images", "bands"):
        wanted = kernels()("autoformer", ARCH, MAPS[name])
        tiny.assert_close(tiled("autoformer", ARCH, MAPS[name]), wanted, 1e-10)


@pytest.mark.parametrize("name", ["images", "pixel_values"])
def test_other_images_weights_and_features_share_the_program(name):
    """`on` and `seeded` give what fresh kernels give, without compiling again."""
    base = ViTKernels(SETTINGS, X)
    first = base("autoformer", ARCH, MAPS[name])
    other = base.seeded(3).on(X[::-1] + 1)
    got = other("autoformer", ARCH, MAPS[name])
    assert base.compilations == 1
    fresh = ViTKernels(replace(SETTINGS, init_seed=3, feature_seed=3), X[::-1] + 1)
    tiny.assert_close(got, fresh("autoformer", ARCH, MAPS[name]), 1e-12)
    assert not np.allclose(got, first, rtol=1e-3)
    np.testing.assert_array_equal(base("autoformer", ARCH, MAPS[name]), first)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tile", 0),
        ("num_classes", 0),
        ("patch_size", 0),
        ("num_shape_classes", 0),
        ("matmul_precision", "exact"),
        ("outputs", "full"),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=f"{field}: got"):
        replace(SETTINGS, **{field: value})


def test_float64_needs_x64():
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        replace(SETTINGS, tile=2)


def test_what_is_no_architecture_is_refused():
    with pytest.raises(InputError, match="family: got 'swin'"):
        kernels()("swin", ARCH)
    with pytest.raises(InputError, match="arch: got an array of shape"):
        kernels()("autoformer", np.zeros(3, np.int32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "pixel_values", "patch_content"])
def test_kernels_of_pit_are_those_of_the_plain_network(name):
    how, text = MAPS[name], "16:1x2,4x2,2x2:2"
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    own_kernels, arch = ViTKernels(SETTINGS, x), pit.from_string(text)
    parts = own_kernels._parts("pit", how)
    network = own_kernels._network("pit", arch, how)
    sizes = pit.decode(arch)
    shape = network.shape._replace(
        widths=sizes.widths,
        hidden=tuple(sizes.mlp_ratio * width for width in sizes.widths),
        shapes=tuple(((w, h),) for w, h in zip(sizes.widths, sizes.heads, strict=True)),
    )
    drawn = own_kernels._draw(network, parts.shape[2:])
    own = class_params(drawn, network.clone(shape=shape), parts.shape[2:])
    patch = (network.patch_size, network.stride)
    apply = partial(plain_pit_logits, x=parts[0], sizes=sizes, patch=patch)
    tiny.assert_close(own_kernels("pit", arch, how), explicit_kernel(apply, own), 1e-9)


def test_pit_has_a_program_a_class():
    networks = {
        kernels()._network("pit", arch, None)
        for arch in sample(SPACES["pit"], jax.random.key(0), 200)
    }
    classes = shape_classes(SETTINGS.num_shape_classes)[0]
    assert {network.shape for network in networks} == set(classes)
    arch = pit.from_string("16:1x2,4x2,2x2:2")
    assert PiT(3, class_of(arch)) in networks
