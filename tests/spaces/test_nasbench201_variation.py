"""Variation: samples, mutations and crossovers are uniform, reproducible and stay in the space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201 as space

CELLS = st.lists(st.integers(0, 4), min_size=6, max_size=6).map(lambda ops: np.array(ops, np.int32))
SEEDS = st.integers(0, 2**31 - 1)
# A correct generator fails a test at this level once in 1e4 keys; these keys are fixed and pass.
LEVEL = 1e-4

jitted_mutate = jax.jit(space.mutate)
jitted_crossover = jax.jit(space.crossover)


@pytest.mark.parametrize("unique", [True, False])
def test_sample_is_reproducible_and_depends_on_the_key(unique) -> None:
    key = jax.random.key(3)
    cells = space.sample(key, 50, unique=unique)
    assert cells.shape == (50, 6)
    assert cells.dtype == np.int32
    assert isinstance(cells, np.ndarray)
    np.testing.assert_array_equal(cells, space.sample(key, 50, unique=unique))
    other = space.sample(jax.random.key(4), 50, unique=unique)
    assert np.mean(np.all(cells == other, axis=1)) < 0.1


def test_unique_sample_of_the_whole_space_is_the_whole_space() -> None:
    cells = space.sample(jax.random.key(0), 15625)
    np.testing.assert_array_equal(np.sort(space.indices_of(cells)), np.arange(15625))


def test_unique_sample_grows_without_changing_its_beginning() -> None:
    key = jax.random.key(1)
    np.testing.assert_array_equal(space.sample(key, 300)[:40], space.sample(key, 40))


def test_sample_with_replacement_repeats_cells_as_often_as_chance_does() -> None:
    cells = space.sample(jax.random.key(2), 15625, unique=False)
    distinct = len(np.unique(cells, axis=0))
    expected = 15625 * (1 - np.exp(-1))
    assert abs(distinct - expected) < 200, (distinct, expected)


@pytest.mark.parametrize(("unique", "num"), [(True, 3000), (False, 60000)])
def test_sample_is_uniform(unique, num) -> None:
    cells = space.sample(jax.random.key(11), num, unique=unique)
    for edge in range(6):
        counts = np.bincount(cells[:, edge], minlength=5)
        assert chisquare(counts).pvalue > LEVEL, (edge, counts)
    first, last = np.divmod(space.indices_of(cells), 125)
    for halves in (first, last):
        counts = np.bincount(halves, minlength=125)
        assert chisquare(counts).pvalue > LEVEL, counts


@pytest.mark.parametrize(
    ("num", "unique", "words"),
    [
        (0, True, "num: got 0; an empty population"),
        (0, False, "num: got 0; an empty population"),
        (-5, True, "num: got -5; an empty population"),
        (15626, True, "num: got 15626; the space has 15625 cells"),
    ],
)
def test_impossible_samples_are_refused(num, unique, words) -> None:
    with pytest.raises(InputError, match=rf"^{words}"):
        space.sample(jax.random.key(0), num, unique=unique)


@given(arch=CELLS, seed=SEEDS)
def test_mutate_changes_exactly_one_edge_within_the_space(arch, seed) -> None:
    key = jax.random.key(seed)
    child = np.asarray(jitted_mutate(key, arch))
    assert child.dtype == np.int32
    assert np.sum(child != arch) == 1, (arch, child)
    assert child.min() >= 0
    assert child.max() <= 4
    np.testing.assert_array_equal(child, space.mutate(key, arch))


def test_mutate_reaches_all_24_neighbours_equally() -> None:
    arch = np.array([0, 1, 2, 3, 4, 0], np.int32)
    keys = jax.random.split(jax.random.key(5), 24000)
    children = np.asarray(jax.jit(jax.vmap(space.mutate, (0, None)))(keys, arch))
    _, counts = np.unique(children, axis=0, return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > LEVEL, counts


@given(a=CELLS, b=CELLS, seed=SEEDS)
def test_crossover_takes_every_edge_from_a_parent(a, b, seed) -> None:
    key = jax.random.key(seed)
    child = np.asarray(jitted_crossover(key, a, b))
    assert child.dtype == np.int32
    assert np.all((child == a) | (child == b)), (a, b, child)
    np.testing.assert_array_equal(child, space.crossover(key, a, b))


def test_crossover_makes_all_64_children_equally_often() -> None:
    a, b = jnp.zeros(6, jnp.int32), jnp.ones(6, jnp.int32)
    keys = jax.random.split(jax.random.key(6), 64000)
    children = np.asarray(jax.jit(jax.vmap(space.crossover, (0, None, None)))(keys, a, b))
    _, counts = np.unique(children, axis=0, return_counts=True)
    assert len(counts) == 64
    assert chisquare(counts).pvalue > LEVEL, counts


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        (np.zeros(5, np.int32), r"shape \(5,\); give 6 operations"),
        (np.array([0, 0, 0, 0, 0, 9]), "operation 9; operations are"),
    ],
)
def test_variation_of_no_cell_is_refused(arch, words) -> None:
    key, good = jax.random.key(0), np.zeros(6, np.int32)
    with pytest.raises(InputError, match=rf"^arch: got .*{words}"):
        space.mutate(key, arch)
    with pytest.raises(InputError, match=rf"^a: got .*{words}"):
        space.crossover(key, arch, good)
    with pytest.raises(InputError, match=rf"^b: got .*{words}"):
        space.crossover(key, good, arch)


def test_wrong_shape_is_refused_while_tracing() -> None:
    with pytest.raises(InputError, match=r"shape \(5,\); give 6 operations"):
        jitted_mutate(jax.random.key(0), jnp.zeros(5, jnp.int32))
