"""The table against the rows it was packed from, and what the shipped one must be."""

import io
from importlib import resources

import numpy as np
import pytest
import scipy.stats

from jaxntk.data import digits201
from jaxntk.data.digits201 import load_digits201, read_table, table_arrays
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201
from jaxntk.studies.tables.digits201 import MORE_SEEDS, SEEDS, distinct_functions

CELLS = nasbench201.enumerate_space()


def row(ops, seed, at):
    return {
        "ops": ops,
        "seed": seed,
        "finite": at != 2,
        "seconds": 1.5,
        "loss": [2.0, None if at == 2 else 1.0 + at],
        "train": [0.1, 0.25],
        "valid": [10, 20 + at],
        "test": [30, 40 + at],
    }


ROWS = [row("000000", 7, 0), row("000000", 9, 1), row("333333", 7, 2)]
# Two functions: that of cell 000000, and that of all others.
FUNCTION_OF = np.array([0] + [1] * (len(CELLS) - 1))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.npz"
    np.savez_compressed(path, **table_arrays(ROWS[::-1], FUNCTION_OF))
    return read_table(path)


def test_numbers_are_those_of_the_rows(table):
    first, other = CELLS[:1], CELLS[5:6]
    assert table.trainings.epochs == 2
    assert table.trainings.seeds == (7, 9)
    assert table.accuracy(first, "test", seed=7)[0] == pytest.approx(100 * 40 / 1000)
    assert table.accuracy(first, "test", seed=9, epoch=1)[0] == pytest.approx(100 * 30 / 1000)
    assert table.accuracy(first, "test")[0] == pytest.approx(100 * 40.5 / 1000)
    assert table.accuracy(other, "valid")[0] == pytest.approx(100 * 22 / 594)
    assert table.accuracy(other, "train", epoch=1)[0] == pytest.approx(10.0, rel=1e-6)
    assert table.loss_of(first)[0] == pytest.approx(1.5)
    assert np.isnan(table.loss_of(other)[0])
    assert table.trainings.seconds == pytest.approx(1.5)
    assert table.has_seed(CELLS[:3], 9).tolist() == [True, False, False]
    assert not table.trainings.finite[table.trainings.subject == 1].any()


def test_costs_are_those_of_the_network(table):
    costs = table.costs(CELLS[-1:])
    wanted = nasbench201.num_params(
        CELLS[-1], channels=8, cells_per_stage=1, num_classes=10, in_channels=1
    )
    assert costs.params[0] == wanted


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda table: table.accuracy(CELLS[:1], "tset"), "split"),
        (lambda table: table.accuracy(CELLS[:1], "test", epoch=3), "epoch"),
        (lambda table: table.accuracy(CELLS[:2], "test", seed=9), "seed"),
        (lambda table: table.accuracy(np.array([[9, 0, 0, 0, 0, 0]]), "test"), "arch"),
        (lambda table: table_arrays(ROWS[:2], FUNCTION_OF), "rows"),
    ],
)
def test_bad_input_is_named(table, ask, named):
    with pytest.raises(InputError, match=named):
        ask(table)


@pytest.mark.parametrize("content", [b"", b"no archive", "other"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "table.npz"
    if content == "other":
        buffer = io.BytesIO()
        np.savez(buffer, something=np.zeros(3))
        content = buffer.getvalue()
    path.write_bytes(content)
    with pytest.raises(InputError, match="table"):
        read_table(path)


def test_the_shipped_table_is_whole():
    table = load_digits201()
    size = len((resources.files("jaxntk.data") / digits201.FILE).read_bytes())
    assert size < 1_000_000, size
    functions, index = distinct_functions()
    assert np.array_equal(table.function_of, index)
    assert table.trainings.seeds == SEEDS + MORE_SEEDS
    assert all(table.has_seed(CELLS, seed).all() for seed in SEEDS)
    assert np.sum(table.has_seed(functions, MORE_SEEDS[0])) == 300
    assert table.trainings.finite.all()
    test = table.accuracy(CELLS, "test")
    assert 0 <= test.min() < 12
    assert test.max() > 80


def test_the_shipped_table_ranks():
    """Accuracies spread, and means of three trainings agree."""
    table = load_digits201()
    functions, _ = distinct_functions()
    repeated = functions[table.has_seed(functions, MORE_SEEDS[0])]
    one, other = (
        np.mean([table.accuracy(repeated, "test", seed=seed) for seed in seeds], axis=0)
        for seeds in (SEEDS, MORE_SEEDS)
    )
    ceiling = scipy.stats.kendalltau(one, other).statistic
    assert ceiling > 0.6, ceiling
    spread = np.subtract(*np.percentile(one, [95, 5]))
    assert spread > 5, spread
