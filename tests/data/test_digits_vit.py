"""The table of transformers against the rows it was packed from, and the one that is shipped."""

from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxntk.data import digits_vit
from jaxntk.data.digits_vit import (
    SPACE,
    architectures,
    costs,
    load_digits_vit,
    read_table,
    table_arrays,
)
from jaxntk.errors import InputError
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.vit import init_params
from jaxntk.networks.vit_plain import own_params
from jaxntk.search import code_of
from jaxntk.spaces import autoformer
from jaxntk.studies.tables.digits_vit import MORE_SEEDS, REPEATED, SEED

ARCHS = architectures()


def rows(seeds=(7,)):
    return [
        {
            "arch": autoformer.to_string(arch, SPACE),
            "seed": seed,
            "finite": True,
            "seconds": 1.5,
            "loss": [2.0, 1.0],
            "train": [0.1, 0.25],
            "valid": [10, 20],
            "test": [30, at % 450],
        }
        for at, arch in enumerate(ARCHS)
        for seed in seeds
    ]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.npz"
    np.savez_compressed(path, **table_arrays(rows()[::-1]))
    return read_table(path)


def test_the_space_is_whole():
    """6 embeddings, and 4 + 16 + 64 choices of blocks."""
    assert len(ARCHS) == 6 * (4 + 4**2 + 4**3) == 504
    assert len({autoformer.to_string(arch, SPACE) for arch in ARCHS}) == 504
    np.testing.assert_array_equal(autoformer.canonical(ARCHS, SPACE), ARCHS)


def test_numbers_are_those_of_the_rows(table):
    wanted = 100 * (np.arange(504) % 450) / 450
    np.testing.assert_allclose(table.accuracy(ARCHS, "test"), wanted)
    np.testing.assert_allclose(table.accuracy(ARCHS[::-1], "test", seed=7), wanted[::-1])
    assert table.accuracy(ARCHS[:1], "valid", epoch=1)[0] == pytest.approx(100 * 10 / 347)
    assert table.trainings.loss_of(table.subjects(ARCHS[:1]), epoch=1)[0] == pytest.approx(2.0)


def test_dormant_genes_do_not_matter(table):
    every = np.indices(SPACE.sizes).reshape(len(SPACE.sizes), -1).T.astype(np.int32)
    by_code = table.by_code("test")
    assert by_code.shape == (len(every),)
    for arch in every[:: len(every) // 40]:
        alike = autoformer.canonical(arch[None], SPACE)
        wanted = table.accuracy(alike, "test")[0]
        assert by_code[int(code_of(jnp.asarray(arch), SPACE.sizes))] == wanted


def test_costs_are_those_of_the_network():
    network = AutoFormer(SPACE, 10, 2)
    arch = autoformer.from_string("20:4x1,1x4", SPACE)
    params = init_params(network, jax.random.key(0), (8, 8, 1), jnp.dtype("float32"))
    own = own_params(params, autoformer.decode(arch, SPACE), SPACE)
    held = sum(leaf.size for leaf in jax.tree.leaves(own))
    assert costs(arch[None]).params[0] == held


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda table: table.accuracy(ARCHS[:1], "tset"), "split"),
        (lambda table: table.accuracy(ARCHS[:1], "test", epoch=3), "epoch"),
        (lambda table: table.accuracy(ARCHS[:2], "test", seed=9), "seed"),
        (lambda table: table.accuracy(np.full((1, 8), 9), "test"), "arch"),
        (lambda table: table_arrays(rows()[:2]), "rows"),
    ],
)
def test_bad_input_is_named(table, ask, named):
    with pytest.raises(InputError, match=named):
        ask(table)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "table.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="table"):
        read_table(path)


def test_the_shipped_table_is_whole_and_ranks():
    """Every architecture once, some from three seeds, whose order is no accident of the seed."""
    table = load_digits_vit()
    assert len((resources.files("jaxntk.data") / digits_vit.FILE).read_bytes()) < 1_000_000
    trainings, subjects = table.trainings, table.subjects(ARCHS)
    assert trainings.has_seed(subjects, SEED).all()
    assert trainings.finite.all()
    repeated = subjects[trainings.has_seed(subjects, MORE_SEEDS[0])]
    assert len(repeated) == REPEATED
    first, second = (
        trainings.accuracy(repeated, "test", seed=seed) for seed in (SEED, MORE_SEEDS[0])
    )
    tau = scipy.stats.kendalltau(first, second).statistic
    assert tau > 0.35, tau
    assert np.ptp(np.percentile(first, [5, 95])) > 5
