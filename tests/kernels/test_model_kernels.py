"""Kernels of architectures, of images and of features, against Jacobians of plain networks."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels import model_kernels
from jaxntk.kernels.fourier import FourierMap, fourier_images
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.pit import PiT, class_params
from jaxntk.networks.pit_classes import DEFAULT_CLASSES, class_of, shape_classes
from jaxntk.networks.vit import pyramid_model, transformer_model
from jaxntk.networks.vit_plain import own_params, plain_logits, plain_pit_logits
from jaxntk.spaces import autoformer, pit
from jaxntk.spaces.autoformer import Choices
from jaxntk.spaces.registry import SPACES, autoformer_space
from jaxntk.spaces.space import sample
from tests.networks import tiny
from tests.networks.tiny import quick_float64  # noqa: F401

SPACE = Choices((6, 12), (1, 2), (2, 3), (2.0,), head_dim=None)
MODEL = transformer_model(AutoFormer(SPACE, 3, 4))
SETTINGS = KernelSettings(parameters="all", dtype="float64")
FEATURE_SEED = 5
X = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32)
ARCH = autoformer.from_string("6:3x2,2x2", SPACE)
MAPS = {
    "images": None,
    "pixel_values": FourierMap(where="pixel_values", num_features=2, sigma=0.3),
    "patch_content": FourierMap(where="patch_content", num_features=3),
    "coordinates": FourierMap(where="coordinates", num_features=2),
    "bands": FourierMap(where="bands", num_bands=2),
}


def make(x=X, model=MODEL, **changes):
    return ModelKernels(model, replace(SETTINGS, **changes), x, feature_seed=FEATURE_SEED)


@cache
def kernels():
    return make()


def drawn(own, arch, how):
    """The network that computes an architecture, its parameters, and what it sees."""
    program, parts = own._ready(arch, how)
    return program.model.network, own._variables(program.model, parts.shape[-3:], None)["params"]


def explicit_kernel(out_fn, params):
    """The kernel of the sum of logits from a float64 Jacobian."""
    with jax.numpy_rank_promotion("allow"):
        jac = jax.jit(jax.jacrev(lambda own: out_fn(own).sum(axis=1)))(params)
    leaves = jax.tree.leaves(jac)
    rows = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
    return rows @ rows.T


@pytest.mark.parametrize("how", MAPS.values(), ids=list(MAPS))
def test_kernels_are_those_of_the_plain_network_on_what_it_sees(how):
    got = kernels()(ARCH, how)
    x = jnp.asarray(X, jnp.float64)
    key = jax.random.key(FEATURE_SEED)
    parts = x[None] if how is None else fourier_images(x, key, how, (4, 4))
    size = 1 if how is not None and how.where == "patch_content" else 4
    _, params = drawn(kernels(), ARCH, how)
    sizes = autoformer.decode(ARCH, SPACE)
    own = own_params(params, sizes, SPACE)
    wanted = [
        explicit_kernel(partial(plain_logits, x=part, heads=sizes.heads, patch_size=size), own)
        for part in parts
    ]
    tiny.assert_close(got, np.mean(wanted, axis=0), 1e-10)


def test_weights_are_shared_but_for_the_patch_embedding():
    """A network on features begins with the weights of the network on images."""
    plain, features = (drawn(kernels(), ARCH, MAPS[name])[1] for name in ("images", "pixel_values"))
    for name in ("blocks", "positions", "norm", "classifier"):
        jax.tree.map(np.testing.assert_array_equal, plain[name], features[name])
    shapes = [each["patch_embedding"]["kernel"].shape for each in (plain, features)]
    assert shapes == [(4 * 4 * 2, 12), (4 * 4 * 4, 12)]


@pytest.mark.parametrize("where", ["pixel_values", "patch_content"])
def test_without_frequencies_the_kernel_tells_no_images_apart(where):
    """sigma = 0: every image is the same constant, and so is every entry of the kernel."""
    gram = kernels()(ARCH, FourierMap(where=where, num_features=2, sigma=0.0))
    assert gram[0, 0] > 0
    np.testing.assert_allclose(gram, gram[0, 0], rtol=1e-10)


def test_small_frequencies_come_close_to_that():
    """K - K[0, 0] shrinks with sigma, as features move from a constant by O(sigma)."""
    spreads = []
    for sigma in (1e-2, 1e-3):
        how = FourierMap(where="pixel_values", num_features=2, sigma=sigma)
        gram = kernels()(ARCH, how)
        spreads.append(np.ptp(gram) / gram[0, 0])
    assert spreads[1] < spreads[0] / 5, spreads
    assert spreads[1] > 0


def test_a_hundred_architectures_compile_twice_with_features():
    own = make()
    archs = sample(autoformer_space("made up", SPACE), jax.random.key(0), 12)
    archs = np.tile(archs, (9, 1))[:100]
    maps = [None, *(FourierMap(where="pixel_values", num_features=2, sigma=s) for s in (0.1, 1.0))]
    for arch in archs:
        for how in maps:
            assert own(arch, how).shape == (4, 4)
    # Another sigma is other data, not another program.
    assert own.compilations == 2


def test_few_programs_are_kept_and_the_numbers_stay(monkeypatch):
    """What was dropped is compiled again where it is asked for again."""
    monkeypatch.setattr(model_kernels, "MAX_PROGRAMS", 1)
    own = make()
    for name in ("images", "patch_content", "images"):
        wanted = kernels()(ARCH, MAPS[name])
        tiny.assert_close(own(ARCH, MAPS[name]), wanted, 1e-12)
    assert own.compilations == 3
    assert len(own._programs) == 1


def test_tiles_do_not_change_the_kernel():
    tiled = make(tile=3)
    for name in ("images", "bands"):
        wanted = kernels()(ARCH, MAPS[name])
        tiny.assert_close(tiled(ARCH, MAPS[name]), wanted, 1e-10)


@pytest.mark.parametrize("name", ["images", "pixel_values"])
def test_other_images_weights_and_features_share_the_program(name):
    """`on` and `seeded` give what fresh kernels give, without compiling again."""
    base = make()
    first = base(ARCH, MAPS[name])
    other = base.seeded(3).on(X[::-1] + 1)
    got = other(ARCH, MAPS[name])
    assert base.compilations == 1
    fresh = ModelKernels(MODEL, SETTINGS, X[::-1] + 1, init_seed=3, feature_seed=3)
    tiny.assert_close(got, fresh(ARCH, MAPS[name]), 1e-12)
    assert not np.allclose(got, first, rtol=1e-3)
    np.testing.assert_array_equal(base(ARCH, MAPS[name]), first)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tile", 0),
        ("matmul_precision", "exact"),
        ("outputs", "full"),
        ("batch_norm", "frozen"),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=f"{field}: got"):
        make(**{field: value})


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)])
def test_sizes_that_no_network_has_are_named(sizes):
    with pytest.raises(InputError, match=r"(num_classes|patch_size): got 0; give at least 1"):
        transformer_model(AutoFormer(SPACE, *sizes))
    with pytest.raises(InputError, match=r"(num_classes|patch_size): got 0; give at least 1"):
        pyramid_model(sizes[0], patch_size=sizes[1])


def test_a_network_with_batch_normalisation_is_told_which_mode():
    with pytest.raises(InputError, match="batch_norm: got 'none'; choose from batch, frozen"):
        make(tiny.images(), tiny.model())


def test_features_of_patches_need_a_network_with_patches():
    own = make(tiny.images().astype(np.float32), tiny.model(), batch_norm="frozen")
    with pytest.raises(
        InputError, match=r"where: got patch_content; .*this network has no patches"
    ):
        own.see(MAPS["patch_content"])


def test_float64_needs_x64():
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        make()


def test_what_is_no_architecture_is_refused():
    with pytest.raises(InputError, match="arch: got an array of shape"):
        kernels()(np.zeros(3, np.int32))
    with pytest.raises(InputError, match="arch: got 9 for gene 0"):
        kernels()(np.full(len(SPACE.sizes), 9, np.int32))


def test_what_was_compiled_is_noted_with_its_tile():
    noted = []
    own = replace(make(), note=noted.append)
    own.compile(ARCH)
    assert [each.tile for each in noted] == [len(X)]
    assert noted == own.compiled
    again = replace(make(), tiles={noted[0].name: 3})
    again.compile(ARCH)
    assert (again.tile(ARCH), own.tile(ARCH)) == (3, len(X))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "pixel_values", "patch_content"])
def test_kernels_of_pit_are_those_of_the_plain_network(name):
    how, text = MAPS[name], "16:1x2,4x2,2x2:2"
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    own_kernels, arch = make(x, pyramid_model(3)), pit.from_string(text)
    network, params = drawn(own_kernels, arch, how)
    parts = own_kernels.see(how)
    parts = parts if parts.ndim == 5 else parts[None]
    sizes = pit.decode(arch)
    shape = network.shape._replace(
        widths=sizes.widths,
        hidden=tuple(sizes.mlp_ratio * width for width in sizes.widths),
        shapes=tuple(((w, h),) for w, h in zip(sizes.widths, sizes.heads, strict=True)),
    )
    own = class_params(params, network.clone(shape=shape), parts.shape[2:])
    patch = (network.patch_size, network.stride)
    apply = partial(plain_pit_logits, x=parts[0], sizes=sizes, patch=patch)
    tiny.assert_close(own_kernels(arch, how), explicit_kernel(apply, own), 1e-9)


def test_pit_has_a_program_a_class():
    model = pyramid_model(3)
    networks = {
        model.program(model, arch).network for arch in sample(SPACES["pit"], jax.random.key(0), 200)
    }
    classes = shape_classes(DEFAULT_CLASSES)[0]
    assert {network.shape for network in networks} == set(classes)
    arch = pit.from_string("16:1x2,4x2,2x2:2")
    assert PiT(3, class_of(arch)) in networks
