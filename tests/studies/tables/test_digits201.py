"""The maker of Digits-201: what it trains, and that it goes on after a kill."""

import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.runs.rows import read_rows
from jaxntk.runs.shards import Shard
from jaxntk.spaces import nasbench201
from jaxntk.studies.tables import digits201
from jaxntk.studies.tables.make import train, trainings


def quiet():
    return Console(file=io.StringIO())


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(digits201, "EPOCHS", 1)
    monkeypatch.setattr(digits201, "CHANNELS", 2)
    monkeypatch.setattr(digits201, "CHUNK", 2)


def test_functions_stand_for_all_cells():
    functions, index = digits201.distinct_functions()
    assert functions.shape == (4930, 6)
    assert index.shape == (15625,)
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 15625, 100)
    for cell in cells:
        form = nasbench201.function_form(nasbench201.from_index(int(cell)))
        assert nasbench201.function_form(functions[index[cell]]) == form


def test_every_function_is_trained_from_three_seeds_and_some_from_six():
    tasks = digits201.all_tasks()
    assert len(tasks) == len(set(tasks)) == 3 * 4930 + 3 * 300
    seeds: dict[str, set[int]] = {}
    for task in tasks:
        seeds.setdefault(task.name, set()).add(task.seed)
    counts = [len(each) for each in seeds.values()]
    assert (len(counts), counts.count(6), counts.count(3)) == (4930, 300, 4630)
    assert all(set(digits201.SEEDS) <= each for each in seeds.values())


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(small, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(digits201.BENCHMARK, whole, quiet(), limit=5) == 5
    assert train(digits201.BENCHMARK, cut, quiet(), limit=3) == 3
    assert train(digits201.BENCHMARK, cut, quiet(), limit=2) == 5
    rows = [trainings(out) for out in (whole, cut)]
    for one, other in zip(*rows, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    first = rows[0][0]
    assert len(first["loss"]) == len(first["test"]) == 1
    assert 0 <= first["test"][0] <= 1000
    assert 0 <= first["valid"][0] <= 594
    assert first["finite"]


def test_shards_share_the_work(small, tmp_path):
    for index in (1, 2):
        train(digits201.BENCHMARK, tmp_path, quiet(), Shard(index, 2), limit=2)
    found = [(row["ops"], row["seed"]) for row in trainings(tmp_path)]
    assert set(found) == {tuple(task) for task in digits201.all_tasks()[:4]}
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names == ["shard-01-of-02.jsonl", "shard-02-of-02.jsonl"]
    assert len(read_rows(tmp_path / names[0])) == 2


def test_a_folder_of_something_else_is_refused(small, tmp_path, monkeypatch):
    train(digits201.BENCHMARK, tmp_path, quiet(), limit=1)
    with monkeypatch.context() as patch:
        patch.setattr(digits201, "EPOCHS", 2)
        with pytest.raises(InputError, match="epochs=1, not 2"):
            train(digits201.BENCHMARK, tmp_path, quiet(), limit=1)
    (tmp_path / "other.jsonl").write_text('{"model": "a"}\n')
    with pytest.raises(InputError, match="a row without ops and seed"):
        train(digits201.BENCHMARK, tmp_path, quiet(), limit=1)
