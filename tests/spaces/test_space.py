"""Laws that hold of every space in the table, and samples of spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from jaxntk.errors import InputError
from jaxntk.search import SearchSpace, code_of
from jaxntk.search.space import crossed, mutated
from jaxntk.spaces import genes, nasbench201, pit
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import LISTED, Space, listed, read_arch, sample

SIZES = {
    "image_size": 32,
    "in_channels": 3,
    "num_classes": 10,
    "channels": 4,
    "cells_per_stage": 1,
    "patch_size": 4,
}
NETWORK = {"image_size", "in_channels", "num_classes"}
# A correct generator fails a test at this level once in 1e4 keys; these keys are fixed and pass.
LEVEL = 1e-4
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def drawn(space, num, seed=0):
    """Encodings with uniform genes, dormant ones as well."""
    return genes.sample(jax.random.key(seed), space.sizes, num)


def costs_of(space, archs):
    named = {name: SIZES[name] for name in NETWORK | set(space.network)}
    return space.costs(archs, **named)


def test_spaces_have_their_own_names():
    assert all(space.name == name for name, space in SPACES.items())


@every_space
def test_what_is_written_is_read_back(space):
    archs = space.canonical(drawn(space, 40))
    for arch in archs:
        for text in space.describe(arch).values():
            found = space.read(text)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, arch)


@every_space
def test_what_is_no_architecture_is_refused_by_the_name_of_its_field(space):
    with pytest.raises(InputError, match=r"^cell: got"):
        read_arch(space, "no architecture", "cell")


@every_space
def test_the_canonical_form_is_one_encoding_of_the_same_architecture(space):
    archs = drawn(space, 40)
    own = space.canonical(archs)
    np.testing.assert_array_equal(space.canonical(own), own)
    for arch, same in zip(archs, own, strict=True):
        assert space.describe(arch) == space.describe(same)
        assert space.function(arch) == space.function(same)
    for count, same in zip(costs_of(space, archs), costs_of(space, own), strict=True):
        np.testing.assert_array_equal(count, same)


@every_space
def test_a_representative_is_of_the_function_it_stands_for(space):
    for arch in drawn(space, 40):
        form = space.function(arch)
        stands = space.representative(form)
        assert space.function(stands) == form
        np.testing.assert_array_equal(space.canonical(stands[None])[0], stands)


@every_space
def test_costs_are_positive_counts_by_name(space):
    counts = costs_of(space, drawn(space, 20))
    assert counts._fields[:2] == ("params", "flops")
    assert all(count.shape == (20,) and count.dtype == np.int64 for count in counts)
    assert counts.params.min() > 0
    assert counts.flops.min() > 0


@every_space
def test_costs_depend_on_the_sizes_that_are_named(space):
    archs, named = drawn(space, 20), {name: SIZES[name] for name in NETWORK | set(space.network)}
    for name in named:
        other = space.costs(archs, **named | {name: 2 * named[name]})
        assert np.any(other.flops != costs_of(space, archs).flops), name


@every_space
def test_a_mutation_changes_one_gene_and_the_architecture(space):
    searched = SearchSpace(space.sizes, active=space.active)
    for at, arch in enumerate(drawn(space, 20)):
        child = np.asarray(mutated(jax.random.key(at), searched, jnp.asarray(arch)))
        assert (child != arch).sum() == 1
        assert space.describe(child) != space.describe(arch)


@every_space
def test_children_of_two_have_genes_of_both(space):
    searched = SearchSpace(space.sizes, active=space.active)
    a, b = drawn(space, 2)
    keys = jax.random.split(jax.random.key(7), 100)
    cross = jax.jit(jax.vmap(lambda key: crossed(key, searched, jnp.asarray(a), jnp.asarray(b))))
    children = np.asarray(cross(keys))
    assert np.all((children == a) | (children == b))
    assert len(np.unique(children, axis=0)) > 2


@every_space
def test_a_list_has_every_encoding_in_the_order_of_codes(space):
    every = listed(space)
    if every is None:
        assert np.prod(space.sizes, dtype=float) > LISTED
        return
    codes = np.asarray(code_of(jnp.asarray(every), space.sizes))
    np.testing.assert_array_equal(codes, np.arange(np.prod(space.sizes)))


@every_space
def test_every_space_has_a_picture(space):
    assert space.draw(drawn(space, 1)[0], "an architecture").axes


@every_space
def test_samples_differ_are_canonical_and_grow_without_changing_their_beginning(space):
    archs = sample(space, jax.random.key(1), 60)
    assert archs.dtype == np.int32
    np.testing.assert_array_equal(archs, space.canonical(archs))
    assert len(np.unique(archs, axis=0)) == 60
    np.testing.assert_array_equal(sample(space, jax.random.key(1), 20), archs[:20])
    assert np.any(sample(space, jax.random.key(2), 20) != archs[:20])
    with jax.enable_x64(True):
        np.testing.assert_array_equal(sample(space, jax.random.key(1), 20), archs[:20])


def test_cells_are_sampled_as_ever():
    key = jax.random.key(3)
    found = sample(SPACES["nasbench201"], key, 50)
    np.testing.assert_array_equal(found, nasbench201.sample(key, 50))


@pytest.mark.parametrize("name", ["pit", "digits-vit"])
def test_a_sample_of_all_is_the_space(name):
    space = SPACES[name]
    every = np.unique(space.canonical(listed(space)), axis=0)
    found = sample(space, jax.random.key(0), len(every))
    np.testing.assert_array_equal(np.unique(found, axis=0), every)
    with pytest.raises(InputError, match=f"num: got {len(every) + 1}"):
        sample(space, jax.random.key(0), len(every) + 1)


def test_listed_spaces_are_sampled_uniformly():
    archs = sample(SPACES["pit"], jax.random.key(4), 2000)
    for gene, size in enumerate(pit.GENE_SIZES):
        counts = np.bincount(archs[:, gene], minlength=size)
        assert chisquare(counts).pvalue > LEVEL, (gene, counts)


@pytest.mark.parametrize("name", ["nasbench201", "autoformer-tiny"])
def test_an_empty_sample_is_refused(name):
    with pytest.raises(InputError, match="num: got 0; an empty population"):
        sample(SPACES[name], jax.random.key(0), 0)


def test_what_is_optional_may_be_left_out():
    space = Space(
        name="two genes",
        sizes=(2, 3),
        read=lambda text: np.array(list(map(int, text)), np.int32),
        describe=lambda arch: {"arch": "".join(map(str, arch))},
        canonical=lambda archs: archs,
        function=lambda arch: "".join(map(str, arch)),
        representative=lambda form: np.array(list(map(int, form)), np.int32),
        costs=lambda archs, **sizes: None,
    )
    assert len(np.unique(sample(space, jax.random.key(0), 6), axis=0)) == 6
    assert space.draw is space.active is space.limit is None
