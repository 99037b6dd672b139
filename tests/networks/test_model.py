"""Laws that hold for the networks of every space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import KERNEL_MODES, BatchNormMode
from jaxntk.networks.model import check_arch
from jaxntk.networks.registry import FAMILIES, Family, add_space
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import sample
from tests.networks import tiny

SIZES = {"channels": 2, "cells_per_stage": 1, "patch_size": 4}
IMAGES = tiny.images((3, 16, 16, 1)).astype(np.float32)
# Those whose weights are drawn in a moment.
SMALL = ("nasbench201", "digits-vit")


def build(name, classes=3):
    family = FAMILIES[name]
    asked = {size: value for size, value in SIZES.items() if size in family.sizes}
    return family.build(classes, **family.complete(asked))


def archs(name, num=3):
    return sample(SPACES[name], jax.random.key(0), num)


def test_every_space_has_networks():
    assert list(FAMILIES) == list(SPACES)


@pytest.mark.parametrize("name", FAMILIES)
def test_genes_of_the_network_are_those_of_the_space(name):
    model, space = build(name), SPACES[name]
    assert model.options == space.sizes
    assert model.choice.shape == (len(space.sizes),)
    for arch in archs(name):
        np.testing.assert_array_equal(check_arch(model, arch), arch)
    for bad in (np.zeros(len(space.sizes) + 1, np.int32), np.full(len(space.sizes), 99)):
        with pytest.raises(InputError, match="arch: got"):
            check_arch(model, bad)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_name_one_model(name):
    """What is compiled for a network is found again by whoever builds the same."""
    assert build(name) is build(name)
    assert build(name).network != build(name, classes=4).network
    model = build(name)
    for arch in archs(name):
        assert model.program(model, arch).network == build(name).program(model, arch).network


@pytest.mark.parametrize("name", FAMILIES)
def test_the_counts_of_the_space_take_the_sizes_of_the_family(name):
    space, family = SPACES[name], FAMILIES[name]
    assert set(space.network) <= set(family.sizes)
    counted = {size: family.sizes[size] for size in space.network}
    costs = space.costs(archs(name), **counted, image_size=32, in_channels=3, num_classes=10)
    assert set(space.baselines) <= set(costs._fields)
    assert {"params", "flops"} <= set(space.baselines)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_batch_normalisation_does_is_said(name):
    model = build(name)
    assert FAMILIES[name].modes == model.modes
    known = model.modes == KERNEL_MODES
    assert known == (model.statistics is not None)
    assert known or model.modes == (BatchNormMode.NONE,)
    wrong = "none" if known else "frozen"
    with pytest.raises(InputError, match="batch_norm: got"):
        ModelKernels(model, KernelSettings(batch_norm=wrong), IMAGES)


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_of_other_spaces_are_refused(name):
    with pytest.raises(InputError, match="no_such_size: got 3; leave it out"):
        FAMILIES[name].complete({"no_such_size": 3})
    assert FAMILIES[name].complete({"patch_size": None}) == dict(FAMILIES[name].sizes)


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_need_no_numbers(name):
    """Weights, logits and what training takes, from shapes alone."""
    model = build(name)
    arch = archs(name)[0]
    own = model.program(model, arch)
    drawn = jax.eval_shape(lambda: own.draw(0, IMAGES.shape[1:], jnp.dtype("float32")))
    assert set(drawn) == {"params", "batch_stats"}
    x = jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32)
    assert jax.eval_shape(own.logits, drawn, x, own.choice).shape == (3, 3)
    given = (drawn["params"], drawn["batch_stats"], x, own.choice)
    logits, kept = jax.eval_shape(own.forward, *given)
    assert logits.shape == (3, 3)
    assert jax.tree.structure(kept) == jax.tree.structure(drawn["batch_stats"])


@pytest.mark.parametrize("name", SMALL)
def test_images_are_classified_one_by_one(name):
    model, x = build(name), jnp.asarray(IMAGES)
    drawn = model.draw(0, x.shape[1:], jnp.dtype("float32"))
    arch = jnp.asarray(archs(name)[1])
    seen = model.tested(drawn, x, arch)
    whole = np.asarray(model.logits(seen, x, arch))
    for at in range(len(x)):
        alone = np.asarray(model.logits(seen, x[at : at + 1], arch))[0]
        np.testing.assert_allclose(alone, whole[at], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_is_a_network(name):
    model, image = build(name), IMAGES.shape[1:]
    first, again, other = (model.draw(seed, image, jnp.dtype("float32")) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    pairs = zip(jax.tree.leaves(first["params"]), jax.tree.leaves(other["params"]), strict=True)
    assert any(not np.array_equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_of_one_architecture(name):
    family, arch = FAMILIES[name], archs(name)[2]
    sizes = family.complete({})
    model, own = family.alone(arch, 3, sizes)
    assert own.shape == model.choice.shape
    np.testing.assert_array_equal(check_arch(model, own), own)


def test_names_that_are_taken_are_refused():
    for name in SPACES:
        with pytest.raises(InputError, match="there is such a space"):
            add_space(SPACES[name], Family({}, build))
